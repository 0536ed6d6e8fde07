// What gather_channels's bindings of every device begin with: its checks and what it gives.
#pragma once

#include "checks.h"

namespace adarts {

struct GatherChannelsBackwardArguments {
  FeatureMap grad;
  std::optional<FeatureMap> x, grad_x;  // where they are needed
  OptionalTensor scale, grad_scale;
  Tensors gradients;  // of x, of scale

  GatherChannelsBackwardArguments(const char* op, const Tensor& grad, const OptionalTensor& given_x,
                                  int64_t k, const OptionalTensor& given_scale, int64_t channels,
                                  bool needs_x, bool needs_scale)
      : grad(grad) {
    const int64_t batch = grad.size(0), height = grad.size(2), width = grad.size(3);
    check_shape(op, "grad", grad, {batch, k, height, width});
    scale = checked_scale(op, given_scale, grad, channels);
    ADARTS_CHECK(!needs_scale || given_x.has_value(), op, ": the gradient of scale needs x");
    if (needs_scale) {
      check_shape(op, "x", *given_x, {batch, channels, height, width});
      check_like(op, "x", *given_x, grad);
      x.emplace(*given_x);
    }
    if (needs_x) {
      gradients.push_back(
          empty_feature_map(grad, {batch, channels, height, width}, this->grad.interleaved()));
      grad_x.emplace(gradients.back());
    }
    if (!needs_scale) return;
    grad_scale = empty_tensor(grad, {batch, channels});
    gradients.push_back(*grad_scale);
  }
};

}  // namespace adarts
