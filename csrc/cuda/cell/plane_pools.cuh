// Average and maximum of a plane, and where the maximum is first, image by image: `node` leaves
// them in parts of the plane, which `score` joins; pool_states makes those of the inputs at once.
#pragma once

#include <climits>
#include <limits>

#include "sums.cuh"

namespace adarts::cuda {

constexpr int kPartPixels = kCellThreads / kQuads;  // of a part

__host__ __device__ __forceinline__ int parts_of_plane(const Sizes& z) {
  return int(divide_up(z.pixels(), kPartPixels));
}

// What every pixel's peak replaces.
template <class A>
__device__ __forceinline__ Peak<A> no_peak() {
  return {-std::numeric_limits<A>::infinity(), INT_MAX};
}

// The peak of the lane `offset` apart.
template <class A>
__device__ __forceinline__ Peak<A> exchanged(const Peak<A>& peak, int offset) {
  return {__shfl_xor_sync(kAllLanes, peak.value, offset),
          __shfl_xor_sync(kAllLanes, peak.position, offset)};
}

template <class A>
__device__ __forceinline__ Peak<A> either(bool one, const Peak<A>& first, const Peak<A>& second) {
  return {one ? first.value : second.value, one ? first.position : second.position};
}

// As spread_sums<kStep> of a quad: the peak over every kStep-th lane of a warp, lane l that of
// image l / kStep % kQuad. Every lane gives half of its peaks away, until it holds one.
template <int kStep, class A>
__device__ __forceinline__ Peak<A> spread_peaks(const Peak<A> (&peaks)[kQuad]) {
  static_assert(kQuad == 4);
  const bool upper = (threadIdx.x & (2 * kStep)) != 0, odd = (threadIdx.x & kStep) != 0;
  Peak<A> first = either(upper, peaks[2], peaks[0]), second = either(upper, peaks[3], peaks[1]);
  first.take(exchanged(either(upper, peaks[0], peaks[2]), 2 * kStep));
  second.take(exchanged(either(upper, peaks[1], peaks[3]), 2 * kStep));
  Peak<A> peak = either(odd, second, first);
  peak.take(exchanged(either(odd, first, second), kStep));
#pragma unroll
  for (int offset = kQuad * kStep; offset < kWarp; offset *= 2) peak.take(exchanged(peak, offset));
  return peak;
}

// Sums and peaks of the images of a thread block that has kImages: each warp's lanes hold those of
// spread_sums<kImages / kQuad>. put(image, sum, peak) is called once for each image. All threads
// must take part.
template <int kImages, class A, class Put>
__device__ __forceinline__ void join_pools(A sum, const Peak<A>& peak, const Put& put) {
  constexpr int kStep = kImages / kQuad;
  ADARTS_SHARED(A, sums, kWarps * kImages);
  ADARTS_SHARED(A, maxima, kWarps * kImages);
  ADARTS_SHARED(int, positions, kWarps* kImages);
  const int thread = threadIdx.x, lane = thread % kWarp;
  if (lane < kImages) {
    const int at = thread / kWarp * kImages + lane % kStep * kQuad + lane / kStep;
    sums[at] = sum;
    maxima[at] = peak.value;
    positions[at] = peak.position;
  }
  __syncthreads();
  if (thread >= kImages) return;
  double total = 0;
  Peak<A> best = no_peak<A>();
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    const int at = warp * kImages + thread;
    const A part = sums[at], value = maxima[at];
    const int position = positions[at];
    total += double(part);
    best.take(Peak<A>{value, position});
  }
  put(thread, total, best);
}

}  // namespace adarts::cuda
