// channel_attention on the GPU: checks, allocation and launches; the kernels are in
// csrc/cuda/channel_attention.cu and channel_attention_backward.cu.
#include "../../cuda/channel_attention.cuh"

#include "../channel_attention.h"
#include "feature_map.h"

namespace adarts {

namespace {

void check_limits(const char* op, int64_t channels, int64_t hidden) {
  ADARTS_CHECK(channels <= cuda::kMostChannels && hidden <= cuda::kMostHidden, op, ": got ",
               channels, " channels and ", hidden, " hidden units, expected at most ",
               cuda::kMostChannels, " and ", cuda::kMostHidden, " on a GPU");
}

std::tuple<Tensor, Tensor, Tensor, Tensor> channel_attention(const Tensor& x, const Tensor& w1,
                                                             const Tensor& w2) {
  constexpr const char* op = "channel_attention";
  check_channel_attention(op, x, w1, w2);
  const int64_t batch = x.size(0), channels = x.size(1), pixels = x.size(2) * x.size(3);
  const int64_t hidden = w1.size(0);
  check_limits(op, channels, hidden);
  const DeviceStream stream(x);
  const FeatureMap map(x);
  const Tensor first = dense(w1), second = dense(w2);
  const ScalarType accumulate = accumulate_dtype(x.scalar_type());
  const auto results = ChannelAttentionResults::empty(x, hidden);
  const auto& [scores, pooled, units, position] = results;
  dispatch(op, x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    A *average = data<A>(pooled), *maximum = average + batch * channels;
    A *hidden_average = data<A>(units), *hidden_maximum = hidden_average + batch * hidden;
    cuda::PoolPlanes<T> pool{map_of<const T>(map),   batch, channels, pixels, average, maximum,
                             data<int64_t>(position)};
    const int parts = cuda::pool_parts(pool);
    OptionalTensor partial, partial_position;
    if (parts > 1) {
      partial = empty_tensor(x, {2, batch * channels * parts}, accumulate);
      partial_position = empty_tensor(x, {batch * channels * parts}, ScalarType::Long);
      pool.sums = data<A>(partial);
      pool.maxima = pool.sums + batch * channels * parts;
      pool.positions = data<int64_t>(partial_position);
    }
    check_launch(op, cuda::pool_planes(pool, stream));
    const cuda::ChannelAttention<T> attention{pool.sums,
                                              pool.maxima,
                                              pool.positions,
                                              parts,
                                              batch,
                                              pixels,
                                              data<T>(first),
                                              data<T>(second),
                                              static_cast<int>(channels),
                                              static_cast<int>(hidden),
                                              average,
                                              maximum,
                                              data<int64_t>(position),
                                              hidden_average,
                                              hidden_maximum,
                                              data<T>(scores)};
    check_launch(op, cuda::channel_attention(attention, stream));
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
  check_limits(op, channels, hidden);
  const DeviceStream stream(scores);
  const Tensor grad_scores = dense(grad);
  const Tensor first = dense(w1), second = dense(w2);
  const ScalarType accumulate = accumulate_dtype(scores.scalar_type());
  OptionalTensor logits, grad_units, grad_pooled;
  if (needs_w2) logits = empty_tensor(scores, {batch, channels}, accumulate);
  if (needs_w1) grad_units = empty_tensor(scores, {2, batch, hidden}, accumulate);
  if (needs_x) grad_pooled = empty_tensor(scores, {2, batch, channels}, accumulate);
  Tensors grads;
  dispatch(op, scores.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    using A = Accumulate<T>;
    const A *average = data<A>(pooled), *maximum = average + batch * channels;
    const A *hidden_average = data<A>(units), *hidden_maximum = hidden_average + batch * hidden;
    A *g = data<A>(logits), *ga = data<A>(grad_units), *da = data<A>(grad_pooled);
    A* gm = needs_w1 ? ga + batch * hidden : nullptr;
    A* dm = needs_x ? da + batch * channels : nullptr;
    const cuda::ChannelAttentionBackward<T> backward{data<T>(grad_scores),
                                                     data<T>(scores),
                                                     data<T>(first),
                                                     data<T>(second),
                                                     batch,
                                                     static_cast<int>(channels),
                                                     static_cast<int>(hidden),
                                                     hidden_average,
                                                     hidden_maximum,
                                                     g,
                                                     ga,
                                                     gm,
                                                     da,
                                                     dm};
    check_launch(op, cuda::channel_attention_backward(backward, stream));
    if (needs_x) {
      Tensor grad_x = empty_feature_map(scores, {batch, channels, height, width}, channels_last);
      const cuda::UnpoolPlanes<T> unpool{da,
                                         dm,
                                         data<int64_t>(position),
                                         batch,
                                         channels,
                                         height * width,
                                         map_of<T>(FeatureMap(grad_x))};
      check_launch(op, cuda::unpool_planes(unpool, stream));
      grads.push_back(grad_x);
    }
    const int rows = static_cast<int>(hidden), columns = static_cast<int>(channels);
    cuda::WeightGradients<T> weights{{ga, average, gm, maximum, rows, columns, nullptr},
                                     {g, hidden_average, g, hidden_maximum, columns, rows, nullptr},
                                     batch};
    if (needs_w1) {
      grads.push_back(empty_tensor(scores, {hidden, channels}));
      weights.w1.out = data<T>(grads.back());
    }
    if (needs_w2) {
      grads.push_back(empty_tensor(scores, {channels, hidden}));
      weights.w2.out = data<T>(grads.back());
    }
    check_launch(op, cuda::weight_gradients(weights, stream));
  });
  return grads;
}

}  // namespace

ADARTS_CUDA_OPERATORS(m) {
  m.impl("channel_attention", TORCH_BOX(&channel_attention));
  m.impl("channel_attention_backward", TORCH_BOX(&channel_attention_backward));
}

}  // namespace adarts
