// scatter_channels on the CPU: checks, allocation and threads; the loops are in
// csrc/cpu/scatter_channels.cpp.
#include "../../cpu/scatter_channels.h"

#include "../scatter_channels.h"
#include "common.h"

namespace adarts {

namespace {

// For every channel its position in `update`, or -1. A channel may be updated once.
std::vector<int64_t> places_of(const char* op, const Tensor& index, const Tensor& like,
                               int64_t channels) {
  const Tensor entries = checked_index(op, index, like, channels);
  const int64_t* chosen = data<int64_t>(entries);
  std::vector<int64_t> place(channels, -1);
  for (int64_t j = 0; j < entries.numel(); ++j) {
    ADARTS_CHECK(place[chosen[j]] < 0, op, ": index holds ", chosen[j],
                 " twice, expected distinct ", "channels");
    place[chosen[j]] = j;
  }
  return place;
}

Tensor scatter_channels(const Tensor& x, const Tensor& index, const Tensor& update,
                        const OptionalTensor& scale, int64_t stride) {
  constexpr const char* op = "scatter_channels";
  check_scatter(op, x, stride);
  const int64_t batch = x.size(0), channels = x.size(1);
  const cpu::ScatterShape shape{channels, x.size(2), x.size(3), stride};
  const std::vector<int64_t> place = places_of(op, index, x, channels);
  const auto [map, update_map, factor, out] =
      ScatterChannelsArguments::checked(op, x, index.numel(), update, scale, stride);
  const FeatureMap out_map(out);
  dispatch(op, x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const cpu::ScatterChannels<T> kernel{
        shape,           data<T>(map.tensor),        strides(map),        data<T>(factor),
        place.data(),    data<T>(update_map.tensor), strides(update_map), data<T>(out),
        strides(out_map)};
    run_parallel(kernel, batch * channels, shape.height * shape.width);
  });
  return out;
}

Tensors scatter_channels_backward(const Tensor& grad, const OptionalTensor& x, const Tensor& index,
                                  const OptionalTensor& scale, int64_t stride, bool needs_x,
                                  bool needs_update, bool needs_scale) {
  constexpr const char* op = "scatter_channels_backward";
  check_feature_map(op, "grad", grad);
  check_stride(op, stride);
  const int64_t batch = grad.size(0), channels = grad.size(1);
  const cpu::ScatterShape shape{channels, grad.size(2) * stride, grad.size(3) * stride, stride};
  const std::vector<int64_t> place = places_of(op, index, grad, channels);
  const ScatterChannelsBackwardArguments arguments(op, grad, x, index.numel(), scale, stride,
                                                   needs_x, needs_update, needs_scale);
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const cpu::ScatterChannelsBackward<T> kernel{shape,
                                                 data<T>(arguments.grad.tensor),
                                                 strides(arguments.grad),
                                                 data<T>(arguments.x),
                                                 strides(arguments.x),
                                                 data<T>(arguments.scale),
                                                 place.data(),
                                                 data<T>(arguments.grad_x),
                                                 strides(arguments.grad_x),
                                                 data<T>(arguments.grad_update),
                                                 strides(arguments.grad_update),
                                                 data<T>(arguments.grad_scale)};
    run_parallel(kernel, batch * channels, shape.height * shape.width);
  });
  return arguments.gradients;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CPU, m) {
  m.impl("scatter_channels", TORCH_BOX(&scatter_channels));
  m.impl("scatter_channels_backward", TORCH_BOX(&scatter_channels_backward));
}

}  // namespace adarts
