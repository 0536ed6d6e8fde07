// What channel_attention's bindings of every device begin with: its checks and what it gives.
#pragma once

#include "checks.h"

namespace adarts {

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

// What forward gives: the scores, and what its backward needs.
struct ChannelAttentionResults {
  Tensor scores;    // (N, C)
  Tensor pooled;    // (2, N, C), averages and maxima
  Tensor hidden;    // (2, N, R), of both
  Tensor position;  // (N, C), of the maxima

  static ChannelAttentionResults empty(const Tensor& x, int64_t hidden) {
    const int64_t batch = x.size(0), channels = x.size(1);
    const ScalarType accumulate = accumulate_dtype(x.scalar_type());
    return {empty_tensor(x, {batch, channels}), empty_tensor(x, {2, batch, channels}, accumulate),
            empty_tensor(x, {2, batch, hidden}, accumulate),
            empty_tensor(x, {batch, channels}, ScalarType::Long)};
  }

  std::tuple<Tensor, Tensor, Tensor, Tensor> all() const {
    return {scores, pooled, hidden, position};
  }
};

}  // namespace adarts
