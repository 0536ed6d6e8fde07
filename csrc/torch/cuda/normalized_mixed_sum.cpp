// normalized_mixed_sum on the GPU: checks, allocation and launches; the kernels are in
// csrc/cuda/normalized_mixed_sum.cu.
#include "../../cuda/normalized_mixed_sum.cuh"

#include <limits>

#include "../normalized_mixed_sum.h"
#include "common.h"

namespace adarts {

namespace {

constexpr int kMoments = 3;  // see ChannelMoments

cuda::ChannelSizes sizes_of(const char* op, const Tensor& x) {
  const int64_t pixels = x.size(2) * x.size(3), values = x.size(0) * pixels;
  ADARTS_CHECK(x.size(1) <= cuda::kNormalizedChannels, op, ": got ", x.size(1),
               " channels, expected at most ", cuda::kNormalizedChannels);
  ADARTS_CHECK(values <= std::numeric_limits<int>::max(), op, ": got ", values,
               " values of a channel, expected fewer than 2^31");
  return {x.size(1), static_cast<int>(values), static_cast<int>(pixels)};
}

// The batch's statistics of the inputs that are normalized.
template <class T>
void batch_statistics(const char* op, const Tensors& inputs, const std::vector<int>& norm,
                      const cuda::ChannelSizes& sizes, double eps, const Tensor& norms,
                      cudaStream_t stream) {
  using A = Accumulate<T>;
  std::vector<const T*> chosen;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (norm[i] >= 0) chosen.push_back(data<T>(inputs[i]));
  if (chosen.empty()) return;
  const int64_t most = std::min<int64_t>(chosen.size(), cuda::kNormalizedInputs);
  const Tensor partial = empty_tensor(
      norms, {most, sizes.channels, cuda::moment_parts<T>(sizes), kMoments}, norms.scalar_type());
  each_group(op, chosen.size(), cuda::kNormalizedInputs, [&](int64_t first, int count) {
    cuda::ChannelMoments<T> args{{},
                                 count,
                                 sizes,
                                 eps,
                                 data<A>(partial),
                                 data<A>(norms) + first * kStatistics * sizes.channels};
    std::copy_n(chosen.begin() + first, count, args.inputs);
    return cuda::channel_moments(args, stream);
  });
}

// What one launch takes of the inputs; there are none where they need not be read.
template <class T>
cuda::NormalizedInputs<T> group_of(const Tensors& inputs, const std::vector<int>& norm,
                                   int64_t first, int count, const cuda::ChannelSizes& sizes,
                                   const Tensor& weights, const Tensor& norms) {
  using A = Accumulate<T>;
  cuda::NormalizedInputs<T> group{{}, {}, count, sizes, data<A>(weights) + first, data<A>(norms)};
  std::copy_n(norm.begin() + first, count, group.norm);
  if (!inputs.empty())
    for (int i = 0; i < count; ++i) group.inputs[i] = data<T>(inputs[first + i]);
  return group;
}

std::tuple<Tensor, Tensor> normalized_mixed_sum(const Tensors& inputs, const Tensor& weights,
                                                const std::vector<bool>& normalized,
                                                const OptionalTensor& norms, double eps) {
  constexpr const char* op = "normalized_mixed_sum";
  const auto arguments =
      NormalizedMixedSumArguments::checked(op, inputs, weights, normalized, norms);
  const auto& [out, laid_out, factors, used] = arguments;
  const cuda::ChannelSizes sizes = sizes_of(op, out);
  const DeviceStream stream(out);
  const std::vector<int> norm = norms_of(normalized);
  const int64_t total = inputs.size();
  const OptionalTensor sums = sums_of_launches(out, total, cuda::kNormalizedInputs);
  dispatch(op, out.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    if (!norms.has_value()) batch_statistics<T>(op, laid_out, norm, sizes, eps, used, stream);
    each_group(op, total, cuda::kNormalizedInputs, [&](int64_t first, int count) {
      const cuda::NormalizedMixedSum<T> args{
          group_of<T>(laid_out, norm, first, count, sizes, factors, used),
          first > 0 ? data<A>(sums) : nullptr, first + count < total ? data<A>(sums) : nullptr,
          data<T>(out)};
      return cuda::normalized_mixed_sum(args, stream);
    });
  });
  return arguments.results(norms.has_value());
}

Tensors normalized_mixed_sum_backward(const Tensor& grad, const Tensors& inputs,
                                      const Tensor& weights, const std::vector<bool>& normalized,
                                      const Tensor& norms, bool training,
                                      const std::vector<bool>& needs_inputs, bool needs_weights) {
  constexpr const char* op = "normalized_mixed_sum_backward";
  const int64_t count = normalized.size();
  const bool sums = needs_weights || training;
  const auto [laid_out, grad_out, factors, used, gradients] =
      NormalizedMixedSumBackwardArguments::checked(op, grad, inputs, weights, normalized, norms,
                                                   needs_inputs, needs_weights, sums);
  const cuda::ChannelSizes sizes = sizes_of(op, grad);
  const DeviceStream stream(grad);
  const std::vector<int> norm = norms_of(normalized);
  const ScalarType dtype = accumulate_dtype(grad.scalar_type());
  OptionalTensor partial, totals;
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    if (sums) {
      const int64_t rows = std::min<int64_t>(count, cuda::kNormalizedInputs) + 1;
      partial = empty_tensor(grad, {rows, sizes.channels, cuda::product_parts<T>(sizes)}, dtype);
      totals = empty_tensor(grad, {rows, sizes.channels}, dtype);
    }
    each_group(op, count, cuda::kNormalizedInputs, [&](int64_t first, int size) {
      cuda::NormalizedMixedSumBackward<T> args{
          group_of<T>(laid_out, norm, first, size, sizes, factors, used),
          data<T>(grad_out),
          training,
          {},
          needs_weights ? data<A>(gradients.weights) + first : nullptr,
          data<A>(partial),
          data<A>(totals)};
      for (int i = 0; i < size; ++i) args.grad_inputs[i] = data<T>(gradients.inputs[first + i]);
      return cuda::normalized_mixed_sum_backward(args, stream);
    });
  });
  return gradients.all;
}

}  // namespace

ADARTS_CUDA_OPERATORS(m) {
  m.impl("normalized_mixed_sum", TORCH_BOX(&normalized_mixed_sum));
  m.impl("normalized_mixed_sum_backward", TORCH_BOX(&normalized_mixed_sum_backward));
}

}  // namespace adarts
