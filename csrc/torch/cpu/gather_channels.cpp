// gather_channels on the CPU: checks, allocation and threads; the loops are in
// csrc/cpu/gather_channels.cpp.
#include "../../cpu/gather_channels.h"

#include "../gather_channels.h"
#include "common.h"

namespace adarts {

namespace {

Tensor gather_channels(const Tensor& x, const Tensor& index, const OptionalTensor& scale) {
  constexpr const char* op = "gather_channels";
  check_feature_map(op, "x", x);
  const int64_t channels = x.size(1), pixels = x.size(2) * x.size(3);
  const Tensor entries = checked_index(op, index, x, channels);
  const OptionalTensor factor = checked_scale(op, scale, x, channels);
  const FeatureMap map(x);
  const int64_t k = entries.numel();
  Tensor out = empty_feature_map(x, {x.size(0), k, x.size(2), x.size(3)}, map.interleaved());
  const FeatureMap out_map(out);
  dispatch(op, x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const cpu::GatherChannels<T> kernel{data<T>(map.tensor),
                                        strides(map),
                                        data<T>(factor),
                                        data<int64_t>(entries),
                                        channels,
                                        k,
                                        pixels,
                                        data<T>(out),
                                        strides(out_map)};
    run_parallel(kernel, x.size(0), k * pixels);
  });
  return out;
}

Tensors gather_channels_backward(const Tensor& grad, const OptionalTensor& x, const Tensor& index,
                                 const OptionalTensor& scale, int64_t channels, bool needs_x,
                                 bool needs_scale) {
  constexpr const char* op = "gather_channels_backward";
  check_feature_map(op, "grad", grad);
  const Tensor entries = checked_index(op, index, grad, channels);
  const int64_t k = entries.numel(), batch = grad.size(0), pixels = grad.size(2) * grad.size(3);
  const GatherChannelsBackwardArguments arguments(op, grad, x, k, scale, channels, needs_x,
                                                  needs_scale);

  const int64_t* chosen = data<int64_t>(entries);
  std::vector<int64_t> places(k), place_begin(channels + 1, 0);
  std::iota(places.begin(), places.end(), int64_t(0));
  std::stable_sort(places.begin(), places.end(),
                   [chosen](int64_t a, int64_t b) { return chosen[a] < chosen[b]; });
  for (int64_t j = 0; j < k; ++j) ++place_begin[chosen[j] + 1];
  std::partial_sum(place_begin.begin(), place_begin.end(), place_begin.begin());

  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const cpu::GatherChannelsBackward<T> kernel{data<T>(arguments.grad.tensor),
                                                strides(arguments.grad),
                                                data<T>(arguments.x),
                                                strides(arguments.x),
                                                data<T>(arguments.scale),
                                                chosen,
                                                channels,
                                                k,
                                                pixels,
                                                places.data(),
                                                place_begin.data(),
                                                data<T>(arguments.grad_x),
                                                strides(arguments.grad_x),
                                                data<T>(arguments.grad_scale)};
    run_parallel(kernel, batch, channels * pixels);
  });
  return arguments.gradients;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CPU, m) {
  m.impl("gather_channels", TORCH_BOX(&gather_channels));
  m.impl("gather_channels_backward", TORCH_BOX(&gather_channels_backward));
}

}  // namespace adarts
