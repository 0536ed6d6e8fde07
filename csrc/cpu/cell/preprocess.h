// A cell's preprocessing: ReLU, 1x1 convolution, BatchNorm. A task is one band of one block; it
// goes tile by tile, each packed so that the convolution is a product of small dense matrices. The
// channels' planes are so many streams that reading them, and not the products, would take most of
// the time: a tile is packed a few lines at a time beside the products for the tile before, and
// asked for from memory while that one is packed.

constexpr int64_t kTile = 24;        // pixels
constexpr int64_t kTileStride = 25;  // see tile_stride
constexpr int64_t kPacked = 3;       // pixels of a channel that are packed at a time

// Some pixels of a task, for the output channels that see the same pixels of `in`. A task of no
// pixels has a tile of none.
template <class T>
class Tile {
 public:
  Tile(const Preprocess<T>& z, int64_t task) : task(task), z_(&z) { begin_at(begin()); }

  int64_t block() const { return task / kBands; }
  int64_t channels() const { return z_->channels / z_->stride; }
  int64_t channel() const { return group_ * channels(); }
  bool ends_task() const { return first + count == end() && group_ + 1 == z_->stride; }

  // The one after this, or this one where the task before `tasks_end` ends.
  Tile next(int64_t tasks_end) const {
    Tile made = *this;
    if (first + count < end()) {
      made.begin_at(first + count);
    } else if (!ends_task()) {
      ++made.group_;
      made.begin_at(begin());
    } else if (task + 1 < tasks_end) {
      made = Tile(*z_, task + 1);
    }
    return made;
  }

  int64_t task, first, count;  // pixels first ... first + count - 1
  int64_t source[kTile] = {};  // where each is taken from in a plane of `in`, in elements

 private:
  int64_t begin() const { return z_->band_begin(task % kBands); }
  int64_t end() const { return z_->band_begin(task % kBands + 1); }
  void begin_at(int64_t pixel) {
    first = pixel;
    count = end() - first < kTile ? end() - first : kTile;
    for (int64_t p = 0; p < count; ++p) source[p] = z_->source(first + p, group_ == 1) * kLanes;
  }

  const Preprocess<T>* z_;
  int64_t group_ = 0;
};

// Packs relu(in) of a tile: (in_channels, kTile), rows kTileStride apart.
template <class T>
class Pack {
 public:
  using A = Accumulate<T>;

  Pack(const Preprocess<T>& z, const Tile<T>& tile, const Tile<T>& next, Lanes<A>* to)
      : tile_(tile),
        next_(next),
        plane_(z.pixels() * z.stride * z.stride * kLanes),
        from_(z.in + tile.block() * z.in_block),
        next_from_(z.in + next.block() * z.in_block),
        grad_(z.grad_in == nullptr ? nullptr : z.grad_in + tile.block() * z.in_channels * plane_),
        to_(to),
        end_(to + z.in_channels * kTileStride) {}

  // The next kPacked pixels of a channel. Asks for the same of the tile after it, and for where the
  // gradient of `in` goes.
  ADARTS_INLINE void some() {
    if (to_ == end_) return;
    const int64_t last = p_ + kPacked < tile_.count ? p_ + kPacked : tile_.count;
    for (; p_ < last; ++p_) {
      will_read(next_from_ + next_.source[p_]);
      if (grad_ != nullptr) will_write(grad_ + tile_.source[p_]);
      to_[p_] = relu(load(from_ + tile_.source[p_]));
    }
    if (p_ < tile_.count) return;
    p_ = 0;
    to_ += kTileStride;
    from_ += plane_;
    next_from_ += plane_;
    if (grad_ != nullptr) grad_ += plane_;
  }
  ADARTS_INLINE void rest() {
    while (to_ != end_) some();
  }

 private:
  const Tile<T>&tile_, &next_;
  int64_t plane_, p_ = 0;
  const T *from_, *next_from_;
  T* grad_;
  Lanes<A>*to_, *end_;
};

// Calls f(tile, in, beside) for each tile of some tasks; f calls beside() during its products.
template <class T, class F>
ADARTS_INLINE void each_tile(const Preprocess<T>& z, int64_t begin, int64_t end, const F& f) {
  using A = Accumulate<T>;
  const Scratch<A> memory(2 * z.in_channels * kTileStride);
  Lanes<A>*in = memory, *next_in = in + z.in_channels * kTileStride;
  const int64_t every = z.channels / z.stride / 8;  // so that it is done when the products are
  Tile<T> tile(z, begin), next = tile.next(end);
  Pack<T>(z, tile, next, in).rest();
  for (bool more = true; more; std::swap(in, next_in)) {
    const Tile<T> after = next.next(end);
    Pack<T> pack(z, next, after, next_in);
    int64_t left = every;
    f(tile, static_cast<const Lanes<A>*>(in), [&] {
      if (--left > 0) return;
      left = every;
      pack.some();
    });
    pack.rest();
    more = !(tile.ends_task() && tile.task + 1 == end);
    tile = next;
    next = after;
  }
}

template <class T>
void preprocess(const Preprocess<T>& z, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  Scratch<A> out(z.channels * kTileStride);
  Scratch<double> moments(2 * z.channels);
  moments.clear(2 * z.channels);
  each_tile(z, begin, end, [&](const Tile<T>& tile, const Lanes<A>* in, const auto& beside) {
    const int64_t outs = tile.channels();
    if (tile.count > 0) {
      pointwise_each<A>(z.weights + tile.channel() * z.in_channels, z.in_channels, 1, outs,
                        z.in_channels, in, kTileStride, tile.count, beside,
                        PutParts<A>{out, kTileStride});
      T* h = z.h + tile.block() * z.channels * z.pixels() * kLanes;
      KeepTile<T>{h, z.pixels(), moments, z.channels}(out, kTileStride, outs, tile.first,
                                                      tile.count, tile.channel());
    }
    if (!tile.ends_task()) return;
    double* to = z.partial + tile.task * 2 * z.channels;
    for (int64_t i = 0; i < 2 * z.channels; ++i) to[i] = sum_lanes(moments[i]);
    moments.clear(2 * z.channels);
  });
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

// d L / d u of the output channels of a tile: (channels, kTile), rows kTileStride apart.
template <class T>
ADARTS_INLINE void preprocess_gradient(const Preprocess<T>& z, const Tile<T>& tile,
                                       Lanes<Accumulate<T>>* du) {
  using A = Accumulate<T>;
  const Lanes<A> real = real_lanes<A>(z.lanes(tile.block()));
  for (int64_t i = 0; i < tile.channels(); ++i) {
    // h is its own u_hat: mean 0, rstd 1, and the true rstd in front.
    const int64_t a = tile.channel() + i;
    const LanesGradient<A> combine(
        norm_gradient(A(1), A(0), A(1), z.sums[a], z.sums[z.channels + a], z.count(), z.training),
        real);
    const Lanes<A> rstd = splat(z.norms[kRstd * z.channels + a]);
    const T* h = z.h + ((tile.block() * z.channels + a) * z.pixels() + tile.first) * kLanes;
    const T* g = z.grad + tile.block() * z.grad_block + (a * z.pixels() + tile.first) * kLanes;
    for (int64_t p = 0; p < tile.count; ++p) {
      will_read(g + (p + kTile) * kLanes);
      will_read(h + (p + kTile) * kLanes);
      du[i * kTileStride + p] = rstd * combine(load(g + p * kLanes), load(h + p * kLanes));
    }
  }
}

template <class T>
void preprocess_backward(const Preprocess<T>& z, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const int64_t in_plane = z.pixels() * z.stride * z.stride * kLanes;
  const int64_t weights = z.channels * z.in_channels;
  Scratch<A> du(z.channels * kTileStride);
  if (z.grad_weights != nullptr)
    std::memset(z.grad_weights + begin * weights, 0, (end - begin) * weights * sizeof(A));
  each_tile(z, begin, end, [&](const Tile<T>& tile, const Lanes<A>* in, const auto& beside) {
    const int64_t outs = tile.channels(), first_weight = tile.channel() * z.in_channels;
    preprocess_gradient(z, tile, du);
    if (z.grad_weights != nullptr) {  // too many for a vector each
      A* dw = z.grad_weights + tile.task * weights + first_weight;
      pointwise_weights<A>(du, kTileStride, outs, in, kTileStride, z.in_channels, tile.count,
                           [dw](int64_t at, Part<A> sum) { dw[at] += sum_halves(sum); });
    }
    if (z.grad_in == nullptr) return;
    T* to = z.grad_in + tile.block() * z.in_channels * in_plane;
    const Part<A>* seen = parts_of<A>(in);
    pointwise_each<A>(z.weights + first_weight, 1, z.in_channels, z.in_channels, outs, du,
                      kTileStride, tile.count, beside, [&](int64_t i, int64_t p, Part<A> sum) {
                        const int64_t at =
                            tile.source[p / kParts<A>] + p % kParts<A> * (kLanes / kParts<A>);
                        const auto passes = seen[i * kTileStride * kParts<A> + p] > 0;
                        store(to + i * in_plane + at, passes ? sum : Part<A>{});
                      });
  });
}
