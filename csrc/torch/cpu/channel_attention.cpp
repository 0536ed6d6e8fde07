// channel_attention on the CPU: checks, allocation and threads; the loops are in
// csrc/cpu/channel_attention.cpp.
#include "../../cpu/channel_attention.h"

#include "../channel_attention.h"
#include "common.h"

namespace adarts {

namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor> channel_attention(const Tensor& x, const Tensor& w1,
                                                             const Tensor& w2) {
  constexpr const char* op = "channel_attention";
  check_channel_attention(op, x, w1, w2);
  const int64_t batch = x.size(0), channels = x.size(1), pixels = x.size(2) * x.size(3);
  const int64_t hidden = w1.size(0);
  const FeatureMap map(x);
  const Tensor first = dense(w1), second = dense(w2);
  const auto results = ChannelAttentionResults::empty(x, hidden);
  const auto& [scores, pooled, units, position] = results;
  dispatch(op, x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    A *average = data<A>(pooled), *maximum = average + batch * channels;
    A *hidden_average = data<A>(units), *hidden_maximum = hidden_average + batch * hidden;
    const cpu::PoolPlanes<T> pool{
        data<T>(map.tensor),    strides(map), channels, pixels, average, maximum,
        data<int64_t>(position)};
    if (channels > 0) run_parallel(pool, batch, channels * pixels);
    const cpu::ChannelAttention<T> score{average,         maximum,        data<T>(first),
                                         data<T>(second), channels,       hidden,
                                         hidden_average,  hidden_maximum, data<T>(scores)};
    run_parallel(score, batch, 3 * channels * hidden);
  });
  return results.all();
}

Tensors channel_attention_backward(const Tensor& grad, const Tensor& scores, const Tensor& w1,
                                   const Tensor& w2, const Tensor& pooled, const Tensor& units,
                                   const Tensor& position, int64_t height, int64_t width,
                                   bool channels_last, bool needs_x, bool needs_w1, bool needs_w2) {
  constexpr const char* op = "channel_attention_backward";
  check_channel_attention_backward(op, grad, scores, w1, w2, pooled, units, position);
  const int64_t batch = scores.size(0), channels = scores.size(1), hidden = w1.size(0);
  const Tensor grad_scores = dense(grad);
  const Tensor first = dense(w1), second = dense(w2);
  const ScalarType accumulate = accumulate_dtype(scores.scalar_type());
  Tensor logits = empty_tensor(scores, {batch, channels}, accumulate);
  Tensor grad_units = empty_tensor(scores, {2, batch, hidden}, accumulate);
  OptionalTensor grad_pooled;
  if (needs_x) grad_pooled = empty_tensor(scores, {2, batch, channels}, accumulate);
  Tensors grads;
  dispatch(op, scores.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    const A *average = data<A>(pooled), *maximum = average + batch * channels;
    const A *hidden_average = data<A>(units), *hidden_maximum = hidden_average + batch * hidden;
    A *ga = data<A>(grad_units), *gm = ga + batch * hidden;
    A* grad_average = data<A>(grad_pooled);
    A* grad_maximum = needs_x ? grad_average + batch * channels : nullptr;
    const cpu::ChannelAttentionBackward<T> backward{data<T>(grad_scores),
                                                    data<T>(scores),
                                                    data<T>(first),
                                                    data<T>(second),
                                                    channels,
                                                    hidden,
                                                    hidden_average,
                                                    hidden_maximum,
                                                    data<A>(logits),
                                                    ga,
                                                    gm,
                                                    grad_average,
                                                    grad_maximum};
    run_parallel(backward, batch, 3 * channels * hidden);
    if (needs_x) {
      Tensor grad_x = empty_feature_map(scores, {batch, channels, height, width}, channels_last);
      const FeatureMap map(grad_x);
      const cpu::UnpoolPlanes<T> unpool{grad_average, grad_maximum,   data<int64_t>(position),
                                        channels,     height * width, data<T>(grad_x),
                                        strides(map)};
      run_parallel(unpool, batch, channels * height * width);
      grads.push_back(grad_x);
    }
    if (needs_w1) {
      Tensor grad_w1 = empty_tensor(scores, {hidden, channels});
      const cpu::WeightGradient<T> weight{ga,    average, gm,       maximum,
                                          batch, hidden,  channels, data<T>(grad_w1)};
      run_parallel(weight, hidden, 2 * batch * channels);
      grads.push_back(grad_w1);
    }
    if (needs_w2) {
      Tensor grad_w2 = empty_tensor(scores, {channels, hidden});
      const A* g = data<A>(logits);
      const cpu::WeightGradient<T> weight{g,     hidden_average, g,      hidden_maximum,
                                          batch, channels,       hidden, data<T>(grad_w2)};
      run_parallel(weight, channels, 2 * batch * hidden);
      grads.push_back(grad_w2);
    }
  });
  return grads;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CPU, m) {
  m.impl("channel_attention", TORCH_BOX(&channel_attention));
  m.impl("channel_attention_backward", TORCH_BOX(&channel_attention_backward));
}

}  // namespace adarts
