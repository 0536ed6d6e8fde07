// mixed_sum on the CPU: checks, allocation and threads; the loops are in csrc/cpu/mixed_sum.cpp.
#include "../../cpu/mixed_sum.h"

#include "../mixed_sum.h"
#include "common.h"

namespace adarts {

namespace {

Tensor mixed_sum(const Tensors& inputs, const Tensor& weights) {
  constexpr const char* op = "mixed_sum";
  const auto [out, laid_out, factors] = MixedSumArguments::checked(op, inputs, weights);
  const int64_t count = inputs.size();
  dispatch(op, out.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const std::vector<const T*> sources = pointers<T>(laid_out);
    const cpu::MixedSum<T> kernel{sources.data(), data<T>(factors), count, out.numel(),
                                  data<T>(out)};
    run_parallel(kernel, out.numel(), count);
  });
  return out;
}

Tensors mixed_sum_backward(const Tensor& grad, const Tensors& inputs, const Tensor& weights,
                           const std::vector<bool>& needs_inputs, bool needs_weights) {
  constexpr const char* op = "mixed_sum_backward";
  const int64_t count = needs_inputs.size();
  const auto [laid_out, grad_out, factors, gradients] =
      MixedSumBackwardArguments::checked(op, grad, inputs, weights, needs_inputs, needs_weights);
  const int64_t size = grad_out.numel();
  const int64_t chunks = (size + cpu::kMixedSumChunk - 1) / cpu::kMixedSumChunk;
  std::vector<double> partial(needs_weights ? chunks * count : 0);
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    std::vector<const T*> sources = pointers<T>(laid_out);
    sources.resize(count, nullptr);
    const std::vector<T*> targets = pointers<T>(gradients.inputs);
    const cpu::MixedSumBackward<T> kernel{data<T>(grad_out),
                                          sources.data(),
                                          data<T>(factors),
                                          count,
                                          size,
                                          targets.data(),
                                          needs_weights ? partial.data() : nullptr};
    run_parallel(kernel, chunks, 2 * count * cpu::kMixedSumChunk);
    if (!needs_weights) return;
    for (int64_t i = 0; i < count; ++i) {
      double sum = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * count + i];
      data<T>(gradients.weights)[i] = T(sum);
    }
  });
  return gradients.all;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CPU, m) {
  m.impl("mixed_sum", TORCH_BOX(&mixed_sum));
  m.impl("mixed_sum_backward", TORCH_BOX(&mixed_sum_backward));
}

}  // namespace adarts
