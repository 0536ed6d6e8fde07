// The search cell's phases in order, for the kernels of any device: checks, allocation, and which
// edges take part. A Backend<T> has one member function for each phase of csrc/search_cell.h, the
// number of `parts` its sums are left in, and zeros().
#pragma once

#include "../search_cell.h"
#include "checks.h"

namespace adarts {

using cell::kLanes;

inline void check_blocks(const char* op, const char* name, const Tensor& t, int64_t batch) {
  ADARTS_CHECK(t.dim() == 5 && t.size(4) == kLanes && t.size(0) == cell::blocks_of(batch), op, ": ",
               name, " has shape ", shape_of(t), ", expected (", cell::blocks_of(batch),
               ", C, H, W, 16) for ", batch, " images");
}

// The structure of a cell: its states, and its edges ordered by the node they enter.
struct CellPlan {
  cell::Sizes sizes;
  int64_t inputs, nodes;
  int64_t stride;  // of the edges that leave an input
  std::vector<int64_t> sources, targets;
  std::vector<int64_t> weights_at, norms_at;  // of each edge, in elements of the flat tensors
  int64_t weights = 0, norms = 0;             // how many there are of all edges

  CellPlan(const char* op, const Tensors& states, int64_t batch, int64_t stride, int64_t selected,
           int64_t hidden, int64_t nodes, std::vector<int64_t> from, std::vector<int64_t> to,
           bool training, double eps)
      : inputs(states.size()),
        nodes(nodes),
        stride(stride),
        sources(std::move(from)),
        targets(std::move(to)) {
    ADARTS_CHECK(!states.empty() && batch > 0 && nodes > 0, op,
                 ": expected at least one state, image and node");
    for (const Tensor& state : states) {
      check_blocks(op, "a state", state, batch);
      check_like(op, "a state", state, states[0]);
      check_shape(
          op, "a state", state,
          {states[0].size(0), states[0].size(1), states[0].size(2), states[0].size(3), kLanes});
      ADARTS_CHECK(state.is_contiguous(), op, ": expected contiguous states");
    }
    check_stride(op, stride);
    const int64_t channels = states[0].size(1), height = states[0].size(2),
                  width = states[0].size(3);
    ADARTS_CHECK(height > 0 && width > 0 && height % stride == 0 && width % stride == 0, op,
                 ": states have shape ", shape_of(states[0]), ", expected H and W to be multiples",
                 " of stride ", stride);
    ADARTS_CHECK(selected > 0 && channels % selected == 0 && selected % stride == 0, op, ": ",
                 selected, " selected channels do not fit ", channels, " at stride ", stride);
    ADARTS_CHECK(hidden >= 0, op, ": hidden is ", hidden);
    sizes = {batch,           states[0].size(0), channels, selected, hidden,
             height / stride, width / stride,    training, eps};
    ADARTS_CHECK(sources.size() == targets.size(), op, ": ", sources.size(), " sources and ",
                 targets.size(), " targets");
    for (size_t e = 0; e < sources.size(); ++e) {
      ADARTS_CHECK(targets[e] >= 0 && targets[e] < nodes && sources[e] >= 0 &&
                       sources[e] < inputs + targets[e] && (e == 0 || targets[e - 1] <= targets[e]),
                   op, ": edge ", e, " from state ", sources[e], " to node ", targets[e],
                   " is out of order or range");
      weights_at.push_back(weights);
      norms_at.push_back(norms);
      weights += sizes.weights().count(edge_stride(e));
      norms += cell::norms(edge_stride(e));
    }
  }

  int64_t edges() const { return sources.size(); }
  // States up to the last that an edge leaves.
  int64_t left_states() const {
    return sources.empty() ? 0 : 1 + *std::max_element(sources.begin(), sources.end());
  }
  int edge_stride(int64_t e) const { return sources[e] < inputs ? stride : 1; }
  int64_t state_pixels(int64_t i) const {
    return sizes.pixels() * (i < inputs ? stride * stride : 1);
  }

  std::vector<int64_t> entering(int64_t node) const { return where(targets, node); }
  std::vector<int64_t> leaving(int64_t state) const { return where(sources, state); }

  // Calls f with at most kGroup of the edges at a time.
  template <class F>
  static void each_group(const std::vector<int64_t>& edges, const F& f) {
    for (size_t first = 0; first < edges.size(); first += cell::kGroup)
      f(std::vector<int64_t>(edges.begin() + first,
                             edges.begin() + std::min<size_t>(first + cell::kGroup, edges.size())));
  }

 private:
  static std::vector<int64_t> where(const std::vector<int64_t>& values, int64_t value) {
    std::vector<int64_t> found;
    for (size_t e = 0; e < values.size(); ++e)
      if (values[e] == value) found.push_back(e);
    return found;
  }
};

// The tensors that forward makes and backward reads, and pointers into them.
template <class T>
struct CellTensors {
  using A = cell::Accumulate<T>;
  const CellPlan& plan;
  const Tensors& states;
  Tensor nodes;  // (blocks, nodes * C, H, W, kLanes)
  Tensor weights, alphas;
  OptionalTensor betas;
  Tensors stored;   // u of each edge, or empty
  Tensor norms;     // (norms, kStatistics, c)
  Tensor scores;    // (edges, blocks, C, kLanes), or no elements
  Tensor maps;      // (edges, 2 * c + 2 * C)
  Tensor pools;     // (states, 2, blocks, C, kLanes), or no elements
  Tensor position;  // (states, blocks, C, kLanes)

  int64_t plane_elements() const {  // of one (blocks, C, kLanes) tensor
    return plan.sizes.blocks * plan.sizes.channels * kLanes;
  }
  int64_t stored_elements(int64_t e) const {
    return cell::stored(plan.edge_stride(e)) * chosen_elements(1);
  }
  int64_t chosen_elements(int64_t stride) const {  // of one (blocks, c, pixels, kLanes) tensor
    return plan.sizes.blocks * plan.sizes.selected * plan.sizes.pixels() * stride * stride * kLanes;
  }

  cell::State<T> state(int64_t i) const {
    const cell::Sizes& z = plan.sizes;
    const int64_t stride = i < plan.inputs ? plan.stride : 1;
    cell::State<T> made{z.blocks, z.channels, z.height * stride, z.width * stride};
    const int64_t plane = plan.state_pixels(i) * z.channels * kLanes;
    if (i < plan.inputs) {
      made.h = data<T>(states[i]);
      made.h_block = plane;
    } else {
      made.h = data<T>(nodes) + (i - plan.inputs) * plane;
      made.h_block = plan.nodes * plane;
    }
    if (pools.numel() > 0 && i < plan.left_states()) {
      made.average = data<A>(pools) + 2 * i * plane_elements();
      made.maximum = made.average + plane_elements();
      made.position = data<int32_t>(position) + i * plane_elements();
    }
    return made;
  }

  cell::Edge<T> edge(int64_t e) const {
    const cell::Sizes& z = plan.sizes;
    const cell::State<T> from = state(plan.sources[e]);
    cell::Edge<T> made{};
    made.stride = plan.edge_stride(e);
    made.state = from.h;
    made.state_block = from.h_block;
    if (scores.numel() > 0) made.scale = data<A>(scores) + e * plane_elements();
    made.selected = data<int32_t>(maps) + e * 2 * (z.selected + z.channels);
    made.output = made.selected + z.selected;
    made.source = made.output + z.selected;
    made.target = made.source + z.channels;
    made.weights = data<A>(weights) + plan.weights_at[e];
    made.alphas = data<A>(alphas) + e * cell::kOperations;
    if (betas.has_value()) made.beta = data<A>(*betas) + e;
    if (!stored.empty()) made.u = data<T>(stored[e]);
    made.norms = data<A>(norms) + plan.norms_at[e] * cell::kStatistics * z.selected;
    return made;
  }

  template <class Backend>
  cell::Group<T> group(const std::vector<int64_t>& edges, const Backend& backend) const {
    cell::Group<T> made{};
    made.sizes = plan.sizes;
    made.edges = edges.size();
    for (size_t i = 0; i < edges.size(); ++i) made.edge[i] = edge(edges[i]);
    made.parts = backend.parts(plan.sizes);
    return made;
  }
};

// Room for the sums that a group of edges leaves in parts.
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
    if (i >= plan.left_states()) return;
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
  Tensors room;  // for u, where it is not kept
  for (int64_t node = 0; node < plan.nodes; ++node) {
    const cell::State<T> made = tensors.state(plan.inputs + node);
    bool add = false;
    CellPlan::each_group(plan.entering(node), [&](const std::vector<int64_t>& some) {
      cell::Group<T> group = tensors.group(some, backend);
      for (size_t k = 0; tensors.stored.empty() && k < some.size(); ++k) {
        if (room.size() <= k || room[k].numel() < tensors.stored_elements(some[k])) {
          room.resize(std::max(room.size(), k + 1), tensors.nodes);
          room[k] = empty_blocks<T>(tensors.nodes, tensors.stored_elements(some[k]));
        }
        group.edge[k].u = data<T>(room[k]);
      }
      group.partial = data<double>(partial);
      candidates(group, backend);
      backend.node({group, const_cast<T*>(made.h), made.h_block, add});
      add = true;
    });
    leave(plan.inputs + node);
  }
}

// Which gradients are asked for, and where they go.
template <class T>
struct CellGradients {
  using A = cell::Accumulate<T>;
  Tensor grad;                         // of the nodes, contiguous
  std::vector<OptionalTensor> states;  // of the inputs, each contiguous
  OptionalTensor weights;              // flat
  OptionalTensor alphas, betas;
};

// The work of one backward pass: temporaries of all edges, and the nodes' gradients.
template <class T, class Backend>
class CellBackward {
 public:
  using A = cell::Accumulate<T>;

  CellBackward(CellTensors<T>& tensors, CellGradients<T>& gradients, const Backend& backend)
      : tensors_(tensors), gradients_(gradients), plan_(tensors.plan), backend_(backend) {
    const cell::Sizes& z = plan_.sizes;
    const Tensor& like = tensors.nodes;
    const ScalarType accumulate = accumulate_dtype(like.scalar_type());
    partial_ = partial_sums(plan_, like, backend);
    sums_ = empty_tensor(like, {plan_.edges(), cell::kSums * z.selected}, ScalarType::Double);
    first_sums_ = empty_tensor(like, {plan_.edges(), 4 * z.selected}, ScalarType::Double);
    if (z.hidden > 0) {
      grad_scores_ = empty_tensor(like, {plan_.edges(), tensors.plane_elements()}, accumulate);
      grad_pools_ = empty_tensor(like, {plan_.edges(), 2 * tensors.plane_elements()}, accumulate);
    }
    const int64_t scale_parts = z.hidden > 0 ? backend.scale_parts(z) : 0;
    scale_parts_ = empty_tensor(like, {plan_.edges(), scale_parts}, ScalarType::Double);
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
        arrive(plan_.inputs + node, edges, data<T>(node_grads_[node]));
      }
      CellPlan::each_group(plan_.entering(node),
                           [&](const std::vector<int64_t>& some) { enter(some); });
    }
    for (int64_t i = 0; i < plan_.inputs; ++i) {
      T* to = data<T>(gradients_.states[i]);
      const std::vector<int64_t> edges = plan_.leaving(i);
      if (to != nullptr || gradients_.weights.has_value()) arrive(i, edges, to);
    }
    if (gradients_.weights.has_value())
      backend_.finish_weights(plan_, data<A>(*weight_parts_), data<A>(*gradients_.weights));
  }

 private:
  int64_t node_elements() const {
    return tensors_.chosen_elements(1) / plan_.sizes.selected * plan_.sizes.channels;
  }
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
    made.partial = data<double>(partial_);
    const int64_t c = plan_.sizes.selected;
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
      edge.sums = data<double>(sums_) + e * cell::kSums * c;
      edge.first_sums = data<double>(first_sums_) + e * 4 * c;
      edge.dx = data<T>(dx_[e]);
      if (plan_.sizes.hidden > 0) {
        edge.grad_scale = data<A>(*grad_scores_) + e * tensors_.plane_elements();
        edge.scale_parts = data<double>(scale_parts_) + e * scale_parts_.size(1);
        if (needs_input(e))
          edge.grad_pools = data<A>(*grad_pools_) + 2 * e * tensors_.plane_elements();
      }
      if (gradients_.weights.has_value()) edge.grad_weights = weight_part(e);
    }
    return made;
  }

  // d L / d h of a state from the edges that leave it, and the attention's gradients.
  void arrive(int64_t i, const std::vector<int64_t>& edges, T* to) {
    const cell::State<T> state = tensors_.state(i);
    const int64_t node = i - plan_.inputs;
    const int64_t plane = plan_.state_pixels(i) * plan_.sizes.channels * kLanes;
    bool add = false;
    CellPlan::each_group(edges, [&](const std::vector<int64_t>& some) {
      const cell::Group<T> leaving = group(some);
      if (plan_.sizes.hidden > 0) backend_.attention_backward({state, leaving});
      if (to != nullptr)
        backend_.state_backward({state, leaving,
                                 node < 0 ? nullptr : data<T>(gradients_.grad) + node * plane,
                                 plan_.nodes * plane, add, to, plane});
      add = true;
    });
    if (!edges.empty() || to == nullptr) return;
    cell::Group<T> none{};
    none.sizes = plan_.sizes;
    backend_.state_backward({state, none, nullptr, 0, false, to, plane});
  }

  // Backward through the edges that enter a node, whose gradient is known.
  void enter(const std::vector<int64_t>& edges) {
    cell::Group<T> entering = group(edges);
    if (tensors_.stored.empty()) {
      rooms(u_, edges, [&](int64_t e) { return tensors_.stored_elements(e); });
      for (size_t k = 0; k < edges.size(); ++k) entering.edge[k].u = data<T>(u_[k]);
      few_at_a_time(entering, backend_, [&](const cell::Group<T>& few) {
        backend_.first_half(few);  // the statistics are known
        backend_.second_half(few);
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

    std::vector<int64_t> needed;  // whose inputs or weights somebody asks for
    for (const int64_t e : edges)
      if (gradients_.weights.has_value() || needs_input(e)) needed.push_back(e);
    if (needed.empty()) return;
    for (const int64_t e : needed)
      dx_[e] = empty_blocks<T>(tensors_.nodes, tensors_.chosen_elements(plan_.edge_stride(e)));
    rooms(q_, needed, [&](int64_t) { return 2 * tensors_.chosen_elements(1); });
    cell::Group<T> back = group(needed);
    for (size_t k = 0; k < needed.size(); ++k) {
      back.edge[k].q = data<T>(q_[k]);
      for (size_t from = 0; from < edges.size(); ++from)
        if (edges[from] == needed[k]) back.edge[k].u = entering.edge[from].u;
    }
    few_at_a_time(back, backend_, [&](const cell::Group<T>& few) {
      backend_.second_half_backward(few);
      backend_.finish_first(few);
      backend_.first_half_backward(few);
    });
  }

  template <class Size>
  void rooms(Tensors& kept, const std::vector<int64_t>& edges, const Size& size) {
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
  Tensor partial_, sums_, first_sums_, scale_parts_;
  OptionalTensor grad_scores_, grad_pools_, weight_parts_;
  Tensors dx_, node_grads_;  // of each edge, of each node
  Tensors u_, q_;            // of the edges of the present group
};

}  // namespace adarts
