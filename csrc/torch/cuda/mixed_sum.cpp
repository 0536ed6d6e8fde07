// mixed_sum on the GPU: checks, allocation and launches; the kernels are in
// csrc/cuda/mixed_sum.cu.
#include "../../cuda/mixed_sum.cuh"

#include <algorithm>

#include "common.h"

namespace adarts {

namespace {

// Calls launch(first, count) for each group of inputs that one launch takes.
template <class Launch>
void each_group(const char* op, int64_t inputs, const Launch& launch) {
  for (int64_t first = 0; first < inputs; first += cuda::kMixedSumInputs)
    check_launch(op, launch(first, int(std::min<int64_t>(inputs - first, cuda::kMixedSumInputs))));
}

Tensor mixed_sum(const Tensors& inputs, const Tensor& weights) {
  constexpr const char* op = "mixed_sum";
  ADARTS_CHECK(!inputs.empty(), op, ": inputs is empty, expected at least one tensor");
  const int64_t count = inputs.size();
  check_shape(op, "weights", weights, {count});
  check_like(op, "weights", weights, inputs[0]);
  const DeviceStream stream(inputs[0]);
  Tensor out = torch::stable::empty_like(inputs[0]);
  const Tensors laid_out = checked_inputs(op, inputs, out);
  const Tensor factors = dense(weights);
  dispatch(op, out.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    each_group(op, count, [&](int64_t first, int size) {
      cuda::MixedSum<T> args{{},          data<T>(factors) + first, size, out.numel(), first > 0,
                             data<T>(out)};
      for (int i = 0; i < size; ++i) args.inputs[i] = data<T>(laid_out[first + i]);
      return cuda::mixed_sum(args, stream);
    });
  });
  return out;
}

Tensors mixed_sum_backward(const Tensor& grad, const Tensors& inputs, const Tensor& weights,
                           const std::vector<bool>& needs_inputs, bool needs_weights) {
  constexpr const char* op = "mixed_sum_backward";
  const int64_t count = needs_inputs.size();
  check_shape(op, "weights", weights, {count});
  check_like(op, "weights", weights, grad);
  ADARTS_CHECK(!needs_weights || static_cast<int64_t>(inputs.size()) == count, op,
               ": the gradient of weights needs all ", count, " inputs, got ", inputs.size());
  const DeviceStream stream(grad);
  const Tensor like = torch::stable::empty_like(needs_weights ? inputs[0] : grad);
  const Tensors laid_out = checked_inputs(op, needs_weights ? inputs : Tensors(), like);
  const Tensor grad_out = laid_out_like(grad, like);
  const Tensor factors = dense(weights);
  Tensors grads, grad_inputs(count, like);
  for (int64_t i = 0; i < count; ++i) {
    if (!needs_inputs[i]) continue;
    grad_inputs[i] = grads.empty() ? like : torch::stable::empty_like(like);
    grads.push_back(grad_inputs[i]);
  }
  OptionalTensor grad_weights, partial;
  if (needs_weights) {
    grad_weights = empty_tensor(grad, {count});
    grads.push_back(*grad_weights);
  }
  if (grads.empty()) return grads;
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    if (needs_weights)
      partial =
          empty_tensor(grad, {cuda::kMixedSumInputs, cuda::mixed_sum_parts<T>(grad_out.numel())},
                       accumulate_dtype(grad.scalar_type()));
    each_group(op, count, [&](int64_t first, int size) {
      cuda::MixedSumBackward<T> args{
          data<T>(grad_out), {}, data<T>(factors) + first, size, grad_out.numel(), {}, nullptr,
          data<A>(partial)};
      for (int i = 0; i < size; ++i) {
        if (needs_weights) args.inputs[i] = data<T>(laid_out[first + i]);
        if (needs_inputs[first + i]) args.grad_inputs[i] = data<T>(grad_inputs[first + i]);
      }
      if (needs_weights) args.grad_weights = data<T>(grad_weights) + first;
      return cuda::mixed_sum_backward(args, stream);
    });
  });
  return grads;
}

}  // namespace

ADARTS_CUDA_OPERATORS(m) {
  m.impl("mixed_sum", TORCH_BOX(&mixed_sum));
  m.impl("mixed_sum_backward", TORCH_BOX(&mixed_sum_backward));
}

}  // namespace adarts
