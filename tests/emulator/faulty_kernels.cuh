// Small kernels with a planted fault each, for one block of 64 threads and 64 numbers.
#pragma once

#include "cuda/device/access.cuh"

namespace adarts::cuda {

__global__ void missing_barrier(int* out) {
  ADARTS_SHARED(int, all, 64);
  all[threadIdx.x] = 0;
  __syncthreads();
  all[threadIdx.x] = threadIdx.x + 1;
  out[threadIdx.x] = all[63 - threadIdx.x];
}

__global__ void missing_second_barrier(int* out) {
  ADARTS_SHARED(int, all, 64);
  for (int round = 0; round < 2; ++round) {
    all[threadIdx.x] = threadIdx.x + round;
    __syncthreads();
    out[threadIdx.x] = all[63 - threadIdx.x];
  }
}

__global__ void two_writers(int* out) {
  ADARTS_SHARED(int, one, 1);
  one[0] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = one[0];
}

__global__ void missing_syncwarp(int* out) {
  ADARTS_SHARED(int, all, 64);
  all[threadIdx.x] = 0;
  __syncthreads();
  all[threadIdx.x] = threadIdx.x + 1;
  const int other = __shfl_xor_sync(kAllLanes, static_cast<int>(threadIdx.x), 1);  // orders nothing
  out[threadIdx.x] = all[other];
}

__global__ void syncwarp_across_warps(int* out) {
  ADARTS_SHARED(int, all, 64);
  all[threadIdx.x] = 0;
  __syncthreads();
  all[threadIdx.x] = threadIdx.x + 1;
  __syncwarp();
  out[threadIdx.x] = all[63 - threadIdx.x];
}

__global__ void atomic_and_plain(int* out) {
  ADARTS_SHARED(int, sum, 1);
  if (threadIdx.x == 0) sum[0] = 0;
  __syncthreads();
  atomicAdd(&sum[0], 1);
  out[threadIdx.x] = sum[0];
}

__global__ void misaligned_load(int* out) {
  const Pack<int, 4> pack = load<4>(out + threadIdx.x % 2);
  out[threadIdx.x] = pack[3];
}

__global__ void misaligned_store(int* out) { store(out + threadIdx.x % 2, Pack<int, 4>{}); }

__global__ void shared_out_of_bounds(int* out) {
  ADARTS_SHARED(int, all, 64);
  all[threadIdx.x + 1] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = all[threadIdx.x];
}

__global__ void dynamic_out_of_bounds(int* out) {
  ADARTS_DYNAMIC_SHARED(int, all);
  all[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = all[threadIdx.x];
}

__global__ void unwritten(int* out) {
  ADARTS_SHARED(int, all, 65);
  all[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = all[threadIdx.x + 1];
}

__global__ void divergent_shuffle(int* out) {
  int value = threadIdx.x;
  if (threadIdx.x % kWarp < 16) value += __shfl_xor_sync(kAllLanes, value, 1);
  out[threadIdx.x] = value;
}

__global__ void two_shuffles(int* out) {
  int value = threadIdx.x;
  if (threadIdx.x % kWarp < 16)
    value += __shfl_xor_sync(kAllLanes, value, 1);
  else
    value += __shfl_xor_sync(kAllLanes, value, 2);
  out[threadIdx.x] = value;
}

__global__ void mask_without_self(int* out) {
  out[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, static_cast<int>(threadIdx.x), 1);
}

__global__ void different_masks(int* out) {
  const unsigned mask = threadIdx.x % 2 ? kAllLanes : 0x7fffffffu;
  out[threadIdx.x] = __any_sync(mask, 1);
}

__global__ void source_outside_mask(int* out) {
  const unsigned mask = 0xffu << (threadIdx.x % kWarp / 8 * 8);
  out[threadIdx.x] = __shfl_xor_sync(mask, static_cast<int>(threadIdx.x), 8);
}

__global__ void mask_without_lanes(int* out) { out[threadIdx.x] = __ballot_sync(kAllLanes, 1); }

__global__ void wrong_width(int* out) {
  out[threadIdx.x] = __shfl_down_sync(kAllLanes, static_cast<int>(threadIdx.x), 1, 12);
}

__global__ void divergent_barrier(int* out) {
  if (threadIdx.x < 32) __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void two_barriers(int* out) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
  out[threadIdx.x] = 1;
}

__global__ void deadlock(int* out) {
  if (threadIdx.x == 3)
    __syncthreads();
  else
    __syncwarp();
  out[threadIdx.x] = 1;
}

__global__ void failing_assertion(int* out) {
  ADARTS_ASSERT(threadIdx.x < 33);
  out[threadIdx.x] = 1;
}

__global__ void static_too_large(int* out) {
  ADARTS_SHARED(double, all, 6145);
  all[threadIdx.x] = 1;
  out[threadIdx.x] = 1;
}

// For several blocks of 32 threads.

__global__ void blocks_write_one(int* out) { out[threadIdx.x] = 1; }

__global__ void block_reads_another(int* out) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  out[at] = out[(at + blockDim.x) % 64];
}

__global__ void block_reads_an_atomic(int* out) {
  if (blockIdx.x == 0)
    atomicAdd(out, 1);
  else
    out[1 + threadIdx.x] = out[0];
}

// For memory that nobody has written.
__global__ void unwritten_global(int* out) { out[threadIdx.x] = out[63 - threadIdx.x]; }

// Faults that only the sanitizers see.

__global__ void global_out_of_bounds(int* out) { out[0] = out[threadIdx.x + 1]; }

__global__ void local_out_of_bounds(int* out) {
  int local[4] = {1, 2, 3, 4};
  const int* volatile first = local;            // unknown to the compiler
  for (int i = 0; i < 2; ++i) __syncthreads();  // the last thread to wait has waited before
  out[threadIdx.x] = first[out[threadIdx.x] + 3];
}

__global__ void overflow(int* out) { out[threadIdx.x] = (1 << 26) * static_cast<int>(threadIdx.x); }

}  // namespace adarts::cuda
