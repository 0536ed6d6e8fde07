// Weighted sum of feature maps of which some pass a BatchNorm without scale and shift first:
// out = sum_i weights[i] * y_i, with y_i = (x_i - mean) * rstd by channel, or x_i itself; and its
// gradients. Memory is contiguous.
#pragma once

#include <algorithm>
#include <cstdint>

#include "vectorize.h"

namespace adarts::cpu {

// Sums over a channel are made chunk by chunk, a chunk being so many images that neighbouring
// channels stay neighbours in the caches; so they do not depend on the number of threads.
struct Planes {
  int64_t images, channels, pixels;

  int64_t chunk() const { return std::max<int64_t>(1, 512 / std::max<int64_t>(1, pixels)); }
  int64_t chunks() const { return (images + chunk() - 1) / chunk(); }
  int64_t items() const { return chunks() * channels; }  // a chunk of a channel each
  int64_t values() const { return images * pixels; }     // of a channel
};

// Mean and sum of squared distances from it of every chunk of every channel.
template <class T>
struct ChunkMoments {
  const T* const* inputs;
  Planes planes;
  double* partial;  // (inputs, items, 2)

  void run(int64_t begin, int64_t end) const;      // a range of inputs x items
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

// Of one input: mean, 1 / sqrt(variance + eps) and unbiased variance (3, channels).
template <class T>
void finish_moments(const double* partial, const Planes& planes, double eps, Accumulate<T>* norm);

template <class T>
struct NormalizedMixedSum {
  const T* const* inputs;
  int64_t count;
  Planes planes;
  const Accumulate<T>* factors;  // (count, channels): the weight, times rstd
  const Accumulate<T>* means;    // (count, channels), 0 where an input is not normalized
  T* out;

  void run(int64_t begin, int64_t end) const;      // a range of images x channels
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

// sum g, and sum g * (x_i - mean_i) for each input, of every chunk of every channel.
template <class T>
struct ChunkProducts {
  const T* grad;
  const T* const* inputs;
  int64_t count;
  Planes planes;
  const Accumulate<T>* means;
  double* partial;  // (items, 1 + count)

  void run(int64_t begin, int64_t end) const;      // a range of items
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

// The gradient of an input in one channel: factor * (g - offset) + slope * (x - mean).
template <class T>
struct InputGradient {
  Accumulate<T> factor, offset = 0, slope = 0, mean = 0;
};

template <class T>
struct NormalizedMixedSumBackward {
  const T* grad;
  const T* const* inputs;  // an entry is not read where all its slopes are 0, and may be null
  int64_t count;
  Planes planes;
  const InputGradient<T>* gradients;  // (count, channels)
  T* const* grad_inputs;              // an entry is null where that gradient is not needed

  void run(int64_t begin, int64_t end) const;      // a range of images x channels
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

}  // namespace adarts::cpu
