// The search cell's phases in order, for the kernels of any device: forward. A Backend<T> has one
// member function for each phase of csrc/cell.h, the number of `parts` its sums are left in,
// and zeros().
#pragma once

#include "plan.h"

namespace adarts {

// The elements of the sums that a group of edges leaves in parts.
template <class Backend>
int64_t partial_sums(const CellPlan& plan, const Backend& backend) {
  const int64_t c = plan.sizes.selected;
  const int64_t rows = std::max({cell::moment_rows(c), cell::sum_rows(c), cell::first_rows(c)});
  return cell::kGroup * backend.parts(plan.sizes) * rows;
}

template <class T>
Tensor empty_blocks(const Tensor& like, int64_t elements) {
  return empty_tensor(like, {elements});
}

// Calls f with a few of a group's edges at a time, so that what one phase leaves is still in the
// caches when the next one reads it: as many as keep the device busy.
template <class T, class Backend, class F>
void few_at_a_time(const cell::Group<T>& group, const Backend& backend, const F& f) {
  // Several processes must all do as many at a time, whatever threads they have.
  const int count = group.sizes.processes > 1 ? cell::kGroup : backend.edges_at_once(group.sizes);
  for (int first = 0; first < group.edges; first += count) {
    cell::Group<T> few = group;
    few.edges = std::min(count, group.edges - first);
    std::copy_n(group.edge + first, few.edges, few.edge);
    f(few);
  }
}

// Whether a separable convolution is active on one of a group's edges.
template <class T>
bool has_second_half(const cell::Group<T>& group) {
  return std::any_of(group.edge, group.edge + group.edges,
                     [](const cell::Edge<T>& edge) { return edge.active.separable() > 0; });
}

// The beginning of `partial` as (edges, parts, rows) of a group.
template <class T>
Tensor parts_of(const Tensor& partial, const cell::Group<T>& group, int64_t rows) {
  Tensor whole = partial;
  return torch::stable::view(torch::stable::narrow(whole, 0, 0, group.edges * group.parts * rows),
                             {group.edges, group.parts, rows});
}

// Pre-BatchNorm outputs of the edges that enter a node, one group of them, whose sums go to
// `partial`.
template <class T, class Backend>
void candidates(cell::Group<T> group, const Tensor& partial, const Processes& processes,
                const Backend& backend) {
  group.partial = data<double>(partial);
  const bool training = group.sizes.training, several = training && processes.several();
  const int64_t of_norm = 2 * group.sizes.selected;
  few_at_a_time(group, backend, [&](const cell::Group<T>& few) {
    const int64_t rows = cell::moment_rows(group.sizes.selected);
    backend.first_half(few);
    if (several) processes.sum_parts(parts_of(partial, few, rows), 0, rows);
    if (training) backend.finish_norms(few, cell::kFirstHalf);
    if (has_second_half(few)) backend.second_half(few);
    for (const cell::Norm norm : {cell::kNormSep3, cell::kNormSep5})
      if (several) processes.sum_parts(parts_of(partial, few, rows), norm * of_norm, of_norm);
    if (training) backend.finish_norms(few, cell::kSecondHalf);
  });
}

template <class T, class Backend>
void search_cell_forward(CellTensors<T>& tensors, const Tensor& index, bool given, bool shuffle,
                         const Processes& scoring, const Backend& backend) {
  const CellPlan& plan = tensors.plan;
  const Tensor partial =
      empty_tensor(tensors.nodes, {partial_sums(plan, backend)}, ScalarType::Double);
  const int64_t channels = plan.sizes.channels;
  const bool scored = plan.sizes.attends(), chooses = scored && !given;
  const int64_t parts = backend.score_parts(plan.sizes);
  const int64_t pool_parts = scored ? backend.pool_parts(plan.sizes) * tensors.plane_elements() : 0;
  const Tensor part_pools =
      empty_tensor(tensors.nodes, {2 * pool_parts}, accumulate_dtype(tensors.nodes.scalar_type()));
  const Tensor part_positions = empty_tensor(tensors.nodes, {pool_parts}, ScalarType::Int);
  // Scores and selection of edges whose states have their pools; those of `state` may be in parts.
  const auto leave = [&](const std::vector<int64_t>& edges, const cell::State<T>& state) {
    if (edges.empty()) return;
    // Where processes choose together, one sum over them serves all these edges.
    const int64_t leaving = edges.size();
    OptionalTensor sums;
    if (chooses) sums = empty_tensor(tensors.nodes, {leaving, parts, channels}, ScalarType::Double);
    const auto each_selection = [&](const auto& f) {
      double* next = data<double>(sums);
      CellPlan::each_group(edges, [&](const std::vector<int64_t>& some) {
        cell::Selection<T> selection{tensors.group(some, backend), state, {}, next, given, shuffle};
        for (size_t k = 0; k < some.size(); ++k)
          selection.index[k] = data<int64_t>(index) + some[k] * plan.sizes.selected;
        f(selection);
        if (chooses) next += some.size() * parts * channels;
      });
    };
    if (scored) each_selection([&](const cell::Selection<T>& one) { backend.score(one); });
    if (chooses && scoring.several()) scoring.sum_parts(*sums, 0, channels);
    each_selection([&](const cell::Selection<T>& one) { backend.choose(one); });
  };
  for (int64_t i = 0; scored && i < plan.inputs; i += cell::kGroup) {
    cell::States<T> states{};
    for (int64_t k = i; k < std::min(i + cell::kGroup, plan.inputs); ++k)
      if (k < plan.states_that_edges_leave()) states.state[states.count++] = tensors.state(k);
    if (states.count > 0) backend.pool_states(states);
  }
  leave(plan.leaving(0, plan.inputs), {});
  Tensors reused;  // for u, where it is not kept
  for (int64_t node = 0; node < plan.nodes; ++node) {
    const std::vector<int64_t> entering = plan.entering(node);
    const std::vector<int64_t> leaving = plan.leaving(plan.inputs + node);
    cell::State<T> made = tensors.state(plan.inputs + node);
    if (pool_parts > 0) {
      made.part_sums = data<typename cell::State<T>::A>(part_pools);
      made.part_maxima = made.part_sums + pool_parts;
      made.part_positions = data<int32_t>(part_positions);
    }
    bool add = false;
    CellPlan::each_group(entering, [&](const std::vector<int64_t>& some) {
      cell::Group<T> group = tensors.group(some, backend);
      for (size_t k = 0; tensors.stored.empty() && k < some.size(); ++k) {
        if (reused.size() <= k || reused[k].numel() < tensors.stored_elements(some[k])) {
          reused.resize(std::max(reused.size(), k + 1), tensors.nodes);
          reused[k] = empty_blocks<T>(tensors.nodes, tensors.stored_elements(some[k]));
        }
        group.edge[k].u = data<T>(reused[k]);
      }
      candidates(group, partial, plan.processes, backend);
      const bool pool = scored && !leaving.empty() && some.back() == entering.back();
      backend.node({group, const_cast<T*>(made.h), made.h_block, add, pool, made});
      add = true;
    });
    leave(leaving, made);
  }
}

}  // namespace adarts
