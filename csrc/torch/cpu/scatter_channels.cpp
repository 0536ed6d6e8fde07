// scatter_channels on the CPU: checks, allocation and threads; the loops are in
// csrc/cpu/scatter_channels.cpp.
#include "../../cpu/scatter_channels.h"

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
  check_shape(op, "update", update, {batch, index.numel(), shape.out_height(), shape.out_width()});
  check_like(op, "update", update, x);
  const OptionalTensor factor = checked_scale(op, scale, x, channels);
  const FeatureMap map(x), update_map(update);
  Tensor out = empty_feature_map(x, {batch, channels, shape.out_height(), shape.out_width()},
                                 map.interleaved());
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
  const int64_t batch = grad.size(0), channels = grad.size(1), k = index.numel();
  const cpu::ScatterShape shape{channels, grad.size(2) * stride, grad.size(3) * stride, stride};
  const std::vector<int64_t> place = places_of(op, index, grad, channels);
  const OptionalTensor factor = checked_scale(op, scale, grad, channels);
  const bool reads_x = needs_scale || (needs_x && stride == 2);
  ADARTS_CHECK(!reads_x || x.has_value(), op, ": the gradients asked for need x");
  if (reads_x) {
    check_shape(op, "x", *x, {batch, channels, shape.height, shape.width});
    check_like(op, "x", *x, grad);
  }
  const FeatureMap grad_map(grad), x_map(reads_x ? *x : grad);
  const bool interleaved = grad_map.interleaved();
  Tensors grads;
  OptionalTensor grad_x, grad_update, grad_scale;
  if (needs_x) {
    grad_x = empty_feature_map(grad, {batch, channels, shape.height, shape.width}, interleaved);
    grads.push_back(*grad_x);
  }
  if (needs_update) {
    grad_update = empty_feature_map(grad, {batch, k, grad.size(2), grad.size(3)}, interleaved);
    grads.push_back(*grad_update);
  }
  if (needs_scale) {
    grad_scale = empty_tensor(grad, {batch, channels});
    grads.push_back(*grad_scale);
  }
  const FeatureMap grad_x_map(needs_x ? *grad_x : grad);
  const FeatureMap grad_update_map(needs_update ? *grad_update : grad);
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const cpu::ScatterChannelsBackward<T> kernel{shape,
                                                 data<T>(grad_map.tensor),
                                                 strides(grad_map),
                                                 data<T>(x_map.tensor),
                                                 strides(x_map),
                                                 data<T>(factor),
                                                 place.data(),
                                                 data<T>(grad_x),
                                                 strides(grad_x_map),
                                                 data<T>(grad_update),
                                                 strides(grad_update_map),
                                                 data<T>(grad_scale)};
    run_parallel(kernel, batch * channels, shape.height * shape.width);
  });
  return grads;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CPU, m) {
  m.impl("scatter_channels", TORCH_BOX(&scatter_channels));
  m.impl("scatter_channels_backward", TORCH_BOX(&scatter_channels_backward));
}

}  // namespace adarts
