// What the kernels of normalized_mixed_sum and of its gradients share.
#pragma once

#include <algorithm>

#include "device/tile.cuh"
#include "normalized_mixed_sum.cuh"

namespace adarts::cuda {

constexpr int kStatistics = 3;  // of a norm

// Where value `at` of a channel lies. A pack of values lies side by side if packs divide a plane.
__device__ __forceinline__ int64_t place(const ChannelSizes& sizes, int64_t channel, int64_t at) {
  const unsigned image = unsigned(at) / unsigned(sizes.pixels);
  const unsigned pixel = unsigned(at) % unsigned(sizes.pixels);
  return (image * sizes.channels + channel) * sizes.pixels + pixel;
}

template <class T>
__device__ __forceinline__ Accumulate<T> mean_of(const NormalizedInputs<T>& x, int i,
                                                 int64_t channel) {
  if (x.norm[i] < 0) return 0;
  return x.norms[int64_t(x.norm[i]) * kStatistics * x.sizes.channels + channel];
}

template <class T>
__device__ __forceinline__ Accumulate<T> rstd_of(const NormalizedInputs<T>& x, int i,
                                                 int64_t channel) {
  if (x.norm[i] < 0) return 1;
  return x.norms[(int64_t(x.norm[i]) * kStatistics + 1) * x.sizes.channels + channel];
}

template <class Pointer>
bool all_aligned(const Pointer* pointers, int count) {
  return std::all_of(pointers, pointers + count, [](Pointer p) { return aligned(p); });
}

// Whether packs of 16 bytes run along the planes of all these tensors.
template <class T>
bool packs_of(const ChannelSizes& sizes, const T* const* inputs, int count, const T* other) {
  return sizes.pixels % kPack<T> == 0 && all_aligned(inputs, count) && aligned(other);
}

// How many blocks work on a channel, in the passes over all inputs.
template <class T>
int64_t channel_parts(const ChannelSizes& sizes) {
  const int64_t most = std::max<int64_t>(1, kManyBlocks / std::max<int64_t>(1, sizes.channels));
  return std::clamp<int64_t>(divide_up(sizes.values, kThreads * kPack<T>), 1, most);
}

}  // namespace adarts::cuda
