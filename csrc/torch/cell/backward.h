// The search cell's phases in order: backward.
#pragma once

#include "forward.h"

namespace adarts {

// Which gradients are asked for, and where they go.
template <class T>
struct CellGradients {
  using A = Accumulate<T>;
  Tensor grad;                         // of the nodes, contiguous
  std::vector<OptionalTensor> states;  // of the inputs, each contiguous
  OptionalTensor weights;              // flat
  OptionalTensor alphas, betas;
};

// The work of one backward pass: temporaries of all edges, and the nodes' gradients.
template <class T, class Backend>
class CellBackward {
 public:
  using A = Accumulate<T>;

  CellBackward(CellTensors<T>& tensors, CellGradients<T>& gradients, const Backend& backend)
      : tensors_(tensors), gradients_(gradients), plan_(tensors.plan), backend_(backend) {
    const cell::Sizes& z = plan_.sizes;
    const Tensor& like = tensors.nodes;
    const ScalarType accumulate = accumulate_dtype(like.scalar_type());
    // One piece for all sums, in the order of how they must be aligned.
    if (z.attends()) scale_part_elements_ = backend.scale_parts(z);
    const int64_t partial = partial_sums(plan_, backend);
    const int64_t scale_parts = plan_.edges() * scale_part_elements_;
    const int64_t first_sums = plan_.edges() * first_sum_elements();
    sums_at_ = partial + scale_parts + first_sums;
    all_sums_ = empty_tensor(like, {sums_at_ + plan_.edges() * sum_elements()}, ScalarType::Double);
    scale_parts_ = data<double>(all_sums_) + partial;
    first_sums_ = scale_parts_ + scale_parts;
    sums_ = first_sums_ + first_sums;
    if (z.attends()) {
      scale_grads_ = empty_tensor(like, {3 * plan_.edges() * tensors.plane_elements()}, accumulate);
      grad_scores_ = data<A>(*scale_grads_);
      grad_pools_ = grad_scores_ + plan_.edges() * tensors.plane_elements();
    }
    if (gradients.weights.has_value())
      weight_parts_ = backend.zeros(like, backend.parts(z) * plan_.weights, accumulate);
    dx_.resize(plan_.edges(), like);
    node_grads_.resize(plan_.nodes, like);
  }

  void run() {
    for (int64_t node = plan_.nodes; node-- > 0;) {
      const std::vector<int64_t> edges = plan_.leaving(plan_.inputs + node);
      if (!edges.empty()) {
        node_grads_[node] = empty_blocks<T>(tensors_.nodes, node_elements());
        attend(edges);
        return_to_states({{plan_.inputs + node, data<T>(node_grads_[node])}});
      }
      CellPlan::each_group(plan_.entering(node),
                           [&](const std::vector<int64_t>& some) { enter(some); });
    }
    std::vector<int64_t> attended;  // of all inputs at once
    for (const int64_t e : plan_.leaving(0, plan_.inputs))
      if (gradients_.weights.has_value() || needs_input(e)) attended.push_back(e);
    attend(attended);
    std::vector<std::pair<int64_t, T*>> inputs;
    for (int64_t i = 0; i < plan_.inputs; ++i)
      if (T* to = data<T>(gradients_.states[i])) inputs.emplace_back(i, to);
    return_to_states(inputs);
    if (gradients_.weights.has_value())
      backend_.finish_weights(plan_, data<A>(*weight_parts_), data<A>(*gradients_.weights));
  }

 private:
  int64_t node_elements() const {
    return tensors_.chosen_elements(1) / plan_.sizes.selected * plan_.sizes.channels;
  }
  int64_t sum_elements() const { return cell::kSums * plan_.sizes.selected; }
  int64_t first_sum_elements() const { return 4 * plan_.sizes.selected; }
  A* weight_part(int64_t e) const {
    return data<A>(weight_parts_) + backend_.parts(plan_.sizes) * plan_.weights_at[e];
  }
  bool needs_input(int64_t e) const {
    const int64_t from = plan_.sources[e];
    return from >= plan_.inputs || gradients_.states[from].has_value();
  }

  // The edges with all their temporaries.
  cell::Group<T> group(const std::vector<int64_t>& edges) {
    cell::Group<T> made = tensors_.group(edges, backend_);
    made.partial = data<double>(all_sums_);
    for (size_t k = 0; k < edges.size(); ++k) {
      const int64_t e = edges[k], target = plan_.targets[e];
      cell::Edge<T>& edge = made.edge[k];
      const int64_t elements = node_elements();
      if (plan_.leaving(plan_.inputs + target).empty()) {  // the gradient of the output itself
        edge.grad = data<T>(gradients_.grad) + target * (elements / plan_.sizes.blocks);
        edge.grad_block = plan_.nodes * (elements / plan_.sizes.blocks);
      } else {
        edge.grad = data<T>(node_grads_[target]);
        edge.grad_block = elements / plan_.sizes.blocks;
      }
      edge.sums = sums_ + e * sum_elements();
      edge.first_sums = first_sums_ + e * first_sum_elements();
      edge.dx = data<T>(dx_[e]);
      if (plan_.sizes.attends()) {
        edge.grad_scale = grad_scores_ + e * tensors_.plane_elements();
        edge.scale_parts = scale_parts_ + e * scale_part_elements_;
        if (needs_input(e)) edge.grad_pools = grad_pools_ + 2 * e * tensors_.plane_elements();
      }
      if (gradients_.weights.has_value()) edge.grad_weights = weight_part(e);
    }
    return made;
  }

  // The attention's gradients of edges that leave states.
  void attend(const std::vector<int64_t>& edges) {
    if (!plan_.sizes.attends()) return;
    CellPlan::each_group(
        edges, [&](const std::vector<int64_t>& some) { backend_.attention_backward(group(some)); });
  }

  // d L / d h of states of one size from the edges that leave them, and where it goes: of all
  // states together, a group of each one's edges at a time.
  void return_to_states(const std::vector<std::pair<int64_t, T*>>& states) {
    bool left = !states.empty();
    for (size_t first = 0; left; first += cell::kGroup) {
      std::vector<cell::StateBackward<T>> together;
      left = false;
      for (const auto& [i, to] : states) {
        const std::vector<int64_t> edges = plan_.leaving(i);
        if (first > 0 && first >= edges.size()) continue;
        const size_t end = std::min(first + cell::kGroup, edges.size());
        left |= end < edges.size();
        const int64_t node = i - plan_.inputs;
        const int64_t plane = plan_.state_pixels(i) * plan_.sizes.channels * kLanes;
        const T* own = node < 0 ? nullptr : data<T>(gradients_.grad) + node * plane;
        together.push_back({tensors_.state(i), group({edges.begin() + first, edges.begin() + end}),
                            own, plan_.nodes * plane, first > 0, to, plane});
      }
      backend_.state_backward(together);
    }
  }

  // Backward through the edges that enter a node, whose gradient is known.
  void enter(const std::vector<int64_t>& edges) {
    cell::Group<T> entering = group(edges);
    if (tensors_.stored.empty()) {
      keep_memory(u_, edges, [&](int64_t e) { return tensors_.stored_elements(e); });
      for (size_t k = 0; k < edges.size(); ++k) entering.edge[k].u = data<T>(u_[k]);
      cell::Group<T> again = entering;
      again.sizes.training = false;  // the statistics are known
      few_at_a_time(again, backend_, [&](const cell::Group<T>& few) {
        backend_.first_half(few);
        if (has_second_half(few)) backend_.second_half(few);
      });
    }
    backend_.node_backward(entering);
    cell::FinishSums<T> finish{entering, {}, {}};
    for (size_t k = 0; k < edges.size(); ++k) {
      if (gradients_.alphas.has_value())
        finish.grad_alphas[k] = data<A>(*gradients_.alphas) + edges[k] * cell::kOperations;
      if (gradients_.betas.has_value()) finish.grad_beta[k] = data<A>(*gradients_.betas) + edges[k];
    }
    backend_.finish_sums(finish);
    const bool several = plan_.processes.several() && plan_.sizes.training;
    if (several)  // after d alpha and d beta, which are of this process's images
      plan_.processes.sum(torch::stable::narrow(
          all_sums_, 0, sums_at_ + edges.front() * sum_elements(), edges.size() * sum_elements()));

    std::vector<int64_t> needed;  // whose inputs or weights somebody asks for
    for (const int64_t e : edges)
      if (gradients_.weights.has_value() || needs_input(e)) needed.push_back(e);
    if (needed.empty()) return;
    for (const int64_t e : needed)
      dx_[e] = empty_blocks<T>(tensors_.nodes, tensors_.chosen_elements(plan_.edge_stride(e)));
    keep_memory(q_, needed, [&](int64_t e) {
      return plan_.active[e].separable() * tensors_.chosen_elements(1);
    });
    cell::Group<T> back = group(needed);
    for (size_t k = 0; k < needed.size(); ++k) {
      back.edge[k].q = data<T>(q_[k]);
      for (size_t from = 0; from < edges.size(); ++from)
        if (edges[from] == needed[k]) back.edge[k].u = entering.edge[from].u;
    }
    few_at_a_time(back, backend_, [&](const cell::Group<T>& few) {
      if (has_second_half(few)) {
        backend_.second_half_backward(few);
        const int64_t rows = cell::first_rows(plan_.sizes.selected);
        if (several) plan_.processes.sum_parts(parts_of(all_sums_, few, rows), 0, rows);
        backend_.finish_first(few);
      }
      backend_.first_half_backward(few);
    });
  }

  template <class Size>
  void keep_memory(Tensors& kept, const std::vector<int64_t>& edges, const Size& size) {
    for (size_t k = 0; k < edges.size(); ++k) {
      if (k < kept.size() && kept[k].numel() >= size(edges[k])) continue;
      kept.resize(std::max(kept.size(), k + 1), tensors_.nodes);
      kept[k] = empty_blocks<T>(tensors_.nodes, size(edges[k]));
    }
  }

  CellTensors<T>& tensors_;
  CellGradients<T>& gradients_;
  const CellPlan& plan_;
  const Backend& backend_;
  Tensor all_sums_;  // the present group's sums in parts, and then those of every edge
  int64_t sums_at_, scale_part_elements_ = 0;
  double *scale_parts_, *first_sums_, *sums_;
  OptionalTensor scale_grads_, weight_parts_;
  A *grad_scores_ = nullptr, *grad_pools_ = nullptr;  // in scale_grads_
  // Not in one piece: the CPU's allocator gives large ones back to the system after each pass.
  Tensors dx_, node_grads_;  // of each edge, of each node
  Tensors u_, q_;            // of the edges of the present group
};

}  // namespace adarts
