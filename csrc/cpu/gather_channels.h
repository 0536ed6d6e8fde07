// Chosen channels of a feature map, each times its scale: out[n, j] = scale[n, index[j]] * x[n,
// index[j]].
#pragma once

#include <cstdint>

#include "vectorize.h"

namespace adarts::cpu {

template <class T>
struct GatherChannels {
  const T* x;
  Strides x_strides;
  const T* scale;        // (batch, channels), or null
  const int64_t* index;  // (k)
  int64_t channels;
  int64_t k;
  int64_t pixels;
  T* out;
  Strides out_strides;

  void run(int64_t begin, int64_t end) const;      // a range of images
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

// Gradients of x and scale. The chosen places of each channel are listed, so a channel that was
// taken twice gets both gradients, in one order.
template <class T>
struct GatherChannelsBackward {
  const T* grad;
  Strides grad_strides;
  const T* x;
  Strides x_strides;
  const T* scale;
  const int64_t* index;
  int64_t channels;
  int64_t k;
  int64_t pixels;
  const int64_t* places;       // (k), the positions j in `index`, sorted by channel
  const int64_t* place_begin;  // (channels + 1), where the places of a channel begin
  T* grad_x;                   // or null
  Strides grad_x_strides;
  T* grad_scale;  // (batch, channels), or null

  void run(int64_t begin, int64_t end) const;      // a range of images
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

}  // namespace adarts::cpu
