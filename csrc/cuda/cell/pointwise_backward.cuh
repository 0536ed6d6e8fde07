// Pointwise convolutions backward, for a run of pixels: from du, and the depthwise outputs v where
// weights' gradients are asked for, dv[i] = sum_o W[o, i] * du[o] and dW[o, i] = sum du[o] * v[i].
#pragma once

#include "backward.cuh"
#include "sums.cuh"

namespace adarts::cuda {

// Blocks on a multiprocessor, as __launch_bounds__ takes it: 128 registers for a thread, 255 where
// the numbers are twice as large.
template <class T>
constexpr int kCellResident = std::is_same_v<T, double> ? 1 : 2;

// The quads of du in shared memory, and as many of v: 16 KiB each.
template <class A>
constexpr int kPlaces = 16 * 1024 / sizeof(Quad<A>);

// A run: pixels first ... first + count - 1, held as [channel][pixel][quad].
struct Run {
  int first, count;

  __device__ __forceinline__ int quads() const { return count * kQuads; }  // of a channel
};

// Calls f(channel, pixel of the plane, place) for the quads of a run that are this thread's.
template <class F>
__device__ __forceinline__ void each_quad(const Run& run, int channels, const F& f) {
  Places places(run.quads());
#pragma unroll 1
  for (int place = threadIdx.x; place < channels * run.quads(); place += kCellThreads) {
    f(places.channel, run.first + places.quad / kQuads, place);
    places.next();
  }
}

// Calls f for each run of a part, with as many pixels as fit shared memory.
template <class A, class F>
__device__ __forceinline__ void each_run(const Part& part, int channels, const F& f) {
  const int pixels = kPlaces<A> / (kQuads * channels), most = pixels < 1 ? 1 : pixels;
  for (int first = part.first; first < part.last; first += most)
    f(Run{first, part.last - first < most ? part.last - first : most});
}

// Stores dv of `ins` channels, four of a pixel at once to a thread; `dv` is channel 0's plane.
template <class T, class Quads>
__device__ __forceinline__ void put_dv(const Run& run, const Accumulate<T>* __restrict__ weights,
                                       int outs, int ins, Quads du, T* dv, int64_t pixels) {
  using A = Accumulate<T>;
  constexpr int kOuts = 4;
  each_quad(run, int(divide_up(ins, kOuts)), [&](int four, int p, int place) {
    const int i = four * kOuts;
    Quad<A> result[kOuts];
    pointwise(weights + i, 1, ins, ins - i, outs, du, place % run.quads(), run.quads(), result);
    T* to = dv + (i * pixels + p) * kLanes + place % kQuads * kQuad;
#pragma unroll
    for (int k = 0; k < kOuts; ++k)
      if (i + k < ins) store_quad(to + k * pixels * kLanes, result[k]);
  });
}

// dw[o, i] += the sums of a run. Sixteen lanes, a strip, take 4 x 4 of the weights and a share of
// the quads, and each ends up with the sum of one of them; where there are fewer tiles of weights
// than strips, several strips share one.
template <class A, class Quads>
__device__ __forceinline__ void add_pointwise_weights(const Run& run, int outs, int ins, Quads du,
                                                      Quads v, A* dw) {
  constexpr int kStrip = 16, kStrips = kCellThreads / kStrip, kSide = 4;
  ADARTS_SHARED(A, strips, kCellThreads);
  const int thread = threadIdx.x, strip = thread / kStrip, lane = thread % kStrip;
  const int across = int(divide_up(ins, kSide)), tiles = int(divide_up(outs, kSide)) * across;
#pragma unroll 1
  for (int first = 0; first < tiles; first += kStrips) {
    const int some = tiles - first < kStrips ? tiles - first : kStrips, shares = kStrips / some;
    const int tile = first + strip % some;
    const int o = tile / across * kSide, i = tile % across * kSide;
    A sums[kSide * kSide] = {};
    if (strip < some * shares)
#pragma unroll 1
      for (int at = strip / some * kStrip + lane; at < run.quads(); at += shares * kStrip) {
        Quad<A> from[kSide];
#pragma unroll
        for (int b = 0; b < kSide; ++b) {
          from[b] = Quad<A>{};
          if (i + b < ins) from[b] = v[(i + b) * run.quads() + at];
        }
#pragma unroll
        for (int a = 0; a < kSide; ++a) {
          Quad<A> gradient{};
          if (o + a < outs) gradient = du[(o + a) * run.quads() + at];
#pragma unroll
          for (int b = 0; b < kSide; ++b) sums[a * kSide + b] += (gradient * from[b]).sum();
        }
      }
    strips[thread] = spread_sums<1, kStrip>(sums);
    __syncthreads();
    const int row = o + lane / kSide, column = i + lane % kSide;
    if (strip < some && row < outs && column < ins) {
      A sum = 0;
      for (int share = 0; share < shares; ++share) sum += A(strips[thread + share * some * kStrip]);
      dw[row * ins + column] += sum;
    }
    __syncthreads();
  }
}

}  // namespace adarts::cuda
