// What select_channels's bindings of every device begin with: its checks.
#pragma once

#include "checks.h"

namespace adarts {

// The scores as contiguous memory.
inline Tensor checked_scores(const char* op, const Tensor& scores, int64_t k) {
  ADARTS_CHECK(scores.dim() == 2, op, ": scores has shape ", shape_of(scores), ", expected (N, C)");
  const int64_t channels = scores.size(1);
  ADARTS_CHECK(k >= 0 && k <= channels, op, ": k is ", k, ", expected 0 to ", channels, " for ",
               channels, " channels");
  return dense(scores);
}

}  // namespace adarts
