// Feature maps and their scales, as the kernels take them.
#pragma once

#include "../../kernels/access.cuh"
#include "common.h"

namespace adarts {

// The memory of a feature map, which must outlive the launch: it may be a copy.
template <class T>
cuda::Map<T> map_of(const FeatureMap& map) {
  return {data<T>(map.tensor), map.batch, map.channel, map.pixel};
}

template <class T>
cuda::Map<T> map_of(const std::optional<FeatureMap>& map) {
  return map.has_value() ? map_of<T>(*map) : cuda::Map<T>();
}

inline OptionalTensor checked_scale(const char* op, const OptionalTensor& scale, const Tensor& x,
                                    int64_t channels) {
  if (!scale.has_value()) return std::nullopt;
  check_like(op, "scale", *scale, x);
  check_shape(op, "scale", *scale, {x.size(0), channels});
  return dense(*scale);
}

}  // namespace adarts
