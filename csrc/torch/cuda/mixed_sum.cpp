// mixed_sum on the GPU: checks, allocation and launches; the kernels are in
// csrc/cuda/mixed_sum.cu.
#include "../../cuda/mixed_sum.cuh"

#include "../mixed_sum.h"
#include "common.h"

namespace adarts {

namespace {

Tensor mixed_sum(const Tensors& inputs, const Tensor& weights) {
  constexpr const char* op = "mixed_sum";
  const auto [out, laid_out, factors] = MixedSumArguments::checked(op, inputs, weights);
  const int64_t count = inputs.size();
  const DeviceStream stream(out);
  const OptionalTensor sums = sums_of_launches(out, count, cuda::kMixedSumInputs);
  dispatch(op, out.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    each_group(op, count, cuda::kMixedSumInputs, [&](int64_t first, int size) {
      cuda::MixedSum<T> args{{},
                             data<T>(factors) + first,
                             size,
                             out.numel(),
                             first > 0 ? data<A>(sums) : nullptr,
                             first + size < count ? data<A>(sums) : nullptr,
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
  const auto [laid_out, grad_out, factors, gradients] =
      MixedSumBackwardArguments::checked(op, grad, inputs, weights, needs_inputs, needs_weights);
  const DeviceStream stream(grad);
  if (gradients.all.empty()) return {};
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    OptionalTensor partial;
    if (needs_weights)
      partial =
          empty_tensor(grad, {cuda::kMixedSumInputs, cuda::mixed_sum_parts<T>(grad_out.numel())},
                       accumulate_dtype(grad.scalar_type()));
    each_group(op, count, cuda::kMixedSumInputs, [&](int64_t first, int size) {
      cuda::MixedSumBackward<T> args{
          data<T>(grad_out), {}, data<T>(factors) + first, size, grad_out.numel(), {}, nullptr,
          data<A>(partial)};
      for (int i = 0; i < size; ++i) {
        if (needs_weights) args.inputs[i] = data<T>(laid_out[first + i]);
        args.grad_inputs[i] = data<T>(gradients.inputs[first + i]);
      }
      if (needs_weights) args.grad_weights = data<T>(gradients.weights) + first;
      return cuda::mixed_sum_backward(args, stream);
    });
  });
  return gradients.all;
}

}  // namespace

ADARTS_CUDA_OPERATORS(m) {
  m.impl("mixed_sum", TORCH_BOX(&mixed_sum));
  m.impl("mixed_sum_backward", TORCH_BOX(&mixed_sum_backward));
}

}  // namespace adarts
