// scatter_channels on the GPU: checks, allocation and launches; the kernels are in
// csrc/cuda/scatter_channels.cu and scatter_channels_backward.cu.
#include "../../cuda/scatter_channels.cuh"

#include "feature_map.h"

namespace adarts {

namespace {

Tensor scatter_channels(const Tensor& x, const Tensor& index, const Tensor& update,
                        const OptionalTensor& scale, int64_t stride) {
  constexpr const char* op = "scatter_channels";
  check_scatter(op, x, stride);
  const DeviceStream stream(x);
  const Tensor entries = checked_index_shape(op, index, x);
  const cuda::ScatterShape shape{x.size(0),          x.size(1),          entries.numel(),
                                 x.size(2) / stride, x.size(3) / stride, int(stride)};
  check_shape(op, "update", update, {shape.batch, shape.k, shape.height, shape.width});
  check_like(op, "update", update, x);
  const OptionalTensor factor = checked_scale(op, scale, x, shape.channels);
  const FeatureMap map(x), update_map(update);
  Tensor out = empty_feature_map(x, {shape.batch, shape.channels, shape.height, shape.width},
                                 map.interleaved());
  dispatch(op, x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const cuda::ScatterChannels<T> args{shape,
                                        map_of<const T>(map),
                                        data<T>(factor),
                                        data<int64_t>(entries),
                                        map_of<const T>(update_map),
                                        map_of<T>(FeatureMap(out))};
    check_launch(op, cuda::scatter_channels(args, stream));
  });
  return out;
}

Tensors scatter_channels_backward(const Tensor& grad, const OptionalTensor& x, const Tensor& index,
                                  const OptionalTensor& scale, int64_t stride, bool needs_x,
                                  bool needs_update, bool needs_scale) {
  constexpr const char* op = "scatter_channels_backward";
  check_feature_map(op, "grad", grad);
  check_stride(op, stride);
  const DeviceStream stream(grad);
  const Tensor entries = checked_index_shape(op, index, grad);
  const cuda::ScatterShape shape{grad.size(0), grad.size(1), entries.numel(),
                                 grad.size(2), grad.size(3), int(stride)};
  const int64_t height = shape.height * stride, width = shape.width * stride;
  const OptionalTensor factor = checked_scale(op, scale, grad, shape.channels);
  const bool reads_x = needs_scale || (needs_x && stride == 2);
  ADARTS_CHECK(!reads_x || x.has_value(), op, ": the gradients asked for need x");
  const FeatureMap grad_map(grad);
  std::optional<FeatureMap> x_map, grad_x_map, grad_update_map;
  if (reads_x) {
    check_shape(op, "x", *x, {shape.batch, shape.channels, height, width});
    check_like(op, "x", *x, grad);
    x_map.emplace(*x);
  }
  const bool interleaved = grad_map.interleaved();
  Tensors grads;
  OptionalTensor grad_scale, partial;
  if (needs_x) {
    grads.push_back(
        empty_feature_map(grad, {shape.batch, shape.channels, height, width}, interleaved));
    grad_x_map.emplace(grads.back());
  }
  if (needs_update) {
    grads.push_back(
        empty_feature_map(grad, {shape.batch, shape.k, shape.height, shape.width}, interleaved));
    grad_update_map.emplace(grads.back());
  }
  if (needs_scale) {
    grad_scale = empty_tensor(grad, {shape.batch, shape.channels});
    grads.push_back(*grad_scale);
  }
  if (grads.empty()) return grads;
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    cuda::ScatterChannelsBackward<T> args{shape,
                                          map_of<const T>(grad_map),
                                          map_of<const T>(x_map),
                                          data<T>(factor),
                                          data<int64_t>(entries),
                                          map_of<T>(grad_x_map),
                                          map_of<T>(grad_update_map),
                                          data<T>(grad_scale),
                                          nullptr};
    const int64_t parts = cuda::scatter_channels_parts(args);
    if (needs_scale && parts > 1) {
      partial = empty_tensor(grad, {shape.batch, shape.channels, parts},
                             accumulate_dtype(grad.scalar_type()));
      args.partial = data<Accumulate<T>>(partial);
    }
    check_launch(op, cuda::scatter_channels_backward(args, stream));
  });
  return grads;
}

}  // namespace

ADARTS_CUDA_OPERATORS(m) {
  m.impl("scatter_channels", TORCH_BOX(&scatter_channels));
  m.impl("scatter_channels_backward", TORCH_BOX(&scatter_channels_backward));
}

}  // namespace adarts
