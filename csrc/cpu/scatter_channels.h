// Updated channels in their places among the scaled others: out[:, index] = update, the rest is
// scale * x, through a 2x2 max pool of stride 2 where `stride` is 2.
#pragma once

#include <cstdint>

#include "vectorize.h"

namespace adarts::cpu {

struct ScatterShape {
  int64_t channels;
  int64_t height;  // of x
  int64_t width;
  int64_t stride;

  int64_t out_height() const { return height / stride; }
  int64_t out_width() const { return width / stride; }
};

template <class T>
struct ScatterChannels {
  ScatterShape shape;
  const T* x;
  Strides x_strides;
  const T* scale;        // (batch, channels), or null
  const int64_t* place;  // (channels), the position in `update`, or -1
  const T* update;
  Strides update_strides;
  T* out;
  Strides out_strides;

  void run(int64_t begin, int64_t end) const;      // a range of batch * channels
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

template <class T>
struct ScatterChannelsBackward {
  ScatterShape shape;
  const T* grad;
  Strides grad_strides;
  const T* x;
  Strides x_strides;
  const T* scale;
  const int64_t* place;
  T* grad_x;  // or null
  Strides grad_x_strides;
  T* grad_update;  // or null
  Strides grad_update_strides;
  T* grad_scale;  // (batch, channels), or null

  void run(int64_t begin, int64_t end) const;      // a range of batch * channels
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

}  // namespace adarts::cpu
