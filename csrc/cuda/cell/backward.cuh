// How the backward kernels form du, the gradient of what enters a BatchNorm.
#pragma once

#include "convolve.cuh"

namespace adarts::cuda {

// Where channel a of a tensor (., blocks, c, pixels, kLanes) begins.
__device__ __forceinline__ int64_t chosen_plane(const Sizes& z, int64_t plane, int64_t block,
                                                int64_t a) {
  return ((plane * z.blocks + block) * z.selected + a) * z.pixels() * kLanes;
}

// d L / d u of an operation that ends in a norm, channel a, from the node's gradient; for `share`
// see norm_gradient.
template <class T>
__device__ __forceinline__ Gradient<Accumulate<T>> operation_gradient(const Edge<T>& edge,
                                                                      const Sizes& z, int operation,
                                                                      int64_t a, double share) {
  using A = Accumulate<T>;
  const int64_t c = z.selected;
  const A* statistic = edge.statistics(norm_of(operation), c, a);
  const A scale = edge.alphas[operation] * (edge.beta == nullptr ? A(1) : *edge.beta);
  return norm_gradient(scale, statistic[kMean * c], statistic[kRstd * c], edge.sums[a],
                       edge.sums[operation * c + a], share);
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

}  // namespace adarts::cuda
