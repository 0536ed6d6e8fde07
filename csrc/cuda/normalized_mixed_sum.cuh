// Weighted sum of feature maps of which some pass a BatchNorm without scale and shift first:
// out = sum_i weights[i] * y_i, with y_i = (x_i - mean) * rstd by channel, or x_i itself; and its
// gradients. Forward: moments of the parts of every channel, statistics from them, the sum.
// Backward: products with the gradient, their totals, the gradients. Memory is contiguous.
#pragma once

#include "device/access.cuh"

namespace adarts::cuda {

constexpr int kNormalizedInputs = 16;           // of one launch; more inputs take several
constexpr int64_t kNormalizedChannels = 65535;  // of a grid

// The values of one channel in memory: `values` = images * pixels, below 2^31.
struct ChannelSizes {
  int64_t channels;
  int values;
  int pixels;
};

// Moments of the inputs that are normalized, all of them in the order of the norms.
template <class T>
struct ChannelMoments {
  const T* inputs[kNormalizedInputs];
  int count;
  ChannelSizes sizes;
  double eps;
  Accumulate<T>* partial;  // (count, channels, moment_parts<T>(sizes), 3)
  Accumulate<T>* norms;  // (count, 3, channels): mean, 1 / sqrt(variance + eps), unbiased variance
};

// Into how many parts the moments of a channel are divided.
template <class T>
int64_t moment_parts(const ChannelSizes& sizes);

template <class T>
cudaError_t channel_moments(const ChannelMoments<T>& args, cudaStream_t stream);

// What the passes over all inputs share.
template <class T>
struct NormalizedInputs {
  const T* inputs[kNormalizedInputs];
  int norm[kNormalizedInputs];  // which of the norms, -1 where an input is not normalized
  int count;
  ChannelSizes sizes;
  const Accumulate<T>* weights;  // (count)
  const Accumulate<T>* norms;    // (norms, 3, channels)
};

template <class T>
struct NormalizedMixedSum {
  NormalizedInputs<T> x;
  const Accumulate<T>* before;  // what earlier launches have summed, or null
  Accumulate<T>* after;         // where to leave the sum for the next launch, or null in the last
  T* out;
};

template <class T>
cudaError_t normalized_mixed_sum(const NormalizedMixedSum<T>& args, cudaStream_t stream);

template <class T>
struct NormalizedMixedSumBackward {
  NormalizedInputs<T> x;  // inputs are not read where there are no totals
  const T* grad;
  bool training;                      // the statistics are the batch's and have a gradient
  T* grad_inputs[kNormalizedInputs];  // an entry is null where that gradient is not needed
  Accumulate<T>* grad_weights;        // (count), or null
  Accumulate<T>* partial;             // (count + 1, channels, product_parts<T>(sizes))
  Accumulate<T>* totals;  // (count + 1, channels): sum g * (x - mean), and sum g; null where
                          // neither the gradient of weights nor that of the statistics is needed
};

// Into how many parts the products of a channel are divided.
template <class T>
int64_t product_parts(const ChannelSizes& sizes);

template <class T>
cudaError_t normalized_mixed_sum_backward(const NormalizedMixedSumBackward<T>& args,
                                          cudaStream_t stream);

}  // namespace adarts::cuda
