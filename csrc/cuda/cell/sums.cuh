// Sums over the threads of a block that work on one channel: its team, a whole number of warps.
//
// A thread that holds many sums does not send each through all steps of a warp's reduction: in
// every step it sends away the half that another lane will own. Count sums take about Count
// shuffles in place of 5 * Count.
#pragma once

#include "../device/reduce.cuh"
#include "lanes.cuh"

namespace adarts::cuda {

constexpr int kTeamThreads = 128;  // of a block of teams

// Every lane gives half of its `kSize` sums away, until it holds one.
template <int kSize, int kStep, int N, class A>
__device__ __forceinline__ void halve(A (&sums)[N]) {
  if constexpr (kSize > 1) {
    constexpr int kHalf = kSize / 2;
    const bool upper = (threadIdx.x & (kHalf * kStep)) != 0;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const A kept = upper ? sums[i + kHalf] : sums[i];
      const A given = upper ? sums[i] : sums[i + kHalf];
      sums[i] = kept + __shfl_xor_sync(kAllLanes, given, kHalf * kStep);
    }
    halve<kHalf, kStep>(sums);
  }
}

// The sums of `Count` values over every kStep-th of kWidth lanes: lane l holds that of value l /
// kStep modulo the power of two that Count is rounded up to.
template <int kStep = 1, int kWidth = kWarp, int Count, class A>
__device__ __forceinline__ A spread_sums(const A (&values)[Count]) {
  constexpr int kSize = power_of_two(Count);
  A sums[kSize] = {};
#pragma unroll
  for (int i = 0; i < Count; ++i) sums[i] = values[i];
  halve<kSize, kStep>(sums);
#pragma unroll
  for (int offset = kSize * kStep; offset < kWidth; offset *= 2)
    sums[0] += __shfl_xor_sync(kAllLanes, sums[0], offset);
  return sums[0];
}

// Adds what every warp of a team holds in a lane; put(lane, sum) is called by one thread of the
// team for each of the first `count` lanes. All threads of the block must call it.
template <class A, class Put>
__device__ __forceinline__ void join_warps(A value, int team, int count, const Put& put) {
  ADARTS_SHARED(A, warps, kTeamThreads);
  const int thread = threadIdx.x, rank = thread % team;
  warps[thread] = value;
  __syncthreads();
  if (rank < count) {
    double sum = 0;
    for (int other = thread; other < thread - rank + team; other += kWarp) {
      const A of_warp = warps[other];
      sum += of_warp;
    }
    put(rank, sum);
  }
  __syncthreads();
}

// The image of a block whose sum spread_sums<kQuads> of a quad leaves in a lane.
__device__ __forceinline__ int image_of(int lane) { return lane % kQuads * kQuad + lane / kQuads; }

// The sum of `count` numbers that lie `step` apart, several of which are read at once.
template <int kAtOnce>
__device__ __forceinline__ double sum_apart(const double* from, int step, int count) {
  double sum = 0, values[kAtOnce];
  int first = 0;
#pragma unroll 1
  for (; first + kAtOnce <= count; first += kAtOnce) {
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) values[k] = from[(first + k) * step];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) sum += values[k];
  }
  if (first == count) return sum;
#pragma unroll
  for (int k = 0; k < kAtOnce; ++k)
    values[k] = from[(first + k < count ? first + k : count - 1) * step];
#pragma unroll
  for (int k = 0; k < kAtOnce; ++k) sum += first + k < count ? values[k] : 0;
  return sum;
}

// Sets both sums of kChannels channels, from `first` on, to 0 in the parts that no block has: those
// of gridDim.x and more. `sums` is (parts, rows), its first rows those of one sum of all `channels`
// and then of the other.
template <int kChannels>
__device__ __forceinline__ void clear_other_parts(double* sums, int parts, int rows, int channels,
                                                  int first) {
#pragma unroll 1
  for (unsigned i = threadIdx.x;; i += blockDim.x) {
    const int part = int(blockIdx.x + (1 + i / (2 * kChannels)) * gridDim.x);
    const int a = first + int(i % kChannels);
    if (part >= parts) break;
    if (a < channels) sums[part * rows + int(i / kChannels % 2) * channels + a] = 0;
  }
}

// totals[i] = the sum of row first + i over an edge's parts, for `count` rows; made by all threads
// of the block, kThreads at most, of which up to eight share a row. `partial` is (parts, rows).
template <int kThreads = kCellThreads, class Totals>
__device__ __forceinline__ void total_rows(const double* partial, int64_t parts, int64_t rows,
                                           int64_t first, int count, Totals totals) {
  constexpr int kShares = 8;
  ADARTS_SHARED(double, shares, kThreads);
  const int thread = threadIdx.x, threads = blockDim.x;
  for (int begin = 0; begin < count; begin += threads) {
    const int some = count - begin < threads ? count - begin : threads;
    int sharers = kShares;
    while (sharers * some > threads) sharers /= 2;
    const int row = begin + thread % some, share = thread / some;
    double sum = 0;
    if (share < sharers)
      sum = sum_apart<8>(partial + share * rows + first + row, sharers * int(rows),
                         (int(parts) - share + sharers - 1) / sharers);
    shares[thread] = sum;
    __syncthreads();
    if (thread < some) {
      double total = 0;
#pragma unroll
      for (int other = 0; other < kShares; ++other) {
        if (other >= sharers) continue;
        const double part = shares[thread + other * some];
        total += part;
      }
      totals[row] = total;
    }
    __syncthreads();
  }
}

}  // namespace adarts::cuda
