// Feature maps as the kernels take them.
#pragma once

#include "../../cuda/device/access.cuh"
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

}  // namespace adarts
