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
  // The column of the cell that sees outputs through column dx of the taps, and how far to the
  // right of the cell's own output those lie.
  static constexpr __device__ __forceinline__ int right(int dx) {
    return (dx * D - kPad) & (S - 1);
  }
  static constexpr __device__ __forceinline__ int across(int dx) {
    return (right(dx) + kPad - dx * D) / S;
  }
};

}  // namespace adarts::cuda
