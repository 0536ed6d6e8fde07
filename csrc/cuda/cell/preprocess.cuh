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

}  // namespace adarts::cuda
