// Sums and maxima over the lanes of a group and over a block.
//
// A group is a power of two of neighbouring lanes of one warp that work on one result together. All
// orders of summation are fixed, so results do not differ from run to run. All lanes of a warp must
// take part in a group's reduction, and all threads of a block in a block's.
#pragma once

#include <cstdint>

#include "portable.cuh"

namespace adarts::cuda {

// The smallest power of two that is at least `count`, but at most `limit`, a power of two itself.
__host__ __device__ __forceinline__ constexpr int power_of_two(int64_t count, int limit = kWarp) {
  int power = 1;
  while (power < count && power < limit) power *= 2;
  return power;
}

// The sum over the group, in all its lanes.
template <class A>
__device__ __forceinline__ A group_sum(A value, int width = kWarp) {
  for (int offset = width / 2; offset > 0; offset /= 2)
    value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// The number of a thread in its block of one or two dimensions; neighbours share a warp.
__device__ __forceinline__ int thread_of_block() {
  return static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
}

// Sums of `Count` values over a block of whole warps: the thread with number i < Count returns the
// total of value i.
template <class A, int Count>
__device__ __forceinline__ A block_sums(const A (&values)[Count]) {
  ADARTS_SHARED(A, partial, Count * kWarp);
  const int warps = static_cast<int>(blockDim.x * blockDim.y) / kWarp;
  const int thread = thread_of_block();
  for (int i = 0; i < Count; ++i) {
    const A sum = group_sum(values[i]);
    if (thread % kWarp == 0) partial[thread / kWarp * Count + i] = sum;
  }
  __syncthreads();
  A total = 0;
  if (thread < Count)
    for (int warp = 0; warp < warps; ++warp) total += partial[warp * Count + thread];
  __syncthreads();
  return total;
}

// A maximum and where it is.
template <class A>
struct Peak {
  A value;
  int position;

  // Takes a value of a later position. Not-a-number is larger than everything, and the last one
  // counts, as in torch's max pooling; among equal values the first one counts.
  __device__ __forceinline__ void take(A later, int later_position) {
    if (later > value || later != later) {
      value = later;
      position = later_position;
    }
  }

  // Takes the peak of other positions; the order of peaks does not matter.
  __device__ __forceinline__ void take(const Peak& other) {
    const bool nan = value != value, other_nan = other.value != other.value;
    const bool larger = nan || other_nan ? other_nan && (!nan || other.position > position)
                                         : other.value > value ||
                                               (other.value == value && other.position < position);
    if (larger) *this = other;
  }
};

// The peak over the group, in all its lanes.
template <class A>
__device__ __forceinline__ Peak<A> group_peak(Peak<A> peak, int width = kWarp) {
  for (int offset = width / 2; offset > 0; offset /= 2)
    peak.take({__shfl_xor_sync(kAllLanes, peak.value, offset),
               __shfl_xor_sync(kAllLanes, peak.position, offset)});
  return peak;
}

}  // namespace adarts::cuda
