// The search cell's phases in order, for the kernels of any device: forward. A Backend<T> has one
// member function for each phase of csrc/cell.h, the number of `parts` its sums are left in,
// and zeros().
#pragma once

#include "plan.h"

namespace adarts {

// Memory for the sums that a group of edges leaves in parts.
template <class Backend>
Tensor partial_sums(const CellPlan& plan, const Tensor& like, const Backend& backend) {
  const int64_t c = plan.sizes.selected;
  const int64_t rows = std::max({cell::moment_rows(c), cell::sum_rows(c), cell::first_rows(c)});
  return empty_tensor(like, {cell::kGroup * backend.parts(plan.sizes) * rows}, ScalarType::Double);
}

template <class T>
Tensor empty_blocks(const Tensor& like, int64_t elements) {
  return empty_tensor(like, {elements});
}

// Calls f with a few of a group's edges at a time, so that what one phase leaves is still in the
// caches when the next one reads it: as many as keep the device busy.
template <class T, class Backend, class F>
void few_at_a_time(const cell::Group<T>& group, const Backend& backend, const F& f) {
  const int count = backend.edges_at_once(group.sizes);
  for (int first = 0; first < group.edges; first += count) {
    cell::Group<T> few = group;
    few.edges = std::min(count, group.edges - first);
    std::copy_n(group.edge + first, few.edges, few.edge);
    f(few);
  }
}

// Pre-BatchNorm outputs of the edges that enter a node, one group of them.
template <class T, class Backend>
void candidates(const cell::Group<T>& group, const Backend& backend) {
  few_at_a_time(group, backend, [&](const cell::Group<T>& few) {
    backend.first_half(few);
    if (group.sizes.training) backend.finish_norms(few, cell::kFirstHalf);
    backend.second_half(few);
    if (group.sizes.training) backend.finish_norms(few, cell::kSecondHalf);
  });
}

template <class T, class Backend>
void search_cell_forward(CellTensors<T>& tensors, const Tensor& index, bool given, bool shuffle,
                         const Backend& backend) {
  const CellPlan& plan = tensors.plan;
  const Tensor partial = partial_sums(plan, tensors.nodes, backend);
  const auto leave = [&](int64_t i) {
    const std::vector<int64_t> edges = plan.leaving(i);
    if (i >= plan.states_that_edges_leave()) return;
    const cell::State<T> state = tensors.state(i);
    if (plan.sizes.hidden > 0) backend.pool_state(state);
    CellPlan::each_group(edges, [&](const std::vector<int64_t>& some) {
      cell::Selection<T> selection{tensors.group(some, backend), {}, given, shuffle};
      for (size_t k = 0; k < some.size(); ++k)
        selection.index[k] = data<int64_t>(index) + some[k] * plan.sizes.selected;
      backend.score_and_select(state, selection);
    });
  };
  for (int64_t i = 0; i < plan.inputs; ++i) leave(i);
  Tensors reused;  // for u, where it is not kept
  for (int64_t node = 0; node < plan.nodes; ++node) {
    const cell::State<T> made = tensors.state(plan.inputs + node);
    bool add = false;
    CellPlan::each_group(plan.entering(node), [&](const std::vector<int64_t>& some) {
      cell::Group<T> group = tensors.group(some, backend);
      for (size_t k = 0; tensors.stored.empty() && k < some.size(); ++k) {
        if (reused.size() <= k || reused[k].numel() < tensors.stored_elements(some[k])) {
          reused.resize(std::max(reused.size(), k + 1), tensors.nodes);
          reused[k] = empty_blocks<T>(tensors.nodes, tensors.stored_elements(some[k]));
        }
        group.edge[k].u = data<T>(reused[k]);
      }
      group.partial = data<double>(partial);
      candidates(group, backend);
      backend.node({group, const_cast<T*>(made.h), made.h_block, add});
      add = true;
    });
    leave(plan.inputs + node);
  }
}

}  // namespace adarts
