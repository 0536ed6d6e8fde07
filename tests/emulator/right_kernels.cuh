// Small kernels that are right: what the emulator must compute as a GPU does.
#pragma once

#include "cuda/device/portable.cuh"

namespace adarts::cuda {

__global__ void block_sum(const float* x, float* sums) {
  ADARTS_SHARED(float, partial, 8);
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  float sum = x[blockIdx.x * blockDim.x + threadIdx.x];
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(kAllLanes, sum, lanes);
  if (lane == 0) partial[warp] = sum;
  __syncthreads();
  if (warp > 0) return;
  sum = 0;
  if (lane < static_cast<int>(blockDim.x) / kWarp) sum = partial[lane];
  for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_down_sync(kAllLanes, sum, lanes);
  if (lane == 0) sums[blockIdx.x] = sum;
}

template <class T>
__global__ void shuffle(int kind, const T* x, const int* arguments, int width, T* out) {
  const int lane = threadIdx.x;
  const int argument = arguments[lane];
  if (kind == 0) out[lane] = __shfl_sync(kAllLanes, x[lane], argument, width);
  if (kind == 1) out[lane] = __shfl_up_sync(kAllLanes, x[lane], argument, width);
  if (kind == 2) out[lane] = __shfl_down_sync(kAllLanes, x[lane], argument, width);
  if (kind == 3) out[lane] = __shfl_xor_sync(kAllLanes, x[lane], argument, width);
}

// Every group of 8 lanes adds its numbers as often as the group's number says.
__global__ void group_sums(const int* x, int* out) {
  const int group = threadIdx.x % kWarp / 8;
  const unsigned mask = 0xffu << (8 * group);
  int sum = x[threadIdx.x];
  for (int round = 0; round <= group; ++round)
    for (int lanes = 4; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(mask, sum, lanes, 8);
  out[threadIdx.x] = sum;
}

__global__ void votes(const int* x, unsigned* out) {
  const int predicate = x[threadIdx.x];
  const unsigned ballot = __ballot_sync(kAllLanes, predicate);
  const int any = __any_sync(kAllLanes, predicate);
  const int all = __all_sync(kAllLanes, predicate);
  const int any_of_block = __syncthreads_or(predicate);
  unsigned* const mine = out + 4 * threadIdx.x;
  mine[0] = ballot;
  mine[1] = any;
  mine[2] = all;
  mine[3] = any_of_block;
}

__global__ void reverse(const double* x, double* out) {
  ADARTS_DYNAMIC_SHARED(double, all);
  all[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = all[blockDim.x - 1 - threadIdx.x];
}

__global__ void histogram(const int* x, int count, unsigned* bins, unsigned long long* total,
                          int* largest) {
  ADARTS_SHARED(unsigned, counts, 16);
  if (threadIdx.x < 16) counts[threadIdx.x] = 0;
  __syncthreads();
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) {
    atomicAdd(&counts[x[i]], 1);
    atomicAdd(total, x[i]);
    atomicMax(largest, x[i]);
  }
  __syncthreads();
  if (threadIdx.x < 16) atomicAdd(bins + threadIdx.x, counts[threadIdx.x]);
}

__global__ void coordinates(int* out, int width) {
  const int row = blockIdx.y * blockDim.y + threadIdx.y;
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  out[row * width + column] = 1000 * (gridDim.y * blockIdx.x + blockIdx.y) + threadIdx.y;
}

__global__ void order(unsigned* next, unsigned* out) {
  out[threadIdx.x] = atomicAdd(next, 1);
  __syncthreads();
  out[blockDim.x + threadIdx.x] = atomicAdd(next, 1);
}

// Blocks read one number, and write bytes that lie side by side.
__global__ void neighbours(const unsigned char* x, unsigned char* out) {
  out[2 * blockIdx.x + threadIdx.x] = x[0] + blockIdx.x;
}

// A tree within one warp, through shared memory.
__global__ void warp_tree(const float* x, float* out) {
  ADARTS_SHARED(float, sums, kWarp);
  const int lane = threadIdx.x;
  sums[lane] = x[lane];
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    __syncwarp();
    if (lane < lanes) sums[lane] += sums[lane + lanes];
  }
  if (lane == 0) *out = sums[0];
}

// Two calls of one function share its memory; all threads may write one value.
__device__ __forceinline__ int broadcast(int value) {
  ADARTS_SHARED(int, common, 1);
  __syncthreads();
  common[0] = value;
  __syncthreads();
  return common[0];
}

__global__ void broadcast_twice(int* out) { out[threadIdx.x] = broadcast(3) + broadcast(4); }

}  // namespace adarts::cuda
