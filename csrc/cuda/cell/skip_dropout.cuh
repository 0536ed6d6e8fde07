// The dropout of skip connections on quads of images.
#pragma once

#include "lanes.cuh"

namespace adarts::cuda {

// The values that an edge's skip connection keeps of its chosen channel a, and 0 for the others.
template <class T>
__device__ __forceinline__ Quad<Accumulate<T>> keep_some(const Edge<T>& edge, const Sizes& z,
                                                         int64_t block, int a, int64_t pixel,
                                                         int quad, Quad<Accumulate<T>> values) {
  if (edge.dropout == nullptr) return values;
  const SkipDropout dropout(edge.dropout);
  const int64_t place = ((block * z.selected + a) * z.pixels() + pixel) * kLanes + quad * kQuad;
  for (int i = 0; i < kQuad; ++i)
    if (dropout.hash(uint32_t(place) + uint32_t(i)) < dropout.share) values[i] *= 0;
  return values;
}

}  // namespace adarts::cuda
