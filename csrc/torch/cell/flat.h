// Weights and statistics as the cell's operators take them.
#pragma once

#include "../checks.h"

namespace adarts {

// The tensor, checked to be so many contiguous elements of the dtype that `like` is summed in.
inline Tensor flat(const char* op, const char* name, const Tensor& t, int64_t elements,
                   const Tensor& like) {
  ADARTS_CHECK(t.numel() == elements && t.is_contiguous(), op, ": ", name, " has shape ",
               shape_of(t), ", expected ", elements, " contiguous elements");
  ADARTS_CHECK(
      t.scalar_type() == accumulate_dtype(like.scalar_type()) && t.device() == like.device(), op,
      ": ", name, " has another dtype or device than the states compute in");
  return t;
}

}  // namespace adarts
