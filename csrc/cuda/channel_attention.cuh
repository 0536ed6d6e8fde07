// CBAM's channel attention, scores = sigmoid(w2 relu(w1 average) + w2 relu(w1 maximum)), in two
// launches: pool (one read of x) and score (the two small layers). Its gradients in three: those of
// the pooled values, of the weights, and of x.
#pragma once

#include <cstdint>

#include "device/access.cuh"

namespace adarts::cuda {

constexpr int kMostChannels = 4096;  // what the layers' vectors in shared memory are made for
constexpr int kMostHidden = 2048;

// Sum, maximum and the position of the maximum (the first of the largest) of every plane, or of
// every one of its `parts`.
template <class T>
struct PoolPlanes {
  Map<const T> x;
  int64_t images;
  int64_t channels;
  int64_t pixels;
  Accumulate<T>* sums;  // (images, channels, parts)
  Accumulate<T>* maxima;
  int64_t* positions;  // in the plane
};

// Into how many parts pooling divides a plane so that there is work for all multiprocessors;
// depends on the shape and the memory of x only.
template <class T>
int pool_parts(const PoolPlanes<T>& a);

template <class T>
cudaError_t pool_planes(const PoolPlanes<T>& a, cudaStream_t stream);

// Joins the parts and runs the layers. With one part, what pooling left may lie where the results
// belong: `sums` and `maxima` in `average` and `maximum`, `positions` in `position`.
template <class T>
struct ChannelAttention {
  const Accumulate<T>* sums;  // (images, channels, parts)
  const Accumulate<T>* maxima;
  const int64_t* positions;
  int parts;
  int64_t images;
  int64_t pixels;
  const T* w1;  // (hidden, channels)
  const T* w2;  // (channels, hidden)
  int channels;
  int hidden;
  Accumulate<T>* average;  // (images, channels)
  Accumulate<T>* maximum;
  int64_t* position;
  Accumulate<T>* hidden_average;  // (images, hidden), after the ReLU
  Accumulate<T>* hidden_maximum;
  T* scores;  // (images, channels)
};

template <class T>
cudaError_t channel_attention(const ChannelAttention<T>& a, cudaStream_t stream);

// Gradients of logits, hidden units and pooled values; those with a null pointer are not needed.
template <class T>
struct ChannelAttentionBackward {
  const T* grad_scores;  // (images, channels)
  const T* scores;
  const T* w1;
  const T* w2;
  int64_t images;
  int channels;
  int hidden;
  const Accumulate<T>* hidden_average;
  const Accumulate<T>* hidden_maximum;
  Accumulate<T>* grad_logits;          // (images, channels)
  Accumulate<T>* grad_hidden_average;  // (images, hidden)
  Accumulate<T>* grad_hidden_maximum;
  Accumulate<T>* grad_average;  // (images, channels)
  Accumulate<T>* grad_maximum;
};

template <class T>
cudaError_t channel_attention_backward(const ChannelAttentionBackward<T>& a, cudaStream_t stream);

// out = sum over the batch of a1^T b1 + a2^T b2.
template <class T>
struct WeightGradient {
  const Accumulate<T>* a1;  // (batch, rows)
  const Accumulate<T>* b1;  // (batch, columns)
  const Accumulate<T>* a2;
  const Accumulate<T>* b2;
  int rows;
  int columns;
  T* out;  // (rows, columns), or null where not needed
};

// The gradients of both weights, which have equally many elements, in one launch.
template <class T>
struct WeightGradients {
  WeightGradient<T> w1;
  WeightGradient<T> w2;
  int64_t batch;
};

template <class T>
cudaError_t weight_gradients(const WeightGradients<T>& a, cudaStream_t stream);

// The gradient of x: the average's share everywhere, the maximum's at its position.
template <class T>
struct UnpoolPlanes {
  const Accumulate<T>* grad_average;  // (images, channels)
  const Accumulate<T>* grad_maximum;
  const int64_t* position;
  int64_t images;
  int64_t channels;
  int64_t pixels;
  Map<T> grad_x;
};

template <class T>
cudaError_t unpool_planes(const UnpoolPlanes<T>& a, cudaStream_t stream);

}  // namespace adarts::cuda
