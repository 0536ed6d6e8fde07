// What mixed_sum's bindings of every device begin with: its checks and what it gives.
#pragma once

#include "checks.h"

namespace adarts {

// The inputs of mixed_sum, lying in memory as `like` does.
inline Tensors checked_inputs(const char* op, const Tensors& inputs, const Tensor& like) {
  Tensors laid_out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string name = "input " + std::to_string(i);
    bool same = inputs[i].dim() == like.dim();
    for (int64_t d = 0; same && d < like.dim(); ++d) same = inputs[i].size(d) == like.size(d);
    ADARTS_CHECK(same, op, ": ", name, " has shape ", shape_of(inputs[i]), ", expected ",
                 shape_of(like), " like input 0");
    check_like(op, name.c_str(), inputs[i], like);
    laid_out.push_back(laid_out_like(inputs[i], like));
  }
  return laid_out;
}

struct MixedSumArguments {
  Tensor out;
  Tensors inputs;  // lie in memory as `out` does
  Tensor weights;

  static MixedSumArguments checked(const char* op, const Tensors& inputs, const Tensor& weights) {
    ADARTS_CHECK(!inputs.empty(), op, ": inputs is empty, expected at least one tensor");
    check_shape(op, "weights", weights, {static_cast<int64_t>(inputs.size())});
    check_like(op, "weights", weights, inputs[0]);
    const Tensor out = empty_tensor_like(inputs[0]);
    return {out, checked_inputs(op, inputs, out), dense(weights)};
  }
};

// The gradients that a weighted sum's backward gives: of the inputs that need one, then of the
// weights.
struct MixedSumGradients {
  Tensors all;
  std::vector<OptionalTensor> inputs;
  OptionalTensor weights;

  MixedSumGradients(const std::vector<bool>& needs_inputs, bool needs_weights, const Tensor& like,
                    ScalarType dtype)
      : inputs(needs_inputs.size()) {
    const int64_t count = needs_inputs.size();
    for (int64_t i = 0; i < count; ++i) {
      if (!needs_inputs[i]) continue;
      inputs[i] = empty_tensor_like(like);
      all.push_back(*inputs[i]);
    }
    if (!needs_weights) return;
    weights = empty_tensor(like, {count}, dtype);
    all.push_back(*weights);
  }
};

struct MixedSumBackwardArguments {
  Tensors inputs;  // none where they are not read
  Tensor grad, weights;
  MixedSumGradients gradients;

  static MixedSumBackwardArguments checked(const char* op, const Tensor& grad,
                                           const Tensors& inputs, const Tensor& weights,
                                           const std::vector<bool>& needs_inputs,
                                           bool needs_weights) {
    const int64_t count = needs_inputs.size();
    check_shape(op, "weights", weights, {count});
    check_like(op, "weights", weights, grad);
    ADARTS_CHECK(!needs_weights || static_cast<int64_t>(inputs.size()) == count, op,
                 ": the gradient of weights needs all ", count, " inputs, got ", inputs.size());
    const Tensor& x = needs_weights ? inputs[0] : grad;
    const MixedSumGradients gradients(needs_inputs, needs_weights, x, grad.scalar_type());
    const bool input_first = gradients.all.size() > (needs_weights ? 1 : 0);
    const Tensor like = input_first ? gradients.all[0] : empty_tensor_like(x);
    return {checked_inputs(op, needs_weights ? inputs : Tensors(), like), laid_out_like(grad, like),
            dense(weights), gradients};
  }
};

}  // namespace adarts
