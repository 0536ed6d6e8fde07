// The k channels with the largest scores summed over the batch, by falling sum.
#pragma once

#include <cstdint>

#include "device/portable.cuh"

namespace adarts::cuda {

constexpr int kMostSelectable = 4096;  // channels; their sums lie in shared memory

template <class T>
struct SelectChannels {
  const T* scores;  // (batch, channels)
  int64_t batch;
  int channels;
  int k;
  int64_t* out;  // (k)
};

template <class T>
cudaError_t select_channels(const SelectChannels<T>& a, cudaStream_t stream);

}  // namespace adarts::cuda
