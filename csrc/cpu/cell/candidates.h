// The candidates' convolutions, forward: first_half and second_half of csrc/cell.h. A task is one
// edge and one block of images.

// The chosen channels of a state: plane a of an edge is channel selected[a], times its score.
template <class T>
struct Chosen {
  using A = Accumulate<T>;
  const Edge<T>& edge;
  int64_t block, channels, in_pixels;

  const T* plane(int64_t a) const {
    return edge.state + block * edge.state_block + edge.selected[a] * in_pixels * kLanes;
  }
  Lanes<A> scale(int64_t a) const {
    if (edge.scale == nullptr) return splat(A(1));
    return load(edge.scale + (block * channels + edge.selected[a]) * kLanes);
  }
};

// Copies planes into padded ones through f(value, a).
template <class T, class F>
ADARTS_INLINE void fill_padded(const T* from, int64_t height, int64_t width,
                               Lanes<Accumulate<T>>* to, const F& f) {
  const int64_t pitch = padded(width);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      to[(y + kPad) * pitch + kPad + x] = f(load(from + (y * width + x) * kLanes));
}

// relu(x) of all chosen channels of an edge.
template <class T>
ADARTS_INLINE void fill_chosen(const Chosen<T>& chosen, int64_t count, int64_t in_height,
                               int64_t in_width, Lanes<Accumulate<T>>* planes) {
  const int64_t size = padded(in_height) * padded(in_width);
  for (int64_t a = 0; a < count; ++a) {
    const auto scale = chosen.scale(a);
    fill_padded(chosen.plane(a), in_height, in_width, planes + a * size,
                [&](auto v) { return relu(scale * v); });
  }
}

// Of a first half's BatchNorm: (u - mean) * rstd in real lanes.
template <class T>
struct Normalise {
  using A = Accumulate<T>;
  Lanes<A> rstd, mean;

  Normalise(const Edge<T>& edge, const Sizes& sizes, int norm, int64_t channel, int64_t block) {
    const A* statistic = edge.statistics(norm, sizes.selected, channel);
    rstd = splat(statistic[kRstd * sizes.selected]);
    mean = statistic[kMean * sizes.selected] * real_lanes<A>(sizes.lanes(block));
  }
  Lanes<A> operator()(Lanes<A> u) const { return rstd * (u - mean); }
};

// relu(BatchNorm(u)) of all channels.
template <class T>
ADARTS_INLINE void fill_first_half(const Edge<T>& edge, const Sizes& z, int norm, int64_t block,
                                   const T* u, Lanes<Accumulate<T>>* planes) {
  const int64_t size = padded(z.height) * padded(z.width);
  for (int64_t a = 0; a < z.selected; ++a) {
    const Normalise<T> normalise(edge, z, norm, a, block);
    fill_padded(u + a * z.pixels() * kLanes, z.height, z.width, planes + a * size,
                [&](auto v) { return relu(normalise(v)); });
  }
}

// u of a norm of an edge for a block of images: c planes.
template <class T>
ADARTS_INLINE T* stored_planes(const Edge<T>& edge, const Sizes& z, int norm, int64_t block) {
  const int64_t place = edge.active.stored_place(norm);
  return edge.u + (place * z.blocks + block) * z.selected * z.pixels() * kLanes;
}

// Rows of a tile whose `channels` planes fill the first-level cache at most to two thirds.
inline int64_t tile_rows(int64_t channels, int64_t width, int64_t height) {
  const int64_t rows = 512 / (channels * width);
  return rows < 1 ? 1 : rows < height ? rows : height;
}

// Keeps a tile of pre-BatchNorm outputs and adds to their moments.
template <class T>
struct KeepTile {
  using A = Accumulate<T>;
  T* u;  // (c, pixels)
  int64_t pixels;
  Wide* moments;  // (2, c)
  int64_t selected;

  ADARTS_INLINE void operator()(const Lanes<A>* tile, int64_t stride, int64_t outs, int64_t first,
                                int64_t count, int64_t channel = 0) const {
    for (int64_t o = 0; o < outs; ++o) {
      const Lanes<A>* from = tile + o * stride;
      T* to = u + ((channel + o) * pixels + first) * kLanes;
      add_moments<A>(from, count, &moments[channel + o], &moments[selected + channel + o],
                     [to, count](int64_t p, Lanes<A> value) {
                       will_write(to + (p + count) * kLanes);
                       store(to + p * kLanes, value);
                     });
    }
  }
};

// A depthwise convolution of padded planes: the rows y to last of all channels, `stride` apart.
template <int K, int D, int S, class A>
ADARTS_INLINE void depthwise_tile(const Lanes<A>* in, const Sizes& z, const A* weights, int64_t y,
                                  int64_t last, Lanes<A>* out, int64_t stride) {
  const int64_t pitch = padded(z.width * S), plane = padded(z.height * S) * pitch;
  for (int64_t a = 0; a < z.selected; ++a) {
    const Lanes<A>* from = in + a * plane + first_tap<K, D>(pitch);
    for (int64_t r = y; r < last; ++r)
      depthwise_row<K, D, S, kSet, A>(from + r * S * pitch, pitch, weights + a * K * K, z.width,
                                      out + a * stride + (r - y) * z.width);
  }
}

// ReLU done, depthwise and pointwise convolution of padded planes.
template <int K, int D, int S, class T>
ADARTS_INLINE void convolve(const Lanes<Accumulate<T>>* in, const Sizes& z,
                            const Accumulate<T>* depthwise, const KeepTile<T>& keep) {
  using A = Accumulate<T>;
  const int64_t c = z.selected, rows = tile_rows(c, z.width, z.height);
  const int64_t stride = tile_stride(rows * z.width);
  Scratch<A> v(c * stride), u(c * stride);
  for (int64_t y = 0; y < z.height; y += rows) {
    const int64_t last = y + rows < z.height ? y + rows : z.height, count = (last - y) * z.width;
    depthwise_tile<K, D, S, A>(in, z, depthwise, y, last, v, stride);
    pointwise<A>(depthwise + c * K * K, c, 1, c, c, v, stride, count, u, stride);
    keep(u, stride, c, y * z.width, count);
  }
}

// A tile of the pixels that one convolution of FactorizedReduce takes: `shift` 0 the even ones, 1
// the odd ones.
template <class A>
ADARTS_INLINE void take_every_second(const Lanes<A>* in, int64_t plane, int64_t pitch,
                                     int64_t channels, int64_t first_row, int64_t last_row,
                                     int64_t width, int64_t shift, Lanes<A>* out, int64_t stride) {
  for (int64_t a = 0; a < channels; ++a)
    for (int64_t y = first_row; y < last_row; ++y)
      for (int64_t x = 0; x < width; ++x)
        out[a * stride + (y - first_row) * width + x] =
            in[a * plane + (2 * y + shift + kPad) * pitch + kPad + 2 * x + shift];
}

template <class T>
ADARTS_INLINE void factorized_reduce(const Lanes<Accumulate<T>>* in, const Sizes& z,
                                     const Accumulate<T>* weights, const KeepTile<T>& keep) {
  using A = Accumulate<T>;
  const int64_t c = z.selected, pitch = padded(z.width * 2), half = c / 2;
  const int64_t plane = padded(z.height * 2) * pitch;
  const int64_t rows = tile_rows(c, z.width, z.height), stride = tile_stride(rows * z.width);
  Scratch<A> v(c * stride), u(half * stride);
  for (int64_t shift = 0; shift < 2; ++shift)
    for (int64_t y = 0; y < z.height; y += rows) {
      const int64_t last = y + rows < z.height ? y + rows : z.height, count = (last - y) * z.width;
      take_every_second<A>(in, plane, pitch, c, y, last, z.width, shift, v, stride);
      pointwise<A>(weights + shift * half * c, c, 1, half, c, v, stride, count, u, stride);
      keep(u, stride, half, y * z.width, count, shift * half);
    }
}

// Adds the lanes of a task's moments into its part.
template <class T>
ADARTS_INLINE void put_moments(const Group<T>& group, int64_t e, int64_t block,
                               const Wide* moments) {
  const int64_t rows = moment_rows(group.sizes.selected);
  double* to = group.partial + (e * group.parts + block) * rows;
  for (int64_t i = 0; i < rows; ++i) to[i] = sum_lanes(moments[i]);
}

template <int S, class T>
void first_half_task(const Group<T>& group, int64_t e, int64_t block) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[e];
  const int64_t c = z.selected, in_height = z.height * S, in_width = z.width * S;
  const Chosen<T> chosen{edge, block, z.channels, in_height * in_width};
  const EdgeWeights at = z.weights(edge.active);
  Scratch<double> moments(moment_rows(c));
  moments.clear(moment_rows(c));

  const bool maximal = edge.active.has(kMaxPool), averaged = edge.active.has(kAvgPool);
  const PoolRows<A> pools(in_width);
  Scratch<A> maxima(z.width), averages(z.width);
  for (int64_t a = 0; (maximal || averaged) && a < c; ++a) {
    for (int64_t y = 0; y < z.height; ++y) {
      pools.template row<S>(chosen.plane(a), in_height, in_width, chosen.scale(a), y, maxima,
                            averages);
      Wide *maximum = moments + kNormMax * 2 * c + a, *average = moments + kNormAvg * 2 * c + a;
      if (maximal) add_moments<A>(maxima, z.width, maximum, maximum + c);
      if (averaged) add_moments<A>(averages, z.width, average, average + c);
    }
  }
  if (!edge.active.convolves()) return put_moments(group, e, block, moments);

  Scratch<A> input(c * padded(in_height) * padded(in_width));
  clear_borders<A>(input, c, in_height, in_width);
  fill_chosen(chosen, c, in_height, in_width, input);
  const auto keep = [&](int norm) {
    return KeepTile<T>{stored_planes(edge, z, norm, block), z.pixels(), moments + norm * 2 * c, c};
  };
  const auto through = [&]<int K, int D>(int norm) {
    if (edge.active.has_norm(norm))
      convolve<K, D, S, T>(input, z, edge.weights + at.depthwise(norm), keep(norm));
  };
  through.template operator()<3, 1>(kNormSep3First);
  through.template operator()<5, 1>(kNormSep5First);
  through.template operator()<3, 2>(kNormDil3);
  through.template operator()<5, 2>(kNormDil5);
  if constexpr (S == 2)
    if (edge.active.has(kSkip))
      factorized_reduce<T>(input, z, edge.weights + at.skip(), keep(kNormSkip));
  put_moments(group, e, block, moments);
}

template <class T>
void first_half(const Group<T>& group, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    const int64_t e = task / group.sizes.blocks, block = task % group.sizes.blocks;
    if (group.edge[e].stride == 1)
      first_half_task<1>(group, e, block);
    else
      first_half_task<2>(group, e, block);
  }
}

template <class T>
void second_half(const Group<T>& group, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  const int64_t c = z.selected;
  Scratch<A> input(c * padded(z.height) * padded(z.width));
  clear_borders<A>(input, c, z.height, z.width);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t e = task / z.blocks, block = task % z.blocks;
    const Edge<T>& edge = group.edge[e];
    const EdgeWeights at = z.weights(edge.active);
    Scratch<double> moments(moment_rows(c));
    moments.clear(moment_rows(c));
    const auto half = [&]<int K>(int first, int second) {
      if (!edge.active.has_norm(second)) return;
      fill_first_half(edge, z, first, block, stored_planes(edge, z, first, block), input);
      convolve<K, 1, 1, T>(
          input, z, edge.weights + at.depthwise(second),
          {stored_planes(edge, z, second, block), z.pixels(), moments + second * 2 * c, c});
    };
    half.template operator()<3>(kNormSep3First, kNormSep3);
    half.template operator()<5>(kNormSep5First, kNormSep5);
    put_moments(group, e, block, moments);
  }
}
