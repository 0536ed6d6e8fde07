// How a grid of blocks is laid over feature maps, and sums over the pixels of a plane.
//
// A block of at most kThreads threads covers a part of one image: threadIdx.x runs along the axis
// that is contiguous in memory (pixels of a plane, or channels of a pixel) and threadIdx.y across
// it. blockIdx.x is the image, blockIdx.y a group of channels, blockIdx.z a part of the pixels.
// Nothing here depends on the card, so sums are the same on all.
#pragma once

#include <algorithm>

#include "access.cuh"
#include "reduce.cuh"

namespace adarts::cuda {

constexpr int kThreads = 128;  // of a block
// Blocks that fit on a multiprocessor at once, as __launch_bounds__ takes it: 168 registers for a
// thread. Without this number the compiler saves registers and lets each load wait for the last.
constexpr int kResident = 3;
constexpr int64_t kManyBlocks = 1024;   // nearly 8 on each of 132 multiprocessors
constexpr int64_t kEnoughBlocks = 264;  // 2 on each, where more would cost a second launch

// The shape of a block for `items` accesses along the contiguous axis: part of a warp, a warp, or
// the whole block runs along it, since sums go over lanes of one warp or over the block.
static_assert(power_of_two(kThreads - 1) == kWarp && kThreads % kWarp == 0);
inline dim3 tile(int64_t items) {
  const int lanes = items >= kThreads ? kThreads : power_of_two(items);
  return dim3(lanes, kThreads / lanes);
}

constexpr int64_t kMostGroups = 65535;  // blocks of a grid in y

// A launch over `channels` x `pixels` of every image, with N elements an access where `packs` is
// true. Where that makes few blocks they are made smaller, down to a warp (planar memory), and the
// pixels are divided into parts, until there are `blocks` of them or no work is left to divide.
// Where there are more channels than a grid has blocks, a block takes several.
template <class T>
struct Tiling {
  bool interleaved;  // threads run along the channels, not along the pixels
  bool packs;        // accesses of 16 bytes
  dim3 grid, block;

  Tiling(bool interleaved, bool packs, int64_t batch, int64_t channels, int64_t pixels,
         int64_t blocks)
      : interleaved(interleaved), packs(packs) {
    const int64_t along = divide_up(interleaved ? channels : pixels, packs ? kPack<T> : 1);
    const int64_t across = interleaved ? pixels : channels;
    block = tile(along);
    while (!interleaved && block.x > 1 && divide_up(across, block.y) > kMostGroups) {
      block.x = block.x == kThreads ? kWarp : block.x / 2;
      block.y = kThreads / block.x;
    }
    while (!interleaved && block.x <= kWarp && block.x * block.y > kWarp &&
           batch * divide_up(across, block.y) < kEnoughBlocks)
      block.y /= 2;
    const int64_t steps_along = divide_up(along, block.x);
    const int64_t steps_across = divide_up(across, block.y);
    const int64_t groups = interleaved ? steps_along : steps_across;
    const int64_t steps = interleaved ? steps_across : steps_along;
    const int64_t wanted = divide_up(blocks, std::max<int64_t>(batch * groups, 1));
    grid = dim3(batch, groups, std::clamp<int64_t>(wanted, 1, std::max<int64_t>(steps, 1)));
  }
};

// One of the four kernels that a tiling may ask for.
template <class T, class Kernel>
Kernel choose(const Tiling<T>& tiling, Kernel pixel_packs, Kernel pixels, Kernel channel_packs,
              Kernel channels) {
  if (tiling.interleaved) return tiling.packs ? channel_packs : channels;
  return tiling.packs ? pixel_packs : pixels;
}

// The factor of a plane, 1 where there are no factors.
template <class T>
__device__ __forceinline__ Accumulate<T> scale_of(const T* scale, int64_t plane) {
  return scale == nullptr ? Accumulate<T>(1) : Accumulate<T>(scale[plane]);
}

constexpr int kLoads = 4;  // of a thread, that wait for memory at the same time

// to[p] = factor * from[p] for the block's part of a plane; the pixels lie side by side if N > 1.
template <int N, class T>
__device__ __forceinline__ void copy_plane(T* to, int64_t to_pixel, const T* from,
                                           int64_t from_pixel, Accumulate<T> factor,
                                           int64_t pixels) {
  const int64_t step = int64_t(gridDim.z) * blockDim.x * N;
  int64_t p = (int64_t(blockIdx.z) * blockDim.x + threadIdx.x) * N;
  if (N > 1) to_pixel = from_pixel = 1;
#pragma unroll 1
  for (; p < pixels; p += kLoads * step) {
    Pack<T, N> values[kLoads];
    for (int i = 0; i < kLoads; ++i)
      if (p + i * step < pixels) values[i] = load<N>(from + (p + i * step) * from_pixel);
    for (int i = 0; i < kLoads; ++i) {
      if (p + i * step >= pixels) break;
      for (int e = 0; e < N; ++e) values[i][e] = T(factor * Accumulate<T>(values[i][e]));
      store(to + (p + i * step) * to_pixel, values[i]);
    }
  }
}

// to[p] = 0 for the block's part of a plane.
template <int N, class T>
__device__ __forceinline__ void clear_plane(T* to, int64_t to_pixel, int64_t pixels) {
  const int64_t step = int64_t(gridDim.z) * blockDim.x * N;
#pragma unroll 1
  for (int64_t p = (int64_t(blockIdx.z) * blockDim.x + threadIdx.x) * N; p < pixels; p += step)
    store(to + p * to_pixel, Pack<T, N>{});
}

// Leaves the sum over a plane, or over the block's part of it where there are several.
template <class T>
__device__ __forceinline__ void put_sum(T* total, Accumulate<T>* partial, int64_t plane,
                                        Accumulate<T> sum) {
  if (partial == nullptr) {
    total[plane] = T(sum);
  } else {
    partial[plane * gridDim.z + blockIdx.z] = sum;
  }
}

// The sum over threadIdx.x, in the thread where it is 0.
template <class A>
__device__ __forceinline__ A sum_along(A value) {
  if (blockDim.x <= kWarp) return group_sum(value, blockDim.x);
  return block_sums<A, 1>({value});
}

// The sums over threadIdx.y of N values, in the threads where it is 0.
template <class A, int N>
__device__ __forceinline__ void sum_across(A (&values)[N]) {
  ADARTS_SHARED(A, partial, N * kThreads);
  const int lanes = blockDim.x;
  const int thread = threadIdx.y * lanes + threadIdx.x;
  for (int i = 0; i < N; ++i)
    for (int offset = lanes; offset < kWarp; offset *= 2)
      values[i] += __shfl_xor_sync(kAllLanes, values[i], offset);
  if (lanes >= kThreads) return;
  for (int i = 0; i < N; ++i) partial[i * kThreads + thread] = values[i];
  __syncthreads();
  if (thread < lanes)
    for (int i = 0; i < N; ++i)
      for (int warp = 1; warp < kThreads / kWarp; ++warp)
        values[i] += partial[i * kThreads + warp * kWarp + thread];
}

// out[row] = sum of partial[row, 0 ... parts), a row of threads for each, which wait for 8 loads at
// a time.
template <class T>
__global__ void __launch_bounds__(kThreads, kResident)
    sum_parts_kernel(const Accumulate<T>* partial, int64_t rows, int64_t parts, T* out) {
  using A = Accumulate<T>;
  const int64_t row = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
  A sum = 0;
#pragma unroll 1
  for (int64_t first = threadIdx.x; row < rows && first < parts; first += 8 * blockDim.x) {
    A values[8];
    for (int i = 0; i < 8; ++i) {
      const int64_t part = first + i * int64_t(blockDim.x);
      values[i] = part < parts ? partial[row * parts + part] : A(0);
    }
    for (int i = 0; i < 8; ++i) sum += values[i];
  }
  sum = sum_along(sum);
  if (row < rows && threadIdx.x == 0) out[row] = T(sum);
}

template <class T>
cudaError_t sum_parts(const Accumulate<T>* partial, int64_t rows, int64_t parts, T* out,
                      cudaStream_t stream) {
  const dim3 block = tile(parts);
  return launch(sum_parts_kernel<T>, dim3(divide_up(rows, block.y)), block, 0, stream, partial,
                rows, parts, out);
}

}  // namespace adarts::cuda
