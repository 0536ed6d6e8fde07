// Chosen channels of a feature map, each times its scale, and the gradients:
// out[n, j] = scale[n, index[j]] * x[n, index[j]].
#pragma once

#include "device/access.cuh"

namespace adarts::cuda {

template <class T>
struct GatherChannels {
  Map<const T> x;
  const T* scale;        // (batch, channels), or null
  const int64_t* index;  // (k)
  int64_t batch;
  int64_t channels;
  int64_t k;
  int64_t pixels;
  Map<T> out;
};

template <class T>
cudaError_t gather_channels(const GatherChannels<T>& args, cudaStream_t stream);

template <class T>
struct GatherChannelsBackward {
  Map<const T> grad;
  Map<const T> x;  // null where the gradient of scale is not needed
  const T* scale;
  const int64_t* index;
  int64_t batch;
  int64_t channels;
  int64_t k;
  int64_t pixels;
  Map<T> grad_x;           // or null
  T* grad_scale;           // (batch, channels), or null
  Accumulate<T>* partial;  // (batch, channels, parts), or null where there is one part
};

// Into how many parts the sums that are the gradient of scale are divided.
template <class T>
int64_t gather_channels_parts(const GatherChannelsBackward<T>& args);

template <class T>
cudaError_t gather_channels_backward(const GatherChannelsBackward<T>& args, cudaStream_t stream);

}  // namespace adarts::cuda
