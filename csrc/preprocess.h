// A cell's preprocessing, shared by the CPU and the CUDA kernels: its arguments.
#pragma once

#include "cell.h"

namespace adarts::cell {

// A cell's preprocessing: h = BatchNorm(W relu(in)), a 1x1 convolution. At stride 2 it is
// FactorizedReduce: the first half of the output channels sees the even pixels of even rows, the
// second half the odd ones of odd rows. h is its own normalised u, so backward needs no more than
// `in` and h. A task is one band of the pixels of one block: parts = blocks * kBands.
constexpr int64_t kBands = 4;
constexpr int kMostInputs = 2;  // of a cell

template <class T>
struct Preprocess {
  using A = Accumulate<T>;
  int64_t batch, blocks, in_channels, channels;
  int64_t height, width;  // of h
  int stride;
  bool training;
  int64_t processes;  // whose images of each the statistics are of
  const T* in;        // (., in_channels, in pixels, kLanes), its blocks in_block elements apart
  int64_t in_block;
  const A* weights;  // (channels, in_channels)
  T* h;              // (blocks, channels, pixels, kLanes)
  A* norms;          // (kStatistics, channels)
  double* partial;   // (parts, 2, channels): sum u, sum u^2; backward: sum g, sum g * h

  // Backward only.
  const T* grad;
  int64_t grad_block;
  const double* sums;  // (2, channels), on the CPU; the CUDA kernels add up the parts themselves
  T* grad_in;          // like in, contiguous; or null
  A* grad_weights;     // (parts, channels * in_channels), or null

  ADARTS_BOTH int64_t pixels() const { return height * width; }
  ADARTS_BOTH int64_t count() const { return batch * height * width * processes; }
  ADARTS_BOTH int64_t lanes(int64_t block) const { return lanes_of(batch, block); }
  ADARTS_BOTH int64_t band_begin(int64_t band) const { return pixels() * band / kBands; }
  // Where output pixel p of output channel o is taken from in a plane of `in`. Its division is one
  // of p's type: on a GPU one of 64 bits takes three times as many instructions as one of 32.
  template <class N>
  ADARTS_BOTH int64_t source(N p, bool odd) const {
    if (stride == 1) return p;
    const N row = p / N(width), column = p - row * N(width);
    return int64_t(2 * row + odd) * (2 * N(width)) + 2 * column + odd;
  }
};

// Those of a cell's inputs, whose h are alike: all but `in`, in_channels, stride and the pointers.
template <class T>
struct Preprocessings {
  int count;
  Preprocess<T> input[kMostInputs];
};

}  // namespace adarts::cell
