// What normalized_mixed_sum's bindings of every device begin with: its checks and what it gives.
#pragma once

#include <algorithm>

#include "mixed_sum.h"

namespace adarts {

constexpr int kStatistics = 3;  // mean, 1 / sqrt(variance + eps), unbiased variance

// Which of the norms an input of normalized_mixed_sum passes, -1 where it passes none.
inline std::vector<int> norms_of(const std::vector<bool>& normalized) {
  std::vector<int> norms;
  int next = 0;
  for (const bool passes : normalized) norms.push_back(passes ? next++ : -1);
  return norms;
}

// All but the inputs of normalized_mixed_sum, for feature maps like `like`.
inline void check_normalized(const char* op, const Tensor& like, const Tensor& weights,
                             const std::vector<bool>& normalized, const OptionalTensor& norms) {
  check_feature_map(op, "the first argument", like);
  const int64_t count = normalized.size();
  const ScalarType dtype = accumulate_dtype(like.scalar_type());
  check_shape(op, "weights", weights, {count});
  if (norms.has_value())
    check_shape(
        op, "norms", *norms,
        {std::count(normalized.begin(), normalized.end(), true), kStatistics, like.size(1)});
  for (const Tensor* t : {&weights, norms.has_value() ? &*norms : &weights})
    ADARTS_CHECK(t->scalar_type() == dtype && t->device() == like.device(), op,
                 ": weights and norms must be on the device of the first argument, in ",
                 dtype == ScalarType::Double ? "float64" : "float32");
}

// The same for the backward pass, whose inputs are there where it needs their sums.
inline void check_normalized_backward(const char* op, const Tensor& grad, const Tensors& inputs,
                                      const Tensor& weights, const std::vector<bool>& normalized,
                                      const Tensor& norms, const std::vector<bool>& needs_inputs,
                                      bool sums) {
  check_normalized(op, grad, weights, normalized, norms);
  const size_t count = normalized.size();
  ADARTS_CHECK(needs_inputs.size() == count && (!sums || inputs.size() == count), op, ": got ",
               inputs.size(), " inputs and ", needs_inputs.size(), " flags, expected ", count);
}

struct NormalizedMixedSumArguments {
  Tensor out;
  Tensors inputs;  // contiguous
  Tensor weights;
  Tensor norms;  // given, or to be filled

  static NormalizedMixedSumArguments checked(const char* op, const Tensors& inputs,
                                             const Tensor& weights,
                                             const std::vector<bool>& normalized,
                                             const OptionalTensor& norms) {
    ADARTS_CHECK(!inputs.empty() && inputs.size() == normalized.size(), op, ": got ", inputs.size(),
                 " inputs and ", normalized.size(), " flags, expected at least one and as many");
    check_normalized(op, inputs[0], weights, normalized, norms);
    const Tensor& x = inputs[0];
    const Tensor out = empty_feature_map(x, {x.size(0), x.size(1), x.size(2), x.size(3)}, false);
    const int64_t passing = std::count(normalized.begin(), normalized.end(), true);
    return {out, checked_inputs(op, inputs, out), dense(weights),
            norms.has_value() ? dense(*norms)
                              : empty_tensor(x, {passing, kStatistics, x.size(1)},
                                             accumulate_dtype(x.scalar_type()))};
  }

  // What the operator gives; norms that were given are not given back.
  std::tuple<Tensor, Tensor> results(bool given) const {
    return {out, given ? empty_tensor(norms, {0}) : norms};
  }
};

struct NormalizedMixedSumBackwardArguments {
  Tensors inputs;  // none where they are not read
  Tensor grad, weights, norms;
  MixedSumGradients gradients;

  static NormalizedMixedSumBackwardArguments checked(const char* op, const Tensor& grad,
                                                     const Tensors& inputs, const Tensor& weights,
                                                     const std::vector<bool>& normalized,
                                                     const Tensor& norms,
                                                     const std::vector<bool>& needs_inputs,
                                                     bool needs_weights, bool sums) {
    check_normalized_backward(op, grad, inputs, weights, normalized, norms, needs_inputs, sums);
    const Tensor contiguous = dense(grad);
    return {checked_inputs(op, sums ? inputs : Tensors(), contiguous), contiguous, dense(weights),
            dense(norms),
            MixedSumGradients(needs_inputs, needs_weights, contiguous,
                              accumulate_dtype(grad.scalar_type()))};
  }
};

}  // namespace adarts
