// What the backward kernels of the candidates share: how du is formed, and the depthwise
// convolutions' gradients.
#pragma once

#include "convolve.cuh"

namespace adarts::cuda {

// Where channel a of a tensor (., blocks, c, pixels, kLanes) begins.
__device__ __forceinline__ int64_t chosen_plane(const Sizes& z, int64_t plane, int64_t block,
                                                int64_t a) {
  return ((plane * z.blocks + block) * z.selected + a) * z.pixels() * kLanes;
}

// d L / d u of an operation that ends in a norm, channel a, from the node's gradient.
template <class T>
__device__ __forceinline__ Gradient<Accumulate<T>> operation_gradient(const Edge<T>& edge,
                                                                      const Sizes& z, int operation,
                                                                      int64_t a) {
  using A = Accumulate<T>;
  const int64_t c = z.selected;
  const A* statistic = edge.statistics(norm_of(operation), c, a);
  const A scale = edge.alphas[operation] * (edge.beta == nullptr ? A(1) : *edge.beta);
  return norm_gradient(scale, statistic[kMean * c], statistic[kRstd * c], edge.sums[a],
                       edge.sums[operation * c + a], z.count(), z.training);
}

// factor * (g - offset) + slope * (u - mean)
template <class A>
__device__ __forceinline__ Quad<A> combine(const Gradient<A>& gradient, const Quad<A>& g,
                                           const Quad<A>& u, const Quad<A>& real) {
  Quad<A> result;
  for (int i = 0; i < kQuad; ++i)
    result[i] = gradient.factor * (g[i] - gradient.offset * real[i]) +
                gradient.slope * (u[i] - gradient.mean * real[i]);
  return result;
}

// An output pixel (y, x) of a depthwise K x K convolution has a cell of S x S input pixels, (S * y
// + below, S * x + right). Output (oy, ox) sees input (oy * S + dy * D - P, ox * S + dx * D - P), P
// = D * (K / 2): for a row of taps only the row of the cell with the same remainder modulo S
// counts. These are the rows of taps of a row of the cell: first, first + step, ...
template <int K, int D, int S, int kBelow>
struct TapRows {
  static constexpr int kPad = D * (K / 2);
  static constexpr int kStep = S == 2 && D == 1 ? 2 : 1;
  static constexpr int kFirst = kStep == 2 ? (kPad + kBelow) % 2 : 0;
  static constexpr int kCount = kStep == 2 ? (K - kFirst + 1) / 2 : kBelow == 0 ? K : 0;
  static constexpr int kTaps = kCount * K;

  static constexpr __device__ __forceinline__ int tap(int i) {
    return (kFirst + kStep * (i / K)) * K + i % K;
  }
};

// A row of a cell through all outputs that see it: dx[pixel] += w[tap] * dv and, with kWeights,
// dw[tap] += in[pixel] * dv. `dv` is a plane of outputs, at the thread's lanes.
//
// The outputs lie at fixed offsets from the cell. The same loads serve both gradients, at either
// stride, and nothing is added to memory. A row of taps is loaded before any is used.
template <int K, int D, int S, int kBelow, bool kWeights, class T, class A, int kTaps>
__device__ __forceinline__ void transposed(const T* dv, int height, int width, int y, int x,
                                           const A* __restrict__ w, const Quad<A> (&in)[S],
                                           Quad<A> (&dx)[S], A (&dw)[kTaps]) {
  using Rows = TapRows<K, D, S, kBelow>;
  constexpr int P = Rows::kPad;
  const T* centre = dv + (int64_t(y) * width + x) * kLanes;
#pragma unroll
  for (int i = 0; i < Rows::kCount; ++i) {
    const int dy = Rows::kFirst + Rows::kStep * i;
    const int down = (kBelow + P - dy * D) / S;
    if (y + down < 0 || y + down >= height) continue;
    const T* line = centre + int64_t(down * width) * kLanes;
    Quad<A> values[K];
#pragma unroll
    for (int tap = 0; tap < K; ++tap) {
      const int right = (tap * D - P) & (S - 1);
      const int across = (right + P - tap * D) / S;
      const bool inside = x + across >= 0 && x + across < width;
      values[tap] = inside ? load_quad(line + across * kLanes) : Quad<A>{};
    }
#pragma unroll
    for (int tap = 0; tap < K; ++tap) {
      const int right = (tap * D - P) & (S - 1);
      dx[right].add(w[dy * K + tap], values[tap]);
      if (kWeights) dw[i * K + tap] += (in[right] * values[tap]).sum();
    }
  }
}

}  // namespace adarts::cuda
