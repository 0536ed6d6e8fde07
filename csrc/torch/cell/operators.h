// The search cell's operators for any device: arguments to CellPlan and CellTensors and back. A
// Device has one function, with_backend(op, like, f), which calls f with a value of the dtype and
// the Backend for it.
#pragma once

#include "backward.h"
#include "flat.h"

namespace adarts {

using Integers = std::vector<int64_t>;

inline void check_dropout(const char* op, const OptionalTensor& dropout, int64_t edges) {
  if (!dropout.has_value()) return;
  check_shape(op, "dropout", *dropout, {edges, 2});
  ADARTS_CHECK(dropout->scalar_type() == ScalarType::Long && dropout->is_contiguous(), op,
               ": expected dropout as contiguous int64");
}

template <class Device>
std::tuple<Tensor, Tensors, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> search_cell(
    const Tensors& given_states, const Tensor& weights, const Tensor& alphas,
    const OptionalTensor& betas, const OptionalTensor& index, const OptionalTensor& norms,
    const OptionalTensor& dropout, int64_t batch, int64_t stride, int64_t selected, int64_t hidden,
    int64_t nodes, const Integers& sources, const Integers& targets, bool shuffle,
    const Integers& active, int64_t taps, bool store, double eps, const std::string& scores_group,
    const std::string& norms_group, int64_t processes) {
  constexpr const char* op = "search_cell";
  const Tensors states = packed(given_states);
  const CellPlan plan(op, states, batch, stride, selected, hidden, nodes, sources, targets, active,
                      taps, !norms.has_value(), eps, norms_group, processes);
  const cell::Sizes& z = plan.sizes;
  const Tensor& like = states[0];
  const ScalarType accumulate = accumulate_dtype(like.scalar_type());
  for (int64_t node = 0; node < nodes; ++node)
    ADARTS_CHECK(!plan.entering(node).empty(), op, ": no edge enters node ", node);
  ADARTS_CHECK(z.attends() || index.has_value(), op, ": expected index without attention");
  flat(op, "weights", weights, plan.weights, like);
  flat(op, "alphas", alphas, plan.edges() * cell::kOperations, like);
  if (betas.has_value()) flat(op, "betas", *betas, plan.edges(), like);
  if (norms.has_value()) flat(op, "norms", *norms, plan.norms * cell::kStatistics * selected, like);
  check_dropout(op, dropout, plan.edges());
  const int64_t scored = z.attends() ? plan.edges() : 0;
  const int64_t pooled = z.attends() ? plan.states_that_edges_leave() : 0;
  Tensor out = empty_tensor(like, {z.blocks, nodes * z.channels, z.height, z.width, kLanes});
  Tensor statistics =
      norms.has_value() ? *norms
                        : empty_tensor(like, {plan.norms, cell::kStatistics, selected}, accumulate);
  Tensor scores = empty_tensor(like, {scored, z.blocks, z.channels, kLanes}, accumulate);
  Tensor chosen = empty_tensor(like, {plan.edges(), selected}, ScalarType::Long);
  if (index.has_value()) {
    check_shape(op, "index", *index, {plan.edges(), selected});
    torch::stable::copy_(chosen, *index);
  }
  Tensor maps = empty_tensor(like, {plan.edges(), 2 * (selected + z.channels)}, ScalarType::Int);
  Tensor pools = empty_tensor(like, {pooled, 2, z.blocks, z.channels, kLanes}, accumulate);
  Tensor position = empty_tensor(like, {pooled, z.blocks, z.channels, kLanes}, ScalarType::Int);
  Tensors stored;
  Device::with_backend(op, like, [&](auto zero, const auto& backend) {
    using T = decltype(zero);
    CellTensors<T> tensors{plan, states,     out,    weights, alphas, betas,   dropout,
                           {},   statistics, scores, maps,    pools,  position};
    for (int64_t e = 0; store && e < plan.edges(); ++e)
      tensors.stored.push_back(empty_blocks<T>(like, tensors.stored_elements(e)));
    backend.check_sizes(z, false);
    backend.check_index(op, chosen, z.channels, index.has_value());
    search_cell_forward(tensors, chosen, index.has_value(), shuffle, Processes{scores_group},
                        backend);
    stored = tensors.stored;
  });
  return {out,    stored,  norms.has_value() ? empty_tensor(like, {0}, accumulate) : statistics,
          scores, chosen,  maps,
          pools,  position};
}

template <class Device>
Tensors search_cell_backward(
    const Tensor& grad, const Tensors& given_states, const Tensor& nodes, const Tensor& weights,
    const Tensor& alphas, const OptionalTensor& betas, const Tensors& stored, const Tensor& norms,
    const Tensor& scores, const Tensor& maps, const Tensor& pools, const Tensor& position,
    const OptionalTensor& dropout, int64_t batch, int64_t stride, int64_t selected, int64_t hidden,
    const Integers& sources, const Integers& targets, const Integers& active, int64_t taps,
    bool training, double eps, const std::vector<bool>& needs_states, bool needs_weights,
    bool needs_alphas, bool needs_betas, const std::string& norms_group, int64_t processes) {
  constexpr const char* op = "search_cell_backward";
  const Tensors states = packed(given_states);
  ADARTS_CHECK(!states.empty() && nodes.dim() == 5 && states[0].dim() == 5 &&
                   states[0].size(1) > 0 && needs_states.size() == states.size(),
               op, ": states and nodes do not fit");
  const int64_t count = nodes.size(1) / states[0].size(1);
  const CellPlan plan(op, states, batch, stride, selected, hidden, count, sources, targets, active,
                      taps, training, eps, norms_group, processes);
  const cell::Sizes& z = plan.sizes;
  const Tensor& like = states[0];
  const ScalarType accumulate = accumulate_dtype(like.scalar_type());
  check_shape(op, "grad", grad, {z.blocks, count * z.channels, z.height, z.width, kLanes});
  check_like(op, "grad", grad, like);
  flat(op, "weights", weights, plan.weights, like);
  flat(op, "alphas", alphas, plan.edges() * cell::kOperations, like);
  flat(op, "norms", norms, plan.norms * cell::kStatistics * selected, like);
  check_dropout(op, dropout, plan.edges());
  Tensors grads;
  Device::with_backend(op, like, [&](auto zero, const auto& backend) {
    using T = decltype(zero);
    backend.check_sizes(z, true);
    CellTensors<T> tensors{plan,   states, nodes,  weights, alphas, betas,   dropout,
                           stored, norms,  scores, maps,    pools,  position};
    CellGradients<T> gradients{packed(grad)};
    for (size_t i = 0; i < states.size(); ++i)
      gradients.states.push_back(
          needs_states[i] ? OptionalTensor(torch::stable::empty_like(states[i])) : std::nullopt);
    if (needs_weights) gradients.weights = empty_tensor(like, {plan.weights}, accumulate);
    if (needs_alphas)
      gradients.alphas = empty_tensor(like, {plan.edges(), cell::kOperations}, accumulate);
    if (needs_betas) gradients.betas = empty_tensor(like, {plan.edges()}, accumulate);
    CellBackward(tensors, gradients, backend).run();
    for (const OptionalTensor& state : gradients.states)
      if (state.has_value()) grads.push_back(*state);
    for (const OptionalTensor* one : {&gradients.weights, &gradients.alphas, &gradients.betas})
      if (one->has_value()) grads.push_back(**one);
  });
  return grads;
}

}  // namespace adarts
