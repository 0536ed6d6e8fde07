// What the CPU bindings share: threads, and checks that read the data.
#pragma once

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <numeric>

#include "../../cpu/vectorize.h"
#include "../tensor.h"

namespace adarts {

using Tensors = std::vector<Tensor>;
using OptionalTensor = std::optional<Tensor>;

constexpr int64_t kGrain = 32768;  // elements worth a thread

// Runs a kernel over [0, items) on torch's threads; `cost` is the elements one item touches.
template <class Kernel>
void run_parallel(const Kernel& kernel, int64_t items, int64_t cost) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, cost));
  if (items <= grain) {
    if (items > 0) kernel.run(0, items);
    return;
  }
  torch::stable::parallel_for(0, items, grain,
                              [&](int64_t begin, int64_t end) { kernel.run(begin, end); });
}

inline cpu::Strides strides(const FeatureMap& map) { return {map.batch, map.channel, map.pixel}; }

// The index as contiguous int64, every entry checked against the number of channels.
inline Tensor checked_index(const char* op, const Tensor& index, int64_t channels) {
  ADARTS_CHECK(index.scalar_type() == ScalarType::Long && index.dim() == 1, op,
               ": index has shape ", shape_of(index), ", expected int64 of shape (k,)");
  const Tensor flat = dense(index);
  const int64_t* entries = data<int64_t>(flat);
  for (int64_t j = 0; j < flat.numel(); ++j)
    ADARTS_CHECK(entries[j] >= 0 && entries[j] < channels, op, ": index[", j, "] is ", entries[j],
                 ", expected 0 to ", channels - 1, " for ", channels, " channels");
  return flat;
}

inline OptionalTensor checked_scale(const char* op, const OptionalTensor& scale, const Tensor& x,
                                    int64_t channels) {
  if (!scale.has_value()) return std::nullopt;
  check_like(op, "scale", *scale, x);
  check_shape(op, "scale", *scale, {x.size(0), channels});
  return dense(*scale);
}

}  // namespace adarts
