// CBAM's channel attention, scores = sigmoid(w2 relu(w1 average) + w2 relu(w1 maximum)), in three
// steps: pool (one read of x), score (the two small layers), and their gradients.
#pragma once

#include <cstdint>

#include "vectorize.h"

namespace adarts::cpu {

// Average, maximum and the position of the maximum (the first of the largest) of every plane.
template <class T>
struct PoolPlanes {
  using A = Accumulate<T>;
  const T* x;
  Strides strides;
  int64_t channels;
  int64_t pixels;
  A* average;         // (batch, channels)
  A* maximum;         // (batch, channels)
  int64_t* position;  // (batch, channels)

  void run(int64_t begin, int64_t end) const;      // a range of images
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

template <class T>
struct ChannelAttention {
  using A = Accumulate<T>;
  const A* average;  // (batch, channels)
  const A* maximum;
  const T* w1;  // (hidden, channels)
  const T* w2;  // (channels, hidden)
  int64_t channels;
  int64_t hidden;
  A* hidden_average;  // (batch, hidden), after the ReLU
  A* hidden_maximum;
  T* scores;  // (batch, channels)

  void run(int64_t begin, int64_t end) const;      // a range of images
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

// Gradients of one image's pooled values and hidden units.
template <class T>
struct ChannelAttentionBackward {
  using A = Accumulate<T>;
  const T* grad_scores;
  const T* scores;
  const T* w1;
  const T* w2;
  int64_t channels;
  int64_t hidden;
  const A* hidden_average;
  const A* hidden_maximum;
  A* grad_logits;          // (batch, channels)
  A* grad_hidden_average;  // (batch, hidden)
  A* grad_hidden_maximum;
  A* grad_average;  // (batch, channels), or null where the gradient of x is not needed
  A* grad_maximum;

  void run(int64_t begin, int64_t end) const;      // a range of images
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

// out = sum over the batch of a1^T b1 + a2^T b2: the gradient of a weight, one row at a time.
template <class T>
struct WeightGradient {
  using A = Accumulate<T>;
  const A* a1;  // (batch, rows)
  const A* b1;  // (batch, columns)
  const A* a2;
  const A* b2;
  int64_t batch;
  int64_t rows;
  int64_t columns;
  T* out;  // (rows, columns)

  void run(int64_t begin, int64_t end) const;      // a range of rows
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

// The gradient of x: average's share everywhere, maximum's at its position.
template <class T>
struct UnpoolPlanes {
  using A = Accumulate<T>;
  const A* grad_average;
  const A* grad_maximum;
  const int64_t* position;
  int64_t channels;
  int64_t pixels;
  T* grad_x;
  Strides strides;

  void run(int64_t begin, int64_t end) const;      // a range of images
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

}  // namespace adarts::cpu
