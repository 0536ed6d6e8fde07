// Weighted sum of tensors, out = sum_i weights[i] * inputs[i], over flat memory.
#pragma once

#include <cstdint>

namespace adarts::cpu {

constexpr int64_t kMixedSumChunk = 4096;  // elements of one partial sum of the backward pass

template <class T>
struct MixedSum {
  const T* const* inputs;
  const T* weights;
  int64_t count;  // number of inputs
  int64_t size;   // elements of one input
  T* out;

  void run(int64_t begin, int64_t end) const;      // a range of elements
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

template <class T>
struct MixedSumBackward {
  const T* grad;
  const T* const* inputs;
  const T* weights;
  int64_t count;
  int64_t size;
  T* const* grad_inputs;  // an entry is null where that gradient is not needed
  double* partial;        // (chunks, count), or null where the gradient of weights is not needed

  void run(int64_t begin, int64_t end) const;      // a range of chunks
  void compute(int64_t begin, int64_t end) const;  // run, inlined for each level
};

}  // namespace adarts::cpu
