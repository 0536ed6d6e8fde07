// What the CPU bindings share: threads, and checks that read the data.
#pragma once

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <numeric>

#include "../../cpu/vectorize.h"
#include "../checks.h"

namespace adarts {

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

template <class T>
std::vector<const T*> pointers(const Tensors& tensors) {
  std::vector<const T*> out;
  for (const Tensor& t : tensors) out.push_back(data<T>(t));
  return out;
}

// Null where there is no tensor.
template <class T>
std::vector<T*> pointers(const std::vector<OptionalTensor>& tensors) {
  std::vector<T*> out;
  for (const OptionalTensor& t : tensors) out.push_back(data<T>(t));
  return out;
}

template <class T>
T* data(const std::optional<FeatureMap>& map) {
  return map.has_value() ? data<T>(map->tensor) : nullptr;
}

inline cpu::Strides strides(const std::optional<FeatureMap>& map) {
  return map.has_value() ? strides(*map) : cpu::Strides{};
}

// The index as contiguous int64, every entry checked against the number of channels.
inline Tensor checked_index(const char* op, const Tensor& index, const Tensor& like,
                            int64_t channels) {
  const Tensor flat = checked_index_shape(op, index, like);
  const int64_t* entries = data<int64_t>(flat);
  for (int64_t j = 0; j < flat.numel(); ++j)
    ADARTS_CHECK(entries[j] >= 0 && entries[j] < channels, op, ": index[", j, "] is ", entries[j],
                 ", expected 0 to ", channels - 1, " for ", channels, " channels");
  return flat;
}

}  // namespace adarts
