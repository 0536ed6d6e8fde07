// Attention by a convolution over the channels' averages (ECA, arXiv 1910.03151): scores and their
// gradients of one edge and one block of images, whose vectors begin at `first`.

// The average of channel i, and 0 beyond the channels.
template <class A>
ADARTS_INLINE Lanes<A> average_or_zero(const A* average, int64_t channels, int64_t i) {
  return i < 0 || i >= channels ? Lanes<A>{} : load(average + i * kLanes);
}

template <class T>
void score_by_taps(const Sizes& z, const Edge<T>& edge, int64_t first) {
  using A = Accumulate<T>;
  for (int64_t i = 0; i < z.channels; ++i) {
    Lanes<A> logit{};
    for (int64_t t = 0; t < z.taps; ++t)
      logit +=
          edge.weights[t] * average_or_zero(edge.pools + first, z.channels, i + t - z.taps / 2);
    put_score(edge, first + i * kLanes, logit);
  }
}

// `logits` are d L / d logits; `dw` is null where nobody asks for the weights' gradients.
template <class T>
void taps_backward(const Sizes& z, const Edge<T>& edge, int64_t first,
                   const Lanes<Accumulate<T>>* logits, Accumulate<T>* dw) {
  using A = Accumulate<T>;
  const int64_t channels = z.channels, pad = z.taps / 2, plane = z.blocks * channels * kLanes;
  for (int64_t t = 0; dw != nullptr && t < z.taps; ++t) {
    Lanes<A> sum{};
    for (int64_t i = 0; i < channels; ++i)
      sum += logits[i] * average_or_zero(edge.pools + first, channels, i + t - pad);
    dw[t] += A(sum_lanes(sum));
  }
  if (edge.grad_pools == nullptr) return;
  for (int64_t i = 0; i < channels; ++i) {
    Lanes<A> sum{};
    for (int64_t t = 0; t < z.taps; ++t) {
      const int64_t to = i - t + pad;
      if (to >= 0 && to < channels) sum += edge.weights[t] * logits[to];
    }
    store(edge.grad_pools + first + i * kLanes, sum);
    store(edge.grad_pools + plane + first + i * kLanes, Lanes<A>{});
  }
}
