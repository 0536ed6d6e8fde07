// What a node's gradient g sums up to for each incoming edge. A task is one edge and one block.

// kAll says that all candidates are active, and spares the test for each pixel.
template <int S, bool kAll, class T>
void node_backward_task(const Group<T>& group, int64_t e, int64_t block) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[e];
  const int64_t c = z.selected, in_width = z.width * S;
  const Chosen<T> chosen{edge, block, z.channels, z.pixels() * S * S};
  const PoolRows<A> pools(in_width);
  Scratch<A> maxima(z.width), averages(z.width);
  Scratch<double> sums(kSums * c);
  sums.clear(kSums * c);
  Wide passing{};
  const auto has = [&](int operation) { return kAll || edge.active.has(operation); };
  const A beta = edge.beta == nullptr ? A(1) : *edge.beta;
  for (int64_t q = 0; q < z.channels; ++q) {
    const int64_t a = edge.source[q];
    const T* g = edge.grad + block * edge.grad_block + q * z.pixels() * kLanes;
    if (a < 0) {
      const int64_t r = -1 - a;
      const T* h = edge.state + block * edge.state_block + r * z.pixels() * S * S * kLanes;
      Wide total{};
      for (int64_t y = 0; y < z.height; ++y) {
        Lanes<A> sum{};
        for (int64_t x = 0; x < z.width; ++x) {
          const int64_t p = y * z.width + x;
          will_read(g + (p + z.width) * kLanes);
          if (S == 1) will_read(h + (p + z.width) * kLanes);
          const auto value = S == 1 ? load(h + p * kLanes) : maximum_of_four(h, in_width, y, x);
          sum += load(g + p * kLanes) * value;
        }
        total += widen(sum);
      }
      const int64_t at = (block * z.channels + r) * kLanes;
      if (edge.grad_scale != nullptr)
        store(edge.grad_scale + at, beta * __builtin_convertvector(total, Lanes<A>));
      passing += edge.scale == nullptr ? total : total * widen(load(edge.scale + at));
      continue;
    }
    const T* h = chosen.plane(a);
    const Lanes<A> scale = chosen.scale(a);
    const T* planes[kOperations];
    A mean[kOperations] = {};
    for (int operation = kSkip; operation < kOperations; ++operation) {
      planes[operation] = h;
      if (!has(operation) || (S == 1 && operation == kSkip)) continue;
      planes[operation] =
          stored_planes(edge, z, norm_of(operation), block) + a * z.pixels() * kLanes;
    }
    for (int operation = kMaxPool; operation < kOperations; ++operation)
      if (has(operation) && edge.active.has_norm(norm_of(operation)))
        mean[operation] = edge.statistics(norm_of(operation), c, a)[kMean * c];
    const SkipDropout dropout(S == 1 ? edge.dropout : nullptr);
    const int64_t place = (block * c + a) * z.pixels() * kLanes;
    for (int64_t y = 0; y < z.height; ++y) {
      if (kAll || edge.active.pools > 0)
        pools.template row<S>(h, z.height * S, in_width, scale, y, maxima, averages);
      Lanes<A> sum[kSums] = {};
      for (int64_t x = 0; x < z.width; ++x) {
        const int64_t at = (y * z.width + x) * kLanes;
        const Lanes<A> gradient = load(g + at);
        sum[kNone] += gradient;
        if (has(kMaxPool)) sum[kMaxPool] += gradient * (maxima[x] - mean[kMaxPool]);
        if (has(kAvgPool)) sum[kAvgPool] += gradient * (averages[x] - mean[kAvgPool]);
        const auto add = [&](int operation) {
          if (has(operation))
            sum[operation] += gradient * (load(planes[operation] + at) - mean[operation]);
        };
        if (dropout.share == 0)
          add(kSkip);
        else if (has(kSkip))
          sum[kSkip] += gradient * load(h + at) * kept_lanes<A>(dropout, place + at);
        add(kSep3);
        add(kSep5);
        add(kDil3);
        add(kDil5);
      }
      if (S == 1) sum[kSkip] *= scale;
      for (int i = 0; i < kSums; ++i) sums[i * c + a] += widen(sum[i]);
    }
  }
  double* to = group.partial + (e * group.parts + block) * sum_rows(c);
  for (int64_t i = 0; i < kSums * c; ++i) to[i] = sum_lanes(sums[i]);
  to[kSums * c] = sum_lanes(passing);
}

template <int S, class T>
void node_backward_edge(const Group<T>& group, int64_t e, int64_t block) {
  if (group.edge[e].active.all())
    node_backward_task<S, true>(group, e, block);
  else
    node_backward_task<S, false>(group, e, block);
}

template <class T>
void node_backward(const Group<T>& group, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    const int64_t e = task / group.sizes.blocks, block = task % group.sizes.blocks;
    if (group.edge[e].stride == 1)
      node_backward_edge<1>(group, e, block);
    else
      node_backward_edge<2>(group, e, block);
  }
}
