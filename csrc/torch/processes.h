// Sums over the processes that share a batch, made by torch.distributed: Python does them
// (adarts_ext/ops/processes.py), since torch's own operators for it have changed their schemas.
#pragma once

#include <algorithm>
#include <array>

#include "tensor.h"

namespace adarts {

// A group of processes of torch.distributed: its name, or nothing for this process alone.
struct Processes {
  std::string group;

  bool several() const { return !group.empty(); }

  // Adds up what the processes have, in place, to the same bits in all of them.
  void sum(const Tensor& t) const {
    std::array<StableIValue, 2> stack{torch::stable::detail::from(t),
                                      torch::stable::detail::from(group)};
    STABLE_TORCH_ERROR_CODE_CHECK(
        torch_call_dispatcher("adarts_processes::sum_", "", stack.data(), TORCH_ABI_VERSION));
  }

  // Adds up parts (edges, parts, rows), of which `count` rows from `first` on, over the processes
  // too. The sums are left in the first part, and zeros in the others.
  void sum_parts(Tensor parts, int64_t first, int64_t count) const {
    Tensor rows = torch::stable::narrow(parts, 2, first, count);
    const int64_t part_axis[] = {1};
    const Tensor total =
        torch::stable::sum(rows, torch::headeronly::IntHeaderOnlyArrayRef(part_axis, 1));
    sum(total);
    torch::stable::zero_(rows);
    Tensor one = torch::stable::select(rows, 1, 0);
    torch::stable::copy_(one, total);
  }
};

}  // namespace adarts
