// Updated channels in their places among the scaled others, and the gradients: out[:, index] =
// update, the rest is scale * x, through a 2x2 max pool of stride 2 where `stride` is 2.
#pragma once

#include "device/access.cuh"

namespace adarts::cuda {

struct ScatterShape {
  int64_t batch;
  int64_t channels;
  int64_t k;
  int64_t height;  // of the result
  int64_t width;
  int stride;

  int64_t pixels() const { return height * width; }
  int64_t x_pixels() const { return pixels() * stride * stride; }
};

template <class T>
struct ScatterChannels {
  ScatterShape shape;
  Map<const T> x;
  const T* scale;        // (batch, channels), or null
  const int64_t* index;  // (k), distinct
  Map<const T> update;
  Map<T> out;
};

template <class T>
cudaError_t scatter_channels(const ScatterChannels<T>& args, cudaStream_t stream);

template <class T>
struct ScatterChannelsBackward {
  ScatterShape shape;
  Map<const T> grad;
  Map<const T> x;  // null where neither the gradient of scale nor that of a pooled x is needed
  const T* scale;
  const int64_t* index;
  Map<T> grad_x;           // or null
  Map<T> grad_update;      // or null
  T* grad_scale;           // (batch, channels), or null
  Accumulate<T>* partial;  // (batch, channels, parts), or null where there is one part
};

// Into how many parts the sums that are the gradient of scale are divided.
template <class T>
int64_t scatter_channels_parts(const ScatterChannelsBackward<T>& args);

template <class T>
cudaError_t scatter_channels_backward(const ScatterChannelsBackward<T>& args, cudaStream_t stream);

}  // namespace adarts::cuda
