// mixed_sum on the CPU: checks, allocation and threads; the loops are in csrc/cpu/mixed_sum.cpp.
#include "../../cpu/mixed_sum.h"

#include "common.h"

namespace adarts {

namespace {

Tensor mixed_sum(const Tensors& inputs, const Tensor& weights) {
  constexpr const char* op = "mixed_sum";
  ADARTS_CHECK(!inputs.empty(), op, ": inputs is empty, expected at least one tensor");
  const int64_t count = inputs.size();
  check_shape(op, "weights", weights, {count});
  check_like(op, "weights", weights, inputs[0]);
  Tensor out = torch::stable::empty_like(inputs[0]);
  const Tensors laid_out = checked_inputs(op, inputs, out);
  const Tensor factors = dense(weights);
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
  check_shape(op, "weights", weights, {count});
  check_like(op, "weights", weights, grad);
  ADARTS_CHECK(!needs_weights || static_cast<int64_t>(inputs.size()) == count, op,
               ": the gradient of weights needs all ", count, " inputs, got ", inputs.size());
  const Tensor like = torch::stable::empty_like(needs_weights ? inputs[0] : grad);
  const Tensors laid_out = checked_inputs(op, needs_weights ? inputs : Tensors(), like);
  const Tensor grad_out = laid_out_like(grad, like);
  const Tensor factors = dense(weights);
  const int64_t size = grad_out.numel();
  const int64_t chunks = (size + cpu::kMixedSumChunk - 1) / cpu::kMixedSumChunk;
  std::vector<double> partial(needs_weights ? chunks * count : 0);
  Tensors grads;
  for (int64_t i = 0; i < count; ++i)
    if (needs_inputs[i]) grads.push_back(torch::stable::empty_like(like));
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    std::vector<const T*> sources = pointers<T>(laid_out);
    sources.resize(count, nullptr);
    std::vector<T*> targets(count, nullptr);
    int64_t next = 0;
    for (int64_t i = 0; i < count; ++i)
      if (needs_inputs[i]) targets[i] = data<T>(grads[next++]);
    const cpu::MixedSumBackward<T> kernel{data<T>(grad_out),
                                          sources.data(),
                                          data<T>(factors),
                                          count,
                                          size,
                                          targets.data(),
                                          needs_weights ? partial.data() : nullptr};
    run_parallel(kernel, chunks, 2 * count * cpu::kMixedSumChunk);
    if (!needs_weights) return;
    Tensor grad_weights = empty_tensor(grad, {count});
    for (int64_t i = 0; i < count; ++i) {
      double sum = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * count + i];
      data<T>(grad_weights)[i] = T(sum);
    }
    grads.push_back(grad_weights);
  });
  return grads;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CPU, m) {
  m.impl("mixed_sum", TORCH_BOX(&mixed_sum));
  m.impl("mixed_sum_backward", TORCH_BOX(&mixed_sum_backward));
}

}  // namespace adarts
