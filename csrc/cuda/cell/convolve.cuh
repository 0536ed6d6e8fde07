// Depthwise and pointwise convolutions of image blocks, as the search cell's kernels share them.
#pragma once

#include "lanes.cuh"
#include "launchers.cuh"

namespace adarts::cuda {

// One output of a depthwise K x K convolution: sum of w[tap] * value(in) over the taps inside the
// plane, the first of which lies at (top, left). `plane` points to the thread's lanes. A row of
// taps is loaded before any is used.
template <int K, class T, class Value>
__device__ __forceinline__ Quad<Accumulate<T>> depthwise(const T* plane, int height, int width,
                                                         int top, int left, int dilation,
                                                         const Accumulate<T>* __restrict__ w,
                                                         const Value& value) {
  using A = Accumulate<T>;
  Quad<A> sum{};
#pragma unroll
  for (int dy = 0; dy < K; ++dy) {
    const int row = top + dy * dilation;
    if (row < 0 || row >= height) continue;
    Quad<A> in[K];
#pragma unroll
    for (int dx = 0; dx < K; ++dx) {
      const int column = left + dx * dilation;
      const bool inside = column >= 0 && column < width;
      in[dx] =
          inside ? value(load_quad(plane + int64_t(row * width + column) * kLanes)) : Quad<A>{};
    }
#pragma unroll
    for (int dx = 0; dx < K; ++dx) sum.add(w[dy * K + dx], in[dx]);
  }
  return sum;
}

// The chosen channels of a state, the input of the first halves: relu(M * h). Scores are never
// negative, so relu(M * h) = M * relu(h), and M is multiplied once to the sum.
template <class T>
struct ChosenPlanes {
  using A = Accumulate<T>;
  const T* state;  // of the block of images, at the thread's lanes
  const A* scale;  // likewise, or null
  const int32_t* selected;
  int height, width, stride;  // of the state

  __device__ __forceinline__ ChosenPlanes(const Edge<T>& edge, const Sizes& z, int64_t block,
                                          int quad)
      : state(edge.state + block * edge.state_block + quad * kQuad),
        scale(edge.scale == nullptr ? nullptr
                                    : edge.scale + block * z.channels * kLanes + quad * kQuad),
        selected(edge.selected),
        height(int(z.height) * edge.stride),
        width(int(z.width) * edge.stride),
        stride(edge.stride) {}

  __device__ __forceinline__ const T* plane(int a) const {
    return state + int64_t(selected[a]) * (int64_t(height) * width) * kLanes;
  }
  // M of chosen channel a.
  __device__ __forceinline__ Quad<A> factor(int a) const {
    return scale == nullptr ? splat(A(1)) : load_quad(scale + int64_t(selected[a]) * kLanes);
  }
  // The depthwise convolution of channel a at output pixel (y, x); w are the channel's taps.
  template <int K>
  __device__ __forceinline__ Quad<A> convolve(int a, int y, int x, int dilation,
                                              const A* __restrict__ w) const {
    const int pad = dilation * (K / 2);
    return factor(a) * depthwise<K>(plane(a), height, width, y * stride - pad, x * stride - pad,
                                    dilation, w, [](const Quad<A>& v) { return relu(v); });
  }
};

// u of a norm of an edge for one block of images: c planes.
template <class T>
__device__ __forceinline__ T* stored_planes(const Edge<T>& edge, const Sizes& z, int norm,
                                            int64_t block) {
  const int64_t place = edge.active.stored_place(norm);
  return edge.u + (place * z.blocks + block) * z.selected * z.pixels() * kLanes;
}

// The input of the second halves: relu(BatchNorm(u)) of the first half's norm, whose stride is 1.
template <class T>
struct NormalisedPlanes {
  using A = Accumulate<T>;
  const T* u;  // of the block of images, at the thread's lanes
  const A* statistic;
  Quad<A> real;
  int64_t selected;
  int height, width;

  __device__ __forceinline__ NormalisedPlanes(const Edge<T>& edge, const Sizes& z, int norm,
                                              int64_t block, int quad)
      : u(stored_planes(edge, z, norm, block) + quad * kQuad),
        statistic(edge.statistics(norm, z.selected, 0)),
        real(real_lanes<A>(z.lanes(block), quad)),
        selected(z.selected),
        height(int(z.height)),
        width(int(z.width)) {}

  __device__ __forceinline__ const T* plane(int a) const {
    return u + int64_t(a) * (int64_t(height) * width) * kLanes;
  }
  // BatchNorm's statistics of channel a; the mean is 0 beyond the batch.
  __device__ __forceinline__ A rstd(int a) const { return statistic[kRstd * selected + a]; }
  __device__ __forceinline__ Quad<A> mean(int a) const {
    return statistic[kMean * selected + a] * real;
  }
  // relu(BatchNorm) of a value of u.
  static __device__ __forceinline__ Quad<A> value(A rstd, const Quad<A>& mean, const Quad<A>& v) {
    return relu(rstd * (v - mean));
  }
  template <int K>
  __device__ __forceinline__ Quad<A> convolve(int a, int y, int x, int dilation,
                                              const A* __restrict__ w) const {
    const int pad = dilation * (K / 2);
    const A factor = rstd(a);
    const Quad<A> center = mean(a);
    return depthwise<K>(plane(a), height, width, y - pad, x - pad, dilation, w,
                        [=](const Quad<A>& v) { return value(factor, center, v); });
  }
};

// A thread block holds a run of pixels of all channels in shared memory, as Quad<A>
// [channel][pixel of the run][quad]: at most kRun quads.
constexpr int kRun = 1024;
static_assert(kMostSelected == kRun / kQuads);

// The pixels of a run.
__host__ __device__ constexpr int run_pixels(int64_t channels) {
  return int(channels < kMostSelected ? kMostSelected / channels : 1);
}

// out[k] = sum_i w[k * out_step + i * in_step] * in[i] for kOuts outputs at a place of a run, of
// which `outs` exist; `in` is the run in shared memory, `at` the place of channel 0 in it and
// `channel_step` the quads of a channel.
template <int kOuts, class A, class Run>
__device__ __forceinline__ void pointwise(const A* __restrict__ w, int out_step, int in_step,
                                          int outs, int ins, Run in, int at, int channel_step,
                                          Quad<A> (&out)[kOuts]) {
  for (int k = 0; k < kOuts; ++k) out[k] = Quad<A>{};
#pragma unroll 2
  for (int i = 0; i < ins; ++i) {
    const Quad<A> from = in[at + i * channel_step];
#pragma unroll
    for (int k = 0; k < kOuts; ++k) {
      const A weight = k < outs ? w[k * out_step + i * in_step] : A(0);
      out[k].add(weight, from);
    }
  }
}

}  // namespace adarts::cuda
