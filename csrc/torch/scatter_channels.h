// What scatter_channels's bindings of every device begin with: its checks and what it gives.
#pragma once

#include "checks.h"

namespace adarts {

// The feature map of scatter_channels.
inline void check_scatter(const char* op, const Tensor& x, int64_t stride) {
  check_feature_map(op, "x", x);
  check_stride(op, stride);
  ADARTS_CHECK(x.size(2) % stride == 0 && x.size(3) % stride == 0, op, ": x has shape ",
               shape_of(x), ", expected even H and W at stride 2");
}

struct ScatterChannelsArguments {
  FeatureMap x, update;
  OptionalTensor scale;
  Tensor out;

  static ScatterChannelsArguments checked(const char* op, const Tensor& x, int64_t k,
                                          const Tensor& update, const OptionalTensor& scale,
                                          int64_t stride) {
    const int64_t batch = x.size(0), channels = x.size(1);
    const int64_t height = x.size(2) / stride, width = x.size(3) / stride;
    check_shape(op, "update", update, {batch, k, height, width});
    check_like(op, "update", update, x);
    const OptionalTensor factor = checked_scale(op, scale, x, channels);
    const FeatureMap map(x);
    return {map, FeatureMap(update), factor,
            empty_feature_map(x, {batch, channels, height, width}, map.interleaved())};
  }
};

struct ScatterChannelsBackwardArguments {
  FeatureMap grad;
  std::optional<FeatureMap> x, grad_x, grad_update;  // where they are needed
  OptionalTensor scale, grad_scale;
  Tensors gradients;  // of x, of update, of scale

  ScatterChannelsBackwardArguments(const char* op, const Tensor& grad,
                                   const OptionalTensor& given_x, int64_t k,
                                   const OptionalTensor& given_scale, int64_t stride, bool needs_x,
                                   bool needs_update, bool needs_scale)
      : grad(grad) {
    const int64_t batch = grad.size(0), channels = grad.size(1);
    const int64_t height = grad.size(2) * stride, width = grad.size(3) * stride;
    const bool interleaved = this->grad.interleaved();
    scale = checked_scale(op, given_scale, grad, channels);
    const bool reads_x = needs_scale || (needs_x && stride == 2);
    ADARTS_CHECK(!reads_x || given_x.has_value(), op, ": the gradients asked for need x");
    if (reads_x) {
      check_shape(op, "x", *given_x, {batch, channels, height, width});
      check_like(op, "x", *given_x, grad);
      x.emplace(*given_x);
    }
    if (needs_x) {
      gradients.push_back(empty_feature_map(grad, {batch, channels, height, width}, interleaved));
      grad_x.emplace(gradients.back());
    }
    if (needs_update) {
      gradients.push_back(
          empty_feature_map(grad, {batch, k, grad.size(2), grad.size(3)}, interleaved));
      grad_update.emplace(gradients.back());
    }
    if (!needs_scale) return;
    grad_scale = empty_tensor(grad, {batch, channels});
    gradients.push_back(*grad_scale);
  }
};

}  // namespace adarts
