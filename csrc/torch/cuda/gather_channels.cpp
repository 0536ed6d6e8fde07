// gather_channels on the GPU: checks, allocation and launches; the kernels are in
// csrc/cuda/gather_channels.cu.
#include "../../cuda/gather_channels.cuh"

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
  const int64_t batch = grad.size(0), height = grad.size(2), width = grad.size(3);
  const int64_t k = entries.numel();
  check_shape(op, "grad", grad, {batch, k, height, width});
  const OptionalTensor factor = checked_scale(op, scale, grad, channels);
  ADARTS_CHECK(!needs_scale || x.has_value(), op, ": the gradient of scale needs x");
  const FeatureMap grad_map(grad);
  std::optional<FeatureMap> x_map, grad_x_map;
  if (needs_scale) {
    check_shape(op, "x", *x, {batch, channels, height, width});
    check_like(op, "x", *x, grad);
    x_map.emplace(*x);
  }
  Tensors grads;
  OptionalTensor grad_scale, partial;
  if (needs_x) {
    grads.push_back(
        empty_feature_map(grad, {batch, channels, height, width}, grad_map.interleaved()));
    grad_x_map.emplace(grads.back());
  }
  if (needs_scale) {
    grad_scale = empty_tensor(grad, {batch, channels});
    grads.push_back(*grad_scale);
  }
  if (grads.empty()) return grads;
  dispatch(op, grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    cuda::GatherChannelsBackward<T> args{map_of<const T>(grad_map),
                                         map_of<const T>(x_map),
                                         data<T>(factor),
                                         data<int64_t>(entries),
                                         batch,
                                         channels,
                                         k,
                                         height * width,
                                         map_of<T>(grad_x_map),
                                         data<T>(grad_scale),
                                         nullptr};
    const int64_t parts = cuda::gather_channels_parts(args);
    if (needs_scale && parts > 1) {
      partial = empty_tensor(grad, {batch, channels, parts}, accumulate_dtype(grad.scalar_type()));
      args.partial = data<Accumulate<T>>(partial);
    }
    check_launch(op, cuda::gather_channels_backward(args, stream));
  });
  return grads;
}

}  // namespace

ADARTS_CUDA_OPERATORS(m) {
  m.impl("gather_channels", TORCH_BOX(&gather_channels));
  m.impl("gather_channels_backward", TORCH_BOX(&gather_channels_backward));
}

}  // namespace adarts
