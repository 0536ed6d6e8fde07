// scatter_channels on the GPU: checks, allocation and launches; the kernels are in
// csrc/cuda/scatter_channels.cu and scatter_channels_backward.cu.
#include "../../cuda/scatter_channels.cuh"

#include "../scatter_channels.h"
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
  const auto [map, update_map, factor, out] =
      ScatterChannelsArguments::checked(op, x, shape.k, update, scale, stride);
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
  const ScatterChannelsBackwardArguments arguments(op, grad, x, shape.k, scale, stride, needs_x,
                                                   needs_update, needs_scale);
  if (arguments.gradients.empty()) return {};
  OptionalTensor partial;
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    cuda::ScatterChannelsBackward<T> args{shape,
                                          map_of<const T>(arguments.grad),
                                          map_of<const T>(arguments.x),
                                          data<T>(arguments.scale),
                                          data<int64_t>(entries),
                                          map_of<T>(arguments.grad_x),
                                          map_of<T>(arguments.grad_update),
                                          data<T>(arguments.grad_scale),
                                          nullptr};
    const int64_t parts = cuda::scatter_channels_parts(args);
    if (needs_scale && parts > 1) {
      partial = empty_tensor(grad, {shape.batch, shape.channels, parts},
                             accumulate_dtype(grad.scalar_type()));
      args.partial = data<Accumulate<T>>(partial);
    }
    check_launch(op, cuda::scatter_channels_backward(args, stream));
  });
  return arguments.gradients;
}

}  // namespace

ADARTS_CUDA_OPERATORS(m) {
  m.impl("scatter_channels", TORCH_BOX(&scatter_channels));
  m.impl("scatter_channels_backward", TORCH_BOX(&scatter_channels_backward));
}

}  // namespace adarts
