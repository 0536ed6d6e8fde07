// gather_channels on the GPU: checks, allocation and launches; the kernels are in
// csrc/cuda/gather_channels.cu.
#include "../../cuda/gather_channels.cuh"

#include "../gather_channels.h"
#include "feature_map.h"

namespace adarts {

namespace {

Tensor gather_channels(const Tensor& x, const Tensor& index, const OptionalTensor& scale) {
  constexpr const char* op = "gather_channels";
  check_feature_map(op, "x", x);
  const DeviceStream stream(x);
  const int64_t batch = x.size(0), channels = x.size(1), k = index.numel();
  const Tensor entries = checked_index_shape(op, index, x);
  const OptionalTensor factor = checked_scale(op, scale, x, channels);
  const FeatureMap map(x);
  Tensor out = empty_feature_map(x, {batch, k, x.size(2), x.size(3)}, map.interleaved());
  dispatch(op, x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const cuda::GatherChannels<T> args{map_of<const T>(map),
                                       data<T>(factor),
                                       data<int64_t>(entries),
                                       batch,
                                       channels,
                                       k,
                                       x.size(2) * x.size(3),
                                       map_of<T>(FeatureMap(out))};
    check_launch(op, cuda::gather_channels(args, stream));
  });
  return out;
}

Tensors gather_channels_backward(const Tensor& grad, const OptionalTensor& x, const Tensor& index,
                                 const OptionalTensor& scale, int64_t channels, bool needs_x,
                                 bool needs_scale) {
  constexpr const char* op = "gather_channels_backward";
  check_feature_map(op, "grad", grad);
  const DeviceStream stream(grad);
  const Tensor entries = checked_index_shape(op, index, grad);
  const int64_t batch = grad.size(0), pixels = grad.size(2) * grad.size(3), k = entries.numel();
  const GatherChannelsBackwardArguments arguments(op, grad, x, k, scale, channels, needs_x,
                                                  needs_scale);
  if (arguments.gradients.empty()) return {};
  OptionalTensor partial;
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    cuda::GatherChannelsBackward<T> args{map_of<const T>(arguments.grad),
                                         map_of<const T>(arguments.x),
                                         data<T>(arguments.scale),
                                         data<int64_t>(entries),
                                         batch,
                                         channels,
                                         k,
                                         pixels,
                                         map_of<T>(arguments.grad_x),
                                         data<T>(arguments.grad_scale),
                                         nullptr};
    const int64_t parts = cuda::gather_channels_parts(args);
    if (needs_scale && parts > 1) {
      partial = empty_tensor(grad, {batch, channels, parts}, accumulate_dtype(grad.scalar_type()));
      args.partial = data<Accumulate<T>>(partial);
    }
    check_launch(op, cuda::gather_channels_backward(args, stream));
  });
  return arguments.gradients;
}

}  // namespace

ADARTS_CUDA_OPERATORS(m) {
  m.impl("gather_channels", TORCH_BOX(&gather_channels));
  m.impl("gather_channels_backward", TORCH_BOX(&gather_channels_backward));
}

}  // namespace adarts
