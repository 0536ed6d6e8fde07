// Scores of all channels, for each edge that leaves a state, and their gradients; method and names
// as in csrc/cpu/channel_attention.h. A task is one edge and one block of images.

template <class T>
ADARTS_INLINE void put_score(const Edge<T>& edge, int64_t at, Lanes<Accumulate<T>> logit) {
  using A = Accumulate<T>;
  for (int lane = 0; lane < kLanes; ++lane)
    edge.scale[at + lane] = A(1) / (A(1) + std::exp(-logit[lane]));
}

#include "taps.h"

// The hidden units after their ReLU, for both pools.
template <class A>
ADARTS_INLINE void hidden_units(const A* w1, const A* average, const A* maximum, int64_t channels,
                                int64_t hidden, Lanes<A>* from_average, Lanes<A>* from_maximum) {
  for (int64_t j = 0; j < hidden; ++j) {
    Lanes<A> a{}, m{};
    for (int64_t i = 0; i < channels; ++i) {
      const Lanes<A> weight = splat(w1[j * channels + i]);
      a += weight * load(average + i * kLanes);
      m += weight * load(maximum + i * kLanes);
    }
    from_average[j] = relu(a);
    from_maximum[j] = relu(m);
  }
}

template <class T>
void score_channels(const Group<T>& group, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  const int64_t plane = z.blocks * z.channels * kLanes;
  Scratch<A> average(z.hidden), maximum(z.hidden);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task % z.blocks, first = block * z.channels * kLanes;
    const Edge<T>& edge = group.edge[task / z.blocks];
    if (z.taps > 0) {
      score_by_taps(z, edge, first);
      continue;
    }
    const EdgeWeights at = z.weights(edge.active);
    const A *w1 = edge.weights + at.w1(), *w2 = edge.weights + at.w2();
    const A* pools = edge.pools + first;
    hidden_units<A>(w1, pools, pools + plane, z.channels, z.hidden, average, maximum);
    for (int64_t i = 0; i < z.channels; ++i) {
      Lanes<A> logit{};
      for (int64_t j = 0; j < z.hidden; ++j)
        logit += w2[i * z.hidden + j] * (average[j] + maximum[j]);
      put_score(edge, first + i * kLanes, logit);
    }
  }
}

template <class T>
void attention_backward(const Group<T>& group, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  const int64_t channels = z.channels, hidden = z.hidden, plane = z.blocks * channels * kLanes;
  Scratch<A> average(hidden), maximum(hidden), logits(channels);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task % z.blocks, first = block * channels * kLanes;
    const Edge<T>& edge = group.edge[task / z.blocks];
    const EdgeWeights at = z.weights(edge.active);
    const A *w1 = edge.weights + at.w1(), *w2 = edge.weights + at.w2();
    const A* pools[2] = {edge.pools + first, edge.pools + plane + first};
    for (int64_t i = 0; i < channels; ++i) {
      const Lanes<A> score = load(edge.scale + first + i * kLanes);
      logits[i] = load(edge.grad_scale + first + i * kLanes) * score * (A(1) - score);
    }
    A* dw = weights_part(group, task / z.blocks, block);
    if (z.taps > 0) {
      taps_backward(z, edge, first, logits, dw);
      continue;
    }
    hidden_units<A>(w1, pools[0], pools[1], channels, hidden, average, maximum);
    if (dw != nullptr)
      for (int64_t i = 0; i < channels; ++i)
        for (int64_t j = 0; j < hidden; ++j)
          dw[at.w2() + i * hidden + j] += A(sum_lanes(logits[i] * (average[j] + maximum[j])));
    for (int64_t j = 0; j < hidden; ++j) {  // the units give way to their gradients
      Lanes<A> gradient{};
      for (int64_t i = 0; i < channels; ++i) gradient += w2[i * hidden + j] * logits[i];
      average[j] = average[j] > 0 ? gradient : Lanes<A>{};
      maximum[j] = maximum[j] > 0 ? gradient : Lanes<A>{};
    }
    if (dw != nullptr)
      for (int64_t j = 0; j < hidden; ++j)
        for (int64_t i = 0; i < channels; ++i)
          dw[at.w1() + j * channels + i] += A(sum_lanes(average[j] * load(pools[0] + i * kLanes) +
                                                        maximum[j] * load(pools[1] + i * kLanes)));
    if (edge.grad_pools == nullptr) continue;
    const Lanes<A>* units[2] = {average, maximum};
    for (int pool = 0; pool < 2; ++pool)
      for (int64_t i = 0; i < channels; ++i) {
        Lanes<A> sum{};
        for (int64_t j = 0; j < hidden; ++j) sum += w1[j * channels + i] * units[pool][j];
        store(edge.grad_pools + pool * plane + first + i * kLanes, sum);
      }
  }
}
