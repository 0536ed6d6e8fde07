// A cell's preprocessing for any device: arguments to cell::Preprocess and back. For Device see
// operators.h.
#pragma once

#include "../../preprocess.h"
#include "flat.h"
#include "plan.h"

namespace adarts {

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

// The preprocessings of a cell's inputs, checked: see cell::Preprocess.
template <class T>
cell::Preprocessings<T> preprocessings(const Tensors& x, const Tensors& weights, int64_t batch,
                                       const std::vector<int64_t>& strides, bool training,
                                       int64_t processes) {
  cell::Preprocessings<T> made{};
  made.count = int(x.size());
  for (int i = 0; i < made.count; ++i) {
    cell::Preprocess<T>& input = made.input[i];
    input.batch = batch;
    input.blocks = x[i].size(0);
    input.in_channels = x[i].size(1);
    input.channels = weights[i].size(0);
    input.height = x[i].size(2) / strides[i];
    input.width = x[i].size(3) / strides[i];
    input.stride = int(strides[i]);
    input.training = training;
    input.processes = processes;
    input.in = data<T>(x[i]);
    input.in_block = x[i].stride(0);
    input.weights = data<Accumulate<T>>(weights[i]);
  }
  return made;
}

inline void check_preprocessings(const char* op, const Tensors& x, const Tensors& weights,
                                 const Tensors& norms, int64_t batch,
                                 const std::vector<int64_t>& strides) {
  const size_t count = x.size();
  ADARTS_CHECK(count > 0 && count <= cell::kMostInputs && weights.size() == count &&
                   strides.size() == count && (norms.empty() || norms.size() == count),
               op, ": got ", count, " inputs, ", weights.size(), " weights, ", strides.size(),
               " strides and ", norms.size(), " statistics, expected as many of each, at most ",
               cell::kMostInputs);
  for (size_t i = 0; i < count; ++i) {
    check_preprocess(op, x[i], weights[i], batch, strides[i]);
    check_like(op, "x", x[i], x[0]);
    ADARTS_CHECK(weights[i].size(0) == weights[0].size(0) &&
                     x[i].size(2) / strides[i] == x[0].size(2) / strides[0] &&
                     x[i].size(3) / strides[i] == x[0].size(3) / strides[0],
                 op, ": inputs of shape ", shape_of(x[0]), " and ", shape_of(x[i]),
                 ", expected results of one shape");
    if (!norms.empty()) flat(op, "norms", norms[i], cell::kStatistics * weights[i].size(0), x[0]);
  }
}

// Adds up `partial`, (inputs, parts, 2, channels), over several processes.
inline void sum_parts(const Processes& processes, const Tensor& partial) {
  const int64_t rows = 2 * partial.size(3);
  if (processes.several())
    processes.sum_parts(torch::stable::view(partial, {partial.size(0), partial.size(1), rows}), 0,
                        rows);
}

template <class Device>
std::tuple<Tensors, Tensor> preprocess_cell(const Tensors& given_x, const Tensors& weights,
                                            const Tensors& norms, int64_t batch,
                                            const std::vector<int64_t>& strides, double eps,
                                            const std::string& norms_group, int64_t processes) {
  constexpr const char* op = "preprocess_cell";
  const Tensors x = packed(given_x);
  check_preprocessings(op, x, weights, norms, batch, strides);
  const bool training = norms.empty();
  const int64_t inputs = int64_t(x.size()), channels = weights[0].size(0);
  const int64_t height = x[0].size(2) / strides[0], width = x[0].size(3) / strides[0];
  Tensors h;
  for (int64_t i = 0; i < inputs; ++i)
    h.push_back(empty_tensor(x[0], {x[0].size(0), channels, height, width, kLanes}));
  const Tensor statistics = empty_tensor(x[0], {training ? inputs : 0, cell::kStatistics, channels},
                                         accumulate_dtype(x[0].scalar_type()));
  Device::with_backend(op, x[0], [&](auto zero, const auto& backend) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    auto args = preprocessings<T>(x, weights, batch, strides, training, processes);
    const int64_t parts = backend.preprocess_parts(args);
    const Tensor partial = empty_tensor(x[0], {inputs, parts, 2, channels}, ScalarType::Double);
    for (int64_t i = 0; i < inputs; ++i) {
      args.input[i].partial = data<double>(partial) + i * parts * 2 * channels;
      args.input[i].h = data<T>(h[i]);
      args.input[i].norms =
          training ? data<A>(statistics) + i * cell::kStatistics * channels : data<A>(norms[i]);
    }
    backend.preprocess(args);
    if (training) sum_parts(Processes{norms_group}, partial);
    backend.preprocess_normalise(args, eps);
  });
  return {h, statistics};
}

// The gradients of those x that need one, then that of all weights end to end.
template <class Device>
Tensors preprocess_cell_backward(const Tensors& grads, const Tensors& given_x,
                                 const Tensors& weights, const Tensors& h, const Tensors& norms,
                                 int64_t batch, const std::vector<int64_t>& strides, bool training,
                                 const std::vector<bool>& needs_x, bool needs_weights,
                                 const std::string& norms_group, int64_t processes) {
  constexpr const char* op = "preprocess_cell_backward";
  const Tensors x = packed(given_x), dense_grads = packed(grads);
  check_preprocessings(op, x, weights, norms, batch, strides);
  const int64_t inputs = int64_t(x.size()), channels = weights[0].size(0);
  ADARTS_CHECK(grads.size() == x.size() && h.size() == x.size() && norms.size() == x.size() &&
                   needs_x.size() == x.size(),
               op, ": got ", grads.size(), " gradients for ", inputs, " inputs");
  const int64_t height = x[0].size(2) / strides[0], width = x[0].size(3) / strides[0];
  for (const Tensors& maps : {grads, h})
    for (const Tensor& map : maps) {
      check_like(op, "grad", map, x[0]);
      check_shape(op, "grad", map, {x[0].size(0), channels, height, width, kLanes});
    }
  const ScalarType accumulate = accumulate_dtype(x[0].scalar_type());
  Tensors made;
  Device::with_backend(op, x[0], [&](auto zero, const auto& backend) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    auto args = preprocessings<T>(x, weights, batch, strides, training, processes);
    const int64_t parts = backend.preprocess_sum_parts(args);
    const Tensor partial = empty_tensor(x[0], {inputs, parts, 2, channels}, ScalarType::Double);
    OptionalTensor weight_parts, grad_weights;
    int64_t all_weights = 0;
    for (int64_t i = 0; i < inputs; ++i) {
      cell::Preprocess<T>& input = args.input[i];
      input.partial = data<double>(partial) + i * parts * 2 * channels;
      input.h = data<T>(h[i]);
      input.norms = data<A>(norms[i]);
      input.grad = data<T>(dense_grads[i]);
      input.grad_block = channels * input.pixels() * kLanes;
      if (needs_x[i]) {
        made.push_back(backend.input_gradient(x[i], strides[i]));
        input.grad_in = data<T>(made.back());
      }
      all_weights += weights[i].numel();
    }
    if (needs_weights) {
      const int64_t weights_parts = backend.preprocess_weight_parts(args);
      weight_parts = empty_tensor(x[0], {weights_parts * all_weights}, accumulate);
      grad_weights = empty_tensor(x[0], {all_weights}, accumulate);
      A* next = data<A>(*weight_parts);
      for (int64_t i = 0; i < inputs; ++i) {
        args.input[i].grad_weights = next;
        next += weights_parts * weights[i].numel();
      }
      made.push_back(*grad_weights);
    }
    backend.preprocess_sums(args);
    if (training) sum_parts(Processes{norms_group}, partial);
    backend.preprocess_backward(args, data<A>(grad_weights));
  });
  return made;
}

}  // namespace adarts
