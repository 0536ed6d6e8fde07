// The checks of arguments that several operators share, on every device.
#pragma once

#include "tensor.h"

namespace adarts {

// The index as contiguous int64; its values are checked where they can be read.
inline Tensor checked_index_shape(const char* op, const Tensor& index, const Tensor& like) {
  ADARTS_CHECK(index.scalar_type() == ScalarType::Long && index.dim() == 1, op,
               ": index has shape ", shape_of(index), ", expected int64 of shape (k,)");
  ADARTS_CHECK(index.device() == like.device(), op,
               ": index is on another device than the first argument");
  return dense(index);
}

inline OptionalTensor checked_scale(const char* op, const OptionalTensor& scale, const Tensor& x,
                                    int64_t channels) {
  if (!scale.has_value()) return std::nullopt;
  check_like(op, "scale", *scale, x);
  check_shape(op, "scale", *scale, {x.size(0), channels});
  return dense(*scale);
}

inline void check_stride(const char* op, int64_t stride) {
  ADARTS_CHECK(stride == 1 || stride == 2, op, ": stride is ", stride, ", expected 1 or 2");
}

}  // namespace adarts
