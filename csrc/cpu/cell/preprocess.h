// A cell's preprocessing: ReLU, 1x1 convolution, BatchNorm. A task is one band of one block; it
// goes tile by tile, each packed so that the convolution is a product of small dense matrices.

constexpr int64_t kTile = 32;        // pixels
constexpr int64_t kTileStride = 33;  // see tile_stride

// relu(in) of a tile: (in_channels, kTile), rows kTileStride apart.
template <class T>
ADARTS_INLINE void pack_tile(const Preprocess<T>& z, int64_t block, bool odd, int64_t first,
                             int64_t count, Lanes<Accumulate<T>>* to) {
  const int64_t in_pixels = z.pixels() * z.stride * z.stride;
  for (int64_t i = 0; i < z.in_channels; ++i) {
    const T* from = z.in + block * z.in_block + i * in_pixels * kLanes;
    for (int64_t p = 0; p < count; ++p)
      to[i * kTileStride + p] = relu(load(from + z.source(first + p, odd) * kLanes));
  }
}

// Calls f(first pixel, count, odd, first output channel, output channels) for each tile of a task.
template <class T, class F>
ADARTS_INLINE void each_tile(const Preprocess<T>& z, int64_t band, const F& f) {
  const int64_t groups = z.stride, outs = z.channels / groups;
  for (int64_t group = 0; group < groups; ++group)
    for (int64_t p = z.band_begin(band); p < z.band_begin(band + 1); p += kTile) {
      const int64_t left = z.band_begin(band + 1) - p;
      f(p, left < kTile ? left : kTile, group == 1, group * outs, outs);
    }
}

template <class T>
void preprocess(const Preprocess<T>& z, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  Scratch<A> in(z.in_channels * kTileStride), out(z.channels * kTileStride);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task / kBands;
    Scratch<double> moments(2 * z.channels);
    moments.clear(2 * z.channels);
    each_tile(z, task % kBands, [&](int64_t p, int64_t count, bool odd, int64_t o, int64_t outs) {
      pack_tile(z, block, odd, p, count, in);
      pointwise<A>(z.weights + o * z.in_channels, z.in_channels, 1, outs, z.in_channels, in,
                   kTileStride, count, out, kTileStride);
      KeepTile<T>{z.h + block * z.channels * z.pixels() * kLanes, z.pixels(), moments, z.channels}(
          out, kTileStride, outs, p, count, o);
    });
    double* to = z.partial + task * 2 * z.channels;
    for (int64_t i = 0; i < 2 * z.channels; ++i) to[i] = sum_lanes(moments[i]);
  }
}

// h = (u - mean) * rstd in place, in real lanes.
template <class T>
void preprocess_normalise(const Preprocess<T>& z, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task / kBands, band = task % kBands;
    const Lanes<A> real = real_lanes<A>(z.lanes(block));
    for (int64_t a = 0; a < z.channels; ++a) {
      T* h = z.h + (block * z.channels + a) * z.pixels() * kLanes;
      const Lanes<A> rstd = splat(z.norms[kRstd * z.channels + a]);
      const Lanes<A> mean = z.norms[kMean * z.channels + a] * real;
      for (int64_t p = z.band_begin(band); p < z.band_begin(band + 1); ++p)
        store(h + p * kLanes, rstd * (load(h + p * kLanes) - mean));
    }
  }
}

template <class T>
void preprocess_sums(const Preprocess<T>& z, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task / kBands, band = task % kBands;
    double* to = z.partial + task * 2 * z.channels;
    for (int64_t a = 0; a < z.channels; ++a) {
      const T* h = z.h + (block * z.channels + a) * z.pixels() * kLanes;
      const T* g = z.grad + block * z.grad_block + a * z.pixels() * kLanes;
      Wide total{}, product{};
      for (int64_t p = z.band_begin(band); p < z.band_begin(band + 1);) {
        Lanes<A> s{}, sh{};
        for (int64_t last = p + 64; p < last && p < z.band_begin(band + 1); ++p) {
          const Lanes<A> value = load(g + p * kLanes);
          s += value;
          sh += value * load(h + p * kLanes);
        }
        total += widen(s);
        product += widen(sh);
      }
      to[a] = sum_lanes(total);
      to[z.channels + a] = sum_lanes(product);
    }
  }
}

template <class T>
void preprocess_backward(const Preprocess<T>& z, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const int64_t in_pixels = z.pixels() * z.stride * z.stride;
  Scratch<A> in(z.in_channels * kTileStride), du(z.channels * kTileStride);
  Scratch<A> out(z.grad_in == nullptr ? 1 : z.in_channels * kTileStride);
  Scratch<A> sums(z.grad_weights == nullptr ? 1 : z.channels * z.in_channels);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task / kBands;
    const Lanes<A> real = real_lanes<A>(z.lanes(block));
    if (z.grad_weights != nullptr) sums.clear(z.channels * z.in_channels);
    each_tile(z, task % kBands, [&](int64_t p, int64_t count, bool odd, int64_t o, int64_t outs) {
      for (int64_t a = o; a < o + outs; ++a) {
        // h is its own u_hat: mean 0, rstd 1, and the true rstd in front.
        const LanesGradient<A> combine(norm_gradient(A(1), A(0), A(1), z.sums[a],
                                                     z.sums[z.channels + a], z.count(), z.training),
                                       real);
        const Lanes<A> rstd = splat(z.norms[kRstd * z.channels + a]);
        const T* h = z.h + ((block * z.channels + a) * z.pixels() + p) * kLanes;
        const T* g = z.grad + block * z.grad_block + (a * z.pixels() + p) * kLanes;
        for (int64_t x = 0; x < count; ++x)
          du[(a - o) * kTileStride + x] =
              rstd * combine(load(g + x * kLanes), load(h + x * kLanes));
      }
      pack_tile(z, block, odd, p, count, in);
      if (z.grad_weights != nullptr)
        pointwise_weights<A>(du, kTileStride, outs, in, kTileStride, z.in_channels, count,
                             sums + o * z.in_channels);
      if (z.grad_in == nullptr) return;
      pointwise<A>(z.weights + o * z.in_channels, 1, z.in_channels, z.in_channels, outs, du,
                   kTileStride, count, out, kTileStride);
      for (int64_t i = 0; i < z.in_channels; ++i) {
        T* to = z.grad_in + (block * z.in_channels + i) * in_pixels * kLanes;
        for (int64_t x = 0; x < count; ++x) {
          const int64_t at = i * kTileStride + x;
          store(to + z.source(p + x, odd) * kLanes, in[at] > 0 ? out[at] : Lanes<A>{});
        }
      }
    });
    if (z.grad_weights == nullptr) continue;
    A* dw = z.grad_weights + task * z.channels * z.in_channels;
    for (int64_t i = 0; i < z.channels * z.in_channels; ++i) dw[i] = A(sum_lanes(sums[i]));
  }
}
