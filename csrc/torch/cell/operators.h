// The search cell's operators for any device: arguments to CellPlan and CellTensors and back. A
// Device has one function, with_backend(op, like, f), which calls f with a value of the dtype and
// the Backend for it.
#pragma once

#include "backward.h"

namespace adarts {

using Integers = std::vector<int64_t>;

inline Tensor flat(const char* op, const char* name, const Tensor& t, int64_t elements,
                   const Tensor& like) {
  ADARTS_CHECK(t.numel() == elements && t.is_contiguous(), op, ": ", name, " has shape ",
               shape_of(t), ", expected ", elements, " contiguous elements");
  ADARTS_CHECK(
      t.scalar_type() == accumulate_dtype(like.scalar_type()) && t.device() == like.device(), op,
      ": ", name, " has another dtype or device than the states compute in");
  return t;
}

template <class Device>
std::tuple<Tensor, Tensors, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> search_cell(
    const Tensors& states, const Tensor& weights, const Tensor& alphas, const OptionalTensor& betas,
    const OptionalTensor& index, const OptionalTensor& norms, int64_t batch, int64_t stride,
    int64_t selected, int64_t hidden, int64_t nodes, const Integers& sources,
    const Integers& targets, bool shuffle, bool store, double eps) {
  constexpr const char* op = "search_cell";
  const CellPlan plan(op, states, batch, stride, selected, hidden, nodes, sources, targets,
                      !norms.has_value(), eps);
  const cell::Sizes& z = plan.sizes;
  const Tensor& like = states[0];
  const ScalarType accumulate = accumulate_dtype(like.scalar_type());
  for (int64_t node = 0; node < nodes; ++node)
    ADARTS_CHECK(!plan.entering(node).empty(), op, ": no edge enters node ", node);
  ADARTS_CHECK(hidden > 0 || index.has_value(), op, ": expected index without attention");
  flat(op, "weights", weights, plan.weights, like);
  flat(op, "alphas", alphas, plan.edges() * cell::kOperations, like);
  if (betas.has_value()) flat(op, "betas", *betas, plan.edges(), like);
  if (norms.has_value()) flat(op, "norms", *norms, plan.norms * cell::kStatistics * selected, like);
  const int64_t scored = hidden > 0 ? plan.edges() : 0;
  const int64_t pooled = hidden > 0 ? plan.left_states() : 0;
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
    CellTensors<T> tensors{plan, states,     out,    weights, alphas, betas,
                           {},   statistics, scores, maps,    pools,  position};
    for (int64_t e = 0; store && e < plan.edges(); ++e)
      tensors.stored.push_back(empty_blocks<T>(like, tensors.stored_elements(e)));
    backend.check_index(op, chosen, z.channels, index.has_value());
    search_cell_forward(tensors, chosen, index.has_value(), shuffle, backend);
    stored = tensors.stored;
  });
  return {out,    stored,  norms.has_value() ? empty_tensor(like, {0}, accumulate) : statistics,
          scores, chosen,  maps,
          pools,  position};
}

template <class Device>
Tensors search_cell_backward(const Tensor& grad, const Tensors& states, const Tensor& nodes,
                             const Tensor& weights, const Tensor& alphas,
                             const OptionalTensor& betas, const Tensors& stored,
                             const Tensor& norms, const Tensor& scores, const Tensor& maps,
                             const Tensor& pools, const Tensor& position, int64_t batch,
                             int64_t stride, int64_t selected, int64_t hidden,
                             const Integers& sources, const Integers& targets, bool training,
                             double eps, const std::vector<bool>& needs_states, bool needs_weights,
                             bool needs_alphas, bool needs_betas) {
  constexpr const char* op = "search_cell_backward";
  ADARTS_CHECK(!states.empty() && nodes.dim() == 5 && states[0].dim() == 5 &&
                   states[0].size(1) > 0 && needs_states.size() == states.size(),
               op, ": states and nodes do not fit");
  const int64_t count = nodes.size(1) / states[0].size(1);
  const CellPlan plan(op, states, batch, stride, selected, hidden, count, sources, targets,
                      training, eps);
  const cell::Sizes& z = plan.sizes;
  const Tensor& like = states[0];
  const ScalarType accumulate = accumulate_dtype(like.scalar_type());
  check_shape(op, "grad", grad, {z.blocks, count * z.channels, z.height, z.width, kLanes});
  check_like(op, "grad", grad, like);
  flat(op, "weights", weights, plan.weights, like);
  flat(op, "alphas", alphas, plan.edges() * cell::kOperations, like);
  flat(op, "norms", norms, plan.norms * cell::kStatistics * selected, like);
  Tensors grads;
  Device::with_backend(op, like, [&](auto zero, const auto& backend) {
    using T = decltype(zero);
    CellTensors<T> tensors{plan,   states, nodes,  weights, alphas, betas,
                           stored, norms,  scores, maps,    pools,  position};
    CellGradients<T> gradients{dense(grad)};
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

// h = BatchNorm(W relu(x)): see cell::Preprocess. norms is given where the running statistics are
// used.
template <class T>
cell::Preprocess<T> preprocess_arguments(const Tensor& x, const Tensor& weights, int64_t batch,
                                         int64_t stride, bool training) {
  cell::Preprocess<T> made{};
  made.batch = batch;
  made.blocks = x.size(0);
  made.in_channels = x.size(1);
  made.channels = weights.size(0);
  made.height = x.size(2) / stride;
  made.width = x.size(3) / stride;
  made.stride = stride;
  made.training = training;
  made.in = data<T>(x);
  made.in_block = x.stride(0);
  made.weights = data<cell::Accumulate<T>>(weights);
  return made;
}

inline void check_preprocess(const char* op, const Tensor& x, const Tensor& weights, int64_t batch,
                             int64_t stride) {
  check_blocks(op, "x", x, batch);
  check_stride(op, stride);
  ADARTS_CHECK(batch > 0 && x.size(2) > 0 && x.size(3) > 0 && x.size(2) % stride == 0 &&
                   x.size(3) % stride == 0,
               op, ": x has shape ", shape_of(x), ", expected H and W to be multiples of stride ",
               stride);
  ADARTS_CHECK(weights.dim() == 2 && weights.size(1) == x.size(1) && weights.size(0) > 0 &&
                   weights.size(0) % stride == 0,
               op, ": weights have shape ", shape_of(weights), ", expected (C, ", x.size(1), ")");
  flat(op, "weights", weights, weights.numel(), x);
  ADARTS_CHECK(x.is_contiguous(), op, ": expected contiguous x");
}

template <class Device>
std::tuple<Tensor, Tensor> preprocess_cell(const Tensor& x, const Tensor& weights,
                                           const OptionalTensor& norms, int64_t batch,
                                           int64_t stride, double eps) {
  constexpr const char* op = "preprocess_cell";
  check_preprocess(op, x, weights, batch, stride);
  const int64_t channels = weights.size(0);
  const ScalarType accumulate = accumulate_dtype(x.scalar_type());
  if (norms.has_value()) flat(op, "norms", *norms, cell::kStatistics * channels, x);
  Tensor h = empty_tensor(x, {x.size(0), channels, x.size(2) / stride, x.size(3) / stride, kLanes});
  Tensor statistics =
      norms.has_value() ? *norms : empty_tensor(x, {cell::kStatistics, channels}, accumulate);
  Device::with_backend(op, x, [&](auto zero, const auto& backend) {
    using T = decltype(zero);
    cell::Preprocess<T> args =
        preprocess_arguments<T>(x, weights, batch, stride, !norms.has_value());
    const Tensor partial =
        empty_tensor(x, {backend.preprocess_parts(args), 2, channels}, ScalarType::Double);
    args.partial = data<double>(partial);
    args.h = data<T>(h);
    args.norms = data<cell::Accumulate<T>>(statistics);
    backend.preprocess(args, eps);
  });
  return {h, norms.has_value() ? empty_tensor(x, {0}, accumulate) : statistics};
}

template <class Device>
Tensors preprocess_cell_backward(const Tensor& grad, const Tensor& x, const Tensor& weights,
                                 const Tensor& h, const Tensor& norms, int64_t batch,
                                 int64_t stride, bool training, bool needs_x, bool needs_weights) {
  constexpr const char* op = "preprocess_cell_backward";
  check_preprocess(op, x, weights, batch, stride);
  check_like(op, "grad", grad, x);
  const int64_t channels = weights.size(0);
  check_shape(op, "grad", grad, {h.size(0), channels, h.size(2), h.size(3), kLanes});
  flat(op, "norms", norms, cell::kStatistics * channels, x);
  const ScalarType accumulate = accumulate_dtype(x.scalar_type());
  Tensors grads;
  Device::with_backend(op, x, [&](auto zero, const auto& backend) {
    using T = decltype(zero);
    using A = cell::Accumulate<T>;
    cell::Preprocess<T> args = preprocess_arguments<T>(x, weights, batch, stride, training);
    const Tensor partial =
        empty_tensor(x, {args.blocks * cell::kBands, 2, channels}, ScalarType::Double);
    const Tensor dense_grad = dense(grad);
    OptionalTensor weight_parts, grad_weights;
    args.partial = data<double>(partial);
    args.h = data<T>(h);
    args.norms = data<A>(norms);
    args.grad = data<T>(dense_grad);
    args.grad_block = channels * args.pixels() * kLanes;
    if (needs_x) {  // at stride 2 some pixels are not looked at
      grads.push_back(stride == 2 ? backend.zeros_like(x) : torch::stable::empty_like(x));
      args.grad_in = data<T>(grads.back());
    }
    if (needs_weights) {
      const int64_t parts = backend.preprocess_weight_parts(args);
      weight_parts = empty_tensor(x, {parts, weights.numel()}, accumulate);
      grad_weights = empty_tensor(x, {channels, x.size(1)}, accumulate);
      args.grad_weights = data<A>(*weight_parts);
      grads.push_back(*grad_weights);
    }
    backend.preprocess_backward(args, data<A>(grad_weights));
  });
  return grads;
}

}  // namespace adarts
