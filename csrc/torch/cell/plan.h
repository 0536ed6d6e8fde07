// The search cell's structure, checked, and its tensors, as pointers into which the phases of
// csrc/cell.h take their arguments.
#pragma once

#include "../../cell_math.h"
#include "../../preprocess.h"
#include "../checks.h"
#include "../processes.h"

namespace adarts {

using cell::kLanes;

inline void check_blocks(const char* op, const char* name, const Tensor& t, int64_t batch) {
  ADARTS_CHECK(t.dim() == 5 && t.size(4) == kLanes && t.size(0) == cell::blocks_of(batch), op, ": ",
               name, " has shape ", shape_of(t), ", expected (", cell::blocks_of(batch),
               ", C, H, W, 16) for ", batch, " images");
}

// The tensor, or a copy, as contiguous memory that is aligned for the widest access: torch aligns
// what it allocates, but not a view that begins inside of it.
inline Tensor packed(const Tensor& t) {
  const Tensor whole = dense(t);
  if (reinterpret_cast<uintptr_t>(whole.data_ptr()) % 32 == 0) return whole;
  Tensor copy = torch::stable::empty_like(whole);
  return torch::stable::copy_(copy, whole);
}

inline Tensors packed(const Tensors& several) {
  Tensors made;
  for (const Tensor& t : several) made.push_back(packed(t));
  return made;
}

// The structure of a cell: its states, and its edges ordered by the node they enter.
struct CellPlan {
  cell::Sizes sizes;
  Processes processes;  // that share the BatchNorms' statistics
  int64_t inputs, nodes;
  int64_t stride;  // of the edges that leave an input
  std::vector<int64_t> sources, targets;
  std::vector<cell::Active> active;           // of each edge
  std::vector<int64_t> weights_at, norms_at;  // of each edge, in elements of the flat tensors
  int64_t weights = 0, norms = 0;             // how many there are of all edges

  CellPlan(const char* op, const Tensors& states, int64_t batch, int64_t stride, int64_t selected,
           int64_t hidden, int64_t nodes, std::vector<int64_t> from, std::vector<int64_t> to,
           const std::vector<int64_t>& bits, int64_t taps, bool training, double eps,
           const std::string& group, int64_t count)
      : processes{group},
        inputs(states.size()),
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
    ADARTS_CHECK(taps == 0 || (taps > 0 && taps % 2 == 1 && hidden == 0), op, ": taps is ", taps,
                 " and hidden ", hidden);
    sizes = {batch,           states[0].size(0), channels, selected, hidden, taps,
             height / stride, width / stride,    training, eps,      count};
    ADARTS_CHECK(sources.size() == targets.size(), op, ": ", sources.size(), " sources and ",
                 targets.size(), " targets");
    ADARTS_CHECK(bits.size() == sources.size(), op, ": ", bits.size(),
                 " masks of active candidates for ", sources.size(), " edges");
    for (size_t e = 0; e < sources.size(); ++e) {
      ADARTS_CHECK(targets[e] >= 0 && targets[e] < nodes && sources[e] >= 0 &&
                       sources[e] < inputs + targets[e] && (e == 0 || targets[e - 1] <= targets[e]),
                   op, ": edge ", e, " from state ", sources[e], " to node ", targets[e],
                   " is out of order or range");
      active.emplace_back(uint32_t(bits[e]), edge_stride(e));
      weights_at.push_back(weights);
      norms_at.push_back(norms);
      weights += weights_of(e);
      norms += active[e].norms;
    }
  }

  int64_t edges() const { return sources.size(); }
  // States up to the last that an edge leaves.
  int64_t states_that_edges_leave() const {
    return sources.empty() ? 0 : 1 + *std::max_element(sources.begin(), sources.end());
  }
  int64_t weights_of(int64_t e) const { return sizes.weights(active[e]).count(edge_stride(e)); }
  int edge_stride(int64_t e) const { return sources[e] < inputs ? stride : 1; }
  int64_t state_pixels(int64_t i) const {
    return sizes.pixels() * (i < inputs ? stride * stride : 1);
  }

  std::vector<int64_t> entering(int64_t node) const { return where(targets, node, node + 1); }
  std::vector<int64_t> leaving(int64_t state) const { return leaving(state, state + 1); }
  std::vector<int64_t> leaving(int64_t first, int64_t end) const {  // states first ... end - 1
    return where(sources, first, end);
  }

  // Calls f with at most kGroup of the edges at a time.
  template <class F>
  static void each_group(const std::vector<int64_t>& edges, const F& f) {
    for (size_t first = 0; first < edges.size(); first += cell::kGroup)
      f(std::vector<int64_t>(edges.begin() + first,
                             edges.begin() + std::min<size_t>(first + cell::kGroup, edges.size())));
  }

 private:
  static std::vector<int64_t> where(const std::vector<int64_t>& values, int64_t first,
                                    int64_t end) {
    std::vector<int64_t> found;
    for (size_t e = 0; e < values.size(); ++e)
      if (values[e] >= first && values[e] < end) found.push_back(e);
    return found;
  }
};

// The tensors that forward makes and backward reads, and pointers into them.
template <class T>
struct CellTensors {
  using A = Accumulate<T>;
  const CellPlan& plan;
  const Tensors& states;
  Tensor nodes;  // (blocks, nodes * C, H, W, kLanes)
  Tensor weights, alphas;
  OptionalTensor betas, dropout;
  Tensors stored;   // u of each edge, or empty
  Tensor norms;     // (norms, kStatistics, c)
  Tensor scores;    // (edges, blocks, C, kLanes), or no elements
  Tensor maps;      // (edges, 2 * c + 2 * C)
  Tensor pools;     // (states, 2, blocks, C, kLanes), or no elements
  Tensor position;  // (states, blocks, C, kLanes)

  int64_t plane_elements() const {  // of one (blocks, C, kLanes) tensor
    return plan.sizes.blocks * plan.sizes.channels * kLanes;
  }
  int64_t stored_elements(int64_t e) const { return plan.active[e].stored() * chosen_elements(1); }
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
    if (pools.numel() > 0 && i < plan.states_that_edges_leave()) {
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
    made.active = plan.active[e];
    made.state = from.h;
    made.state_block = from.h_block;
    made.pools = from.average;
    if (scores.numel() > 0) made.scale = data<A>(scores) + e * plane_elements();
    made.selected = data<int32_t>(maps) + e * 2 * (z.selected + z.channels);
    made.output = made.selected + z.selected;
    made.source = made.output + z.selected;
    made.target = made.source + z.channels;
    made.weights = data<A>(weights) + plan.weights_at[e];
    made.alphas = data<A>(alphas) + e * cell::kOperations;
    if (betas.has_value()) made.beta = data<A>(*betas) + e;
    if (dropout.has_value()) made.dropout = data<int64_t>(*dropout) + 2 * e;
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

}  // namespace adarts
