// Weighted sum of tensors, out = sum_i weights[i] * inputs[i], over flat memory, and its gradients.
#pragma once

#include "device/access.cuh"

namespace adarts::cuda {

constexpr int kMixedSumInputs = 16;  // of one launch; more inputs take several

template <class T>
struct MixedSum {
  const T* inputs[kMixedSumInputs];
  const T* weights;             // (count)
  int count;                    // number of inputs
  int64_t size;                 // elements of one input
  const Accumulate<T>* before;  // what earlier launches have summed, or null
  Accumulate<T>* after;         // where to leave the sum for the next launch, or null in the last
  T* out;
};

template <class T>
cudaError_t mixed_sum(const MixedSum<T>& args, cudaStream_t stream);

template <class T>
struct MixedSumBackward {
  const T* grad;
  const T* inputs[kMixedSumInputs];  // not read where the gradient of weights is not needed
  const T* weights;
  int count;
  int64_t size;
  T* grad_inputs[kMixedSumInputs];  // an entry is null where that gradient is not needed
  T* grad_weights;                  // (count), or null
  Accumulate<T>* partial;           // (count, mixed_sum_parts<T>(size)), or null
};

// Into how many parts the sums that are the gradients of the weights are divided.
template <class T>
int64_t mixed_sum_parts(int64_t size);

template <class T>
cudaError_t mixed_sum_backward(MixedSumBackward<T> args, cudaStream_t stream);

}  // namespace adarts::cuda
