// What both directions of the preprocessings share.
#pragma once

#include "lanes.cuh"
#include "launchers.cuh"

namespace adarts::cuda {

// Output channels of one of the stride's convolutions.
template <class T>
__host__ __device__ __forceinline__ int outputs_of(const Preprocess<T>& a) {
  return int(a.channels) / a.stride;
}

// Preprocess::source by a division of 32 bits: one of 64 takes three times as many instructions.
template <class T>
__device__ __forceinline__ int64_t source_of(const Preprocess<T>& a, int pixel, bool odd) {
  if (a.stride == 1) return pixel;
  const unsigned width = unsigned(a.width), row = unsigned(pixel) / width;
  return int64_t(2 * row + odd) * (2 * width) + 2 * (unsigned(pixel) - row * width) + odd;
}

}  // namespace adarts::cuda
