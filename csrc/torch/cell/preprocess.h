// A cell's preprocessing for any device: arguments to cell::Preprocess and back. For Device see
// operators.h.
#pragma once

#include "../../preprocess.h"
#include "flat.h"
#include "plan.h"

namespace adarts {

// h = BatchNorm(W relu(x)): see cell::Preprocess. norms is given where the running statistics are
// used.
template <class T>
cell::Preprocess<T> preprocess_arguments(const Tensor& x, const Tensor& weights, int64_t batch,
                                         int64_t stride, bool training, int64_t processes) {
  cell::Preprocess<T> made{};
  made.batch = batch;
  made.blocks = x.size(0);
  made.in_channels = x.size(1);
  made.channels = weights.size(0);
  made.height = x.size(2) / stride;
  made.width = x.size(3) / stride;
  made.stride = stride;
  made.training = training;
  made.processes = processes;
  made.in = data<T>(x);
  made.in_block = x.stride(0);
  made.weights = data<Accumulate<T>>(weights);
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
}

// Adds up `partial`, (parts, 2, channels), over several processes.
inline void sum_parts(const Processes& processes, const Tensor& partial) {
  const int64_t rows = 2 * partial.size(2);
  if (processes.several())
    processes.sum_parts(torch::stable::view(partial, {1, partial.size(0), rows}), 0, rows);
}

template <class Device>
std::tuple<Tensor, Tensor> preprocess_cell(const Tensor& given_x, const Tensor& weights,
                                           const OptionalTensor& norms, int64_t batch,
                                           int64_t stride, double eps,
                                           const std::string& norms_group, int64_t processes) {
  constexpr const char* op = "preprocess_cell";
  const Tensor x = packed(given_x);
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
        preprocess_arguments<T>(x, weights, batch, stride, !norms.has_value(), processes);
    const Tensor partial =
        empty_tensor(x, {backend.preprocess_parts(args), 2, channels}, ScalarType::Double);
    args.partial = data<double>(partial);
    args.h = data<T>(h);
    args.norms = data<Accumulate<T>>(statistics);
    backend.preprocess(args);
    if (args.training) sum_parts(Processes{norms_group}, partial);
    backend.preprocess_normalise(args, eps);
  });
  return {h, norms.has_value() ? empty_tensor(x, {0}, accumulate) : statistics};
}

template <class Device>
Tensors preprocess_cell_backward(const Tensor& grad, const Tensor& given_x, const Tensor& weights,
                                 const Tensor& h, const Tensor& norms, int64_t batch,
                                 int64_t stride, bool training, bool needs_x, bool needs_weights,
                                 const std::string& norms_group, int64_t processes) {
  constexpr const char* op = "preprocess_cell_backward";
  const Tensor x = packed(given_x);
  check_preprocess(op, x, weights, batch, stride);
  check_like(op, "grad", grad, x);
  const int64_t channels = weights.size(0);
  check_shape(op, "grad", grad, {h.size(0), channels, h.size(2), h.size(3), kLanes});
  flat(op, "norms", norms, cell::kStatistics * channels, x);
  const ScalarType accumulate = accumulate_dtype(x.scalar_type());
  Tensors grads;
  Device::with_backend(op, x, [&](auto zero, const auto& backend) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    cell::Preprocess<T> args =
        preprocess_arguments<T>(x, weights, batch, stride, training, processes);
    const Tensor partial =
        empty_tensor(x, {args.blocks * cell::kBands, 2, channels}, ScalarType::Double);
    const Tensor dense_grad = packed(grad);
    OptionalTensor weight_parts, grad_weights;
    args.partial = data<double>(partial);
    args.h = data<T>(h);
    args.norms = data<A>(norms);
    args.grad = data<T>(dense_grad);
    args.grad_block = channels * args.pixels() * kLanes;
    if (needs_x) {  // at stride 2 some pixels are not looked at
      grads.push_back(stride == 2 ? backend.zeros_like(x) : empty_tensor_like(x));
      args.grad_in = data<T>(grads.back());
    }
    if (needs_weights) {
      const int64_t parts = backend.preprocess_weight_parts(args);
      weight_parts = empty_tensor(x, {parts, weights.numel()}, accumulate);
      grad_weights = empty_tensor(x, {channels, x.size(1)}, accumulate);
      args.grad_weights = data<A>(*weight_parts);
      grads.push_back(*grad_weights);
    }
    backend.preprocess_sums(args);
    if (training) sum_parts(Processes{norms_group}, partial);
    backend.preprocess_backward(args, data<A>(grad_weights));
  });
  return grads;
}

}  // namespace adarts
