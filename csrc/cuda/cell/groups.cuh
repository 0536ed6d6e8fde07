// A block whose threads work on several channels at once, and their sums.
#pragma once

#include "sums.cuh"

namespace adarts::cuda {

// A block's threads as `groups` (a power of two) times `slots`, neighbours in a group: each group
// works on channels of its own.
struct Grouping {
  int groups, slots;

  __device__ __forceinline__ Grouping(int64_t wanted, int threads = kCellThreads)
      : groups(power_of_two(wanted, threads / kQuads)), slots(threads / groups) {}
  __device__ __forceinline__ int group() const { return int(threadIdx.x) / slots; }
  __device__ __forceinline__ int slot() const { return int(threadIdx.x) % slots; }
};

// Sums of u and u^2 of N channels in a thread, kept as sums of the distance from its first value:
// the variance is their difference, which loses all digits where the mean is large.
template <class A, int N>
struct Shifted {
  A pivot[N] = {}, apart[N] = {}, square[N] = {};
  int quads = 0;

  __device__ __forceinline__ void add(int k, const Quad<A>& u, int real) {
    if (quads == 0) pivot[k] = u[0];
    for (int i = 0; i < kQuad; ++i) {
      const A distance = i < real ? u[i] - pivot[k] : A(0);
      apart[k] += distance;
      square[k] += distance * distance;
    }
  }
  // sum u of the channels, then sum u^2
  __device__ __forceinline__ void totals(int real, double (&sums)[2 * N]) const {
    const double count = double(quads) * real;
    for (int k = 0; k < N; ++k) {
      const double shift = pivot[k], sum = apart[k];
      sums[k] = sum + count * shift;
      sums[N + k] = double(square[k]) + shift * (2 * sum + count * shift);
    }
  }
};

// Elements of shared memory that group_sums takes for N values.
constexpr int group_sums_size(int n) { return kCellThreads / kQuads * n; }

// Calls put(group, i, sum of values[i] over the group's threads), once for each of them. All
// threads must take part; `partial` is a shared array of double. A group has kQuads lanes at least:
// so many values are summed at once, each in the lanes that will own it.
template <int N, class Partial, class Put>
__device__ __forceinline__ void group_sums(const Grouping& grouping, const double (&values)[N],
                                           Partial partial, const Put& put) {
  constexpr int kSome = N < kQuads ? N : kQuads;
  static_assert(N % kSome == 0 && power_of_two(kSome) == kSome);
  const int width = grouping.slots < kWarp ? grouping.slots : kWarp;
  const int thread = threadIdx.x, shares = grouping.slots / width, lane = thread % width;
#pragma unroll
  for (int first = 0; first < N; first += kSome) {
    double sums[kSome];
    for (int i = 0; i < kSome; ++i) sums[i] = values[first + i];
    halve<kSome, 1>(sums);
    for (int offset = kSome; offset < width; offset *= 2)
      sums[0] += __shfl_xor_sync(kAllLanes, sums[0], offset);
    if (lane < kSome) partial[thread / width * N + first + lane] = sums[0];
  }
  __syncthreads();
  for (int at = thread; at < grouping.groups * N; at += int(blockDim.x)) {
    const int group = at / N, i = at % N;
    double sum = 0;
#pragma unroll 1
    for (int share = 0; share < shares; ++share) {
      const double part = partial[(group * shares + share) * N + i];
      sum += part;
    }
    put(group, i, sum);
  }
  __syncthreads();
}

}  // namespace adarts::cuda
