// Nodes: the BatchNorms, weighted sums and passing channels of all incoming edges in one pass. A
// task is one channel of one block of images; it goes row by row, so that a row of sums stays in
// the first-level cache.

// 2x2 maximum at output pixel (y, x) of a plane of `in_width` columns.
template <class T>
ADARTS_INLINE Lanes<Accumulate<T>> maximum_of_four(const T* plane, int64_t in_width, int64_t y,
                                                   int64_t x) {
  const T* from = plane + (2 * y * in_width + 2 * x) * kLanes;
  const T* below = from + in_width * kLanes;
  return larger(larger(load(below + kLanes), load(below)), larger(load(from + kLanes), load(from)));
}

// What channel a of the chosen ones adds to its output channel: sum_o factor_o * (u_o - mean_o).
// With the means in one common shift its rounding would be the same in a whole channel, and
// averages over the plane would be wrong by it.
template <class T>
struct Mix {
  using A = Accumulate<T>;
  A factor[kNorms] = {}, mean[kNorms] = {};
  A skip = 0;  // of x, at stride 1

  Mix(const Edge<T>& edge, int64_t c, int64_t a) {
    const A beta = edge.beta == nullptr ? A(1) : *edge.beta;
    for (int operation = kMaxPool; operation < kOperations; ++operation) {
      if (!edge.active.has(operation)) continue;
      const A weight = beta * edge.alphas[operation];
      if (operation == kSkip && edge.stride == 1) {
        skip = weight;
        continue;
      }
      const Norm norm = norm_of(operation);
      const A* statistic = edge.statistics(norm, c, a);
      factor[norm] = weight * statistic[kRstd * c];
      mean[norm] = statistic[kMean * c];
    }
  }

  ADARTS_INLINE Lanes<A> of(int norm, Lanes<A> u) const { return factor[norm] * (u - mean[norm]); }
};

// kAll says that all candidates are active, and spares the test for each pixel.
template <int S, bool kAll, class T>
ADARTS_INLINE void add_chosen_row(const Edge<T>& edge, const Sizes& z, int64_t block, int64_t a,
                                  const Mix<T>& mix, int64_t y,
                                  const PoolRows<Accumulate<T>>& pools,
                                  Lanes<Accumulate<T>>* maxima, Lanes<Accumulate<T>>* averages,
                                  Lanes<Accumulate<T>>* sum) {
  using A = Accumulate<T>;
  const Chosen<T> chosen{edge, block, z.channels, z.pixels() * S * S};
  const T* h = chosen.plane(a);
  const Lanes<A> scale = chosen.scale(a);
  const auto has = [&](int operation) { return kAll || edge.active.has(operation); };
  if (kAll || edge.active.pools > 0)
    pools.template row<S>(h, z.height * S, z.width * S, scale, y, maxima, averages);
  const Lanes<A> real = real_lanes<A>(z.lanes(block)), skip_factor = mix.skip * scale;
  const auto row = [&](int operation) {
    if (!has(operation)) return h;  // not read
    if (S == 1 && operation == kSkip) return h + y * z.width * kLanes;
    const T* planes = stored_planes(edge, z, norm_of(operation), block);
    return planes + (a * z.pixels() + y * z.width) * kLanes;
  };
  const T *sep3 = row(kSep3), *sep5 = row(kSep5), *dil3 = row(kDil3), *dil5 = row(kDil5);
  const T* skip = row(kSkip);
  const SkipDropout dropout(edge.dropout);
  const int64_t place = ((block * z.selected + a) * z.pixels() + y * z.width) * kLanes;
  for (int64_t x = 0; x < z.width; ++x) {
    const int64_t at = x * kLanes;
    const auto pooled = [&](int operation, const Lanes<A>* values) {
      return has(operation) ? mix.of(norm_of(operation), values[x]) : Lanes<A>{};
    };
    const auto stored = [&](int operation, const T* values) {
      return has(operation) ? mix.of(norm_of(operation), load(values + at)) : Lanes<A>{};
    };
    const auto skipped = [&] {
      if (S == 2 || !has(kSkip)) return stored(kSkip, skip);
      const Lanes<A> value = skip_factor * load(skip + at);
      return dropout.share == 0 ? value : value * kept_lanes<A>(dropout, place + at);
    };
    sum[x] += real * (pooled(kMaxPool, maxima) + pooled(kAvgPool, averages) + skipped() +
                      stored(kSep3, sep3) + stored(kSep5, sep5) + stored(kDil3, dil3) +
                      stored(kDil5, dil5));
  }
}

template <int S, class T, class... Rest>
ADARTS_INLINE void add_chosen(const Edge<T>& edge, const Rest&... rest) {
  if (edge.active.all())
    add_chosen_row<S, true>(edge, rest...);
  else if (edge.active.operations > 1)
    add_chosen_row<S, false>(edge, rest...);
}

template <class T>
ADARTS_INLINE void add_passing_row(const Edge<T>& edge, const Sizes& z, int64_t block, int64_t r,
                                   int64_t y, Lanes<Accumulate<T>>* sum) {
  using A = Accumulate<T>;
  const int64_t in_width = z.width * edge.stride;
  const T* h =
      edge.state + block * edge.state_block + r * z.pixels() * edge.stride * edge.stride * kLanes;
  Lanes<A> factor = splat(edge.beta == nullptr ? A(1) : *edge.beta);
  if (edge.scale != nullptr) factor *= load(edge.scale + (block * z.channels + r) * kLanes);
  if (edge.stride == 1) {
    for (int64_t x = 0; x < z.width; ++x) {
      will_read(h + ((y + 1) * z.width + x) * kLanes);
      sum[x] += factor * load(h + (y * z.width + x) * kLanes);
    }
  } else {
    for (int64_t x = 0; x < z.width; ++x) sum[x] += factor * maximum_of_four(h, in_width, y, x);
  }
}

template <class T>
void node(const Node<T>& node, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const Group<T>& group = node.group;
  const Sizes& z = group.sizes;
  const PoolRows<A> pools(z.width), wide_pools(2 * z.width);
  Scratch<A> maxima(z.width), averages(z.width), sum(z.width);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task / z.channels, q = task % z.channels;
    T* out = node.out + block * node.out_block + q * z.pixels() * kLanes;
    std::vector<Mix<T>> mixes;
    for (int e = 0; e < group.edges; ++e) {
      const int64_t a = group.edge[e].source[q];
      mixes.emplace_back(group.edge[e], z.selected, a < 0 ? 0 : a);
    }
    for (int64_t y = 0; y < z.height; ++y) {
      T* row = out + y * z.width * kLanes;
      for (int64_t x = 0; x < z.width; ++x) sum[x] = node.add ? load(row + x * kLanes) : Lanes<A>{};
      for (int e = 0; e < group.edges; ++e) {
        const Edge<T>& edge = group.edge[e];
        const int64_t a = edge.source[q];
        if (a < 0)
          add_passing_row(edge, z, block, -1 - a, y, sum);
        else if (edge.stride == 1)
          add_chosen<1>(edge, z, block, a, mixes[e], y, pools, maxima, averages, sum);
        else
          add_chosen<2>(edge, z, block, a, mixes[e], y, wide_pools, maxima, averages, sum);
      }
      for (int64_t x = 0; x < z.width; ++x) {
        will_write(row + (z.width + x) * kLanes);
        store(row + x * kLanes, sum[x]);
      }
    }
  }
}
