// The checks of the operators' arguments that the bindings of every device share.
#pragma once

#include <algorithm>

#include "tensor.h"

namespace adarts {

// The index as contiguous int64; its values are checked where they can be read.
inline Tensor checked_index_shape(const char* op, const Tensor& index, const Tensor& like) {
  ADARTS_CHECK(index.scalar_type() == ScalarType::Long && index.dim() == 1, op,
               ": index has shape ", shape_of(index), ", expected int64 of shape (k,)");
  ADARTS_CHECK(index.device() == like.device(), op,
               ": index is on another device than the first argument");
  return dense(index);
}

inline OptionalTensor checked_scale(const char* op, const OptionalTensor& scale, const Tensor& x,
                                    int64_t channels) {
  if (!scale.has_value()) return std::nullopt;
  check_like(op, "scale", *scale, x);
  check_shape(op, "scale", *scale, {x.size(0), channels});
  return dense(*scale);
}

// The inputs of mixed_sum, lying in memory as `like` does.
inline Tensors checked_inputs(const char* op, const Tensors& inputs, const Tensor& like) {
  Tensors laid_out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string name = "input " + std::to_string(i);
    bool same = inputs[i].dim() == like.dim();
    for (int64_t d = 0; same && d < like.dim(); ++d) same = inputs[i].size(d) == like.size(d);
    ADARTS_CHECK(same, op, ": ", name, " has shape ", shape_of(inputs[i]), ", expected ",
                 shape_of(like), " like input 0");
    check_like(op, name.c_str(), inputs[i], like);
    laid_out.push_back(laid_out_like(inputs[i], like));
  }
  return laid_out;
}

// Which of the norms an input of normalized_mixed_sum passes, -1 where it passes none.
inline std::vector<int> norms_of(const std::vector<bool>& normalized) {
  std::vector<int> norms;
  int next = 0;
  for (const bool passes : normalized) norms.push_back(passes ? next++ : -1);
  return norms;
}

// All but the inputs of normalized_mixed_sum, for feature maps like `like`.
inline void check_normalized(const char* op, const Tensor& like, const Tensor& weights,
                             const std::vector<bool>& normalized, const OptionalTensor& norms) {
  check_feature_map(op, "the first argument", like);
  const int64_t count = normalized.size();
  const ScalarType dtype = accumulate_dtype(like.scalar_type());
  check_shape(op, "weights", weights, {count});
  if (norms.has_value())
    check_shape(op, "norms", *norms,
                {std::count(normalized.begin(), normalized.end(), true), 3, like.size(1)});
  for (const Tensor* t : {&weights, norms.has_value() ? &*norms : &weights})
    ADARTS_CHECK(t->scalar_type() == dtype && t->device() == like.device(), op,
                 ": weights and norms must be on the device of the first argument, in ",
                 dtype == ScalarType::Double ? "float64" : "float32");
}

// The same for the backward pass, whose inputs are there where it needs their sums.
inline void check_normalized_backward(const char* op, const Tensor& grad, const Tensors& inputs,
                                      const Tensor& weights, const std::vector<bool>& normalized,
                                      const Tensor& norms, const std::vector<bool>& needs_inputs,
                                      bool sums) {
  check_normalized(op, grad, weights, normalized, norms);
  const size_t count = normalized.size();
  ADARTS_CHECK(needs_inputs.size() == count && (!sums || inputs.size() == count), op, ": got ",
               inputs.size(), " inputs and ", needs_inputs.size(), " flags, expected ", count);
}

// The two layers of channel_attention, for `channels` channels.
inline void check_layers(const char* op, const Tensor& w1, const Tensor& w2, int64_t channels,
                         const Tensor& like) {
  ADARTS_CHECK(w1.dim() == 2, op, ": w1 has shape ", shape_of(w1), ", expected (R, ", channels,
               ")");
  check_shape(op, "w1", w1, {w1.size(0), channels});
  check_shape(op, "w2", w2, {channels, w1.size(0)});
  check_like(op, "w1", w1, like);
  check_like(op, "w2", w2, like);
}

inline void check_channel_attention(const char* op, const Tensor& x, const Tensor& w1,
                                    const Tensor& w2) {
  check_feature_map(op, "x", x);
  ADARTS_CHECK(x.size(2) * x.size(3) > 0 || x.size(0) * x.size(1) == 0, op, ": x has shape ",
               shape_of(x), ", expected at least one pixel");
  check_layers(op, w1, w2, x.size(1), x);
}

inline void check_channel_attention_backward(const char* op, const Tensor& grad,
                                             const Tensor& scores, const Tensor& w1,
                                             const Tensor& w2, const Tensor& pooled,
                                             const Tensor& hidden, const Tensor& position) {
  ADARTS_CHECK(scores.dim() == 2, op, ": scores has shape ", shape_of(scores), ", expected (N, C)");
  const int64_t batch = scores.size(0), channels = scores.size(1);
  check_layers(op, w1, w2, channels, scores);
  check_shape(op, "grad", grad, {batch, channels});
  check_like(op, "grad", grad, scores);
  check_shape(op, "pooled", pooled, {2, batch, channels});
  check_shape(op, "hidden", hidden, {2, batch, w1.size(0)});
  check_shape(op, "position", position, {batch, channels});
  for (const Tensor* saved : {&pooled, &hidden, &position})
    ADARTS_CHECK(saved->device() == scores.device(), op,
                 ": a saved tensor is on another device than scores");
}

inline void check_stride(const char* op, int64_t stride) {
  ADARTS_CHECK(stride == 1 || stride == 2, op, ": stride is ", stride, ", expected 1 or 2");
}

// The feature map of scatter_channels.
inline void check_scatter(const char* op, const Tensor& x, int64_t stride) {
  check_feature_map(op, "x", x);
  check_stride(op, stride);
  ADARTS_CHECK(x.size(2) % stride == 0 && x.size(3) % stride == 0, op, ": x has shape ",
               shape_of(x), ", expected even H and W at stride 2");
}

}  // namespace adarts
