// Depthwise and pointwise convolutions of image blocks and their gradients.
//
// A padded plane is one channel with a border of kPad zeros, so that no tap needs a test. A tap of
// output (y, x) lies at (y * S + dy * D - P, x * S + dx * D - P) with P = D * (K / 2).

constexpr int64_t kPad = 4;  // the padding of a 5x5 convolution of dilation 2

inline int64_t padded(int64_t size) { return size + 2 * kPad; }

// Clears the borders of padded planes.
template <class A>
ADARTS_INLINE void clear_borders(Lanes<A>* planes, int64_t count, int64_t height, int64_t width) {
  const int64_t pitch = padded(width), plane = padded(height) * pitch;
  for (int64_t i = 0; i < count; ++i, planes += plane) {
    std::memset(static_cast<void*>(planes), 0, (kPad * pitch + kPad) * sizeof(Lanes<A>));
    for (int64_t y = 0; y + 1 < height; ++y)  // the end of a row and the beginning of the next
      std::memset(static_cast<void*>(planes + (y + kPad + 1) * pitch - kPad), 0,
                  2 * kPad * sizeof(Lanes<A>));
    std::memset(static_cast<void*>(planes + (height + kPad) * pitch - kPad), 0,
                (kPad * pitch + kPad) * sizeof(Lanes<A>));
  }
}

// Where the first tap of a depthwise convolution's output (0, 0) lies in a padded plane.
template <int K, int D>
ADARTS_INLINE int64_t first_tap(int64_t pitch) {
  return (kPad - D * (K / 2)) * (pitch + 1);
}

// How a result goes to where it is wanted.
enum Put { kSet, kAdd };

template <int K, int D, int S, Put put, int X, class A>
ADARTS_INLINE void depthwise_run(const Lanes<A>* in, int64_t pitch, const A* w, Lanes<A>* out) {
  Lanes<A> sum[X] = {};
  ADARTS_UNROLL(5)
  for (int dy = 0; dy < K; ++dy) {
    ADARTS_UNROLL(5)
    for (int dx = 0; dx < K; ++dx) {
      const Lanes<A> weight = splat(w[dy * K + dx]);
      ADARTS_UNROLL(8)
      for (int x = 0; x < X; ++x) sum[x] += weight * in[dy * D * pitch + dx * D + x * S];
    }
  }
  ADARTS_UNROLL(8)
  for (int x = 0; x < X; ++x) out[x] = put == kAdd ? out[x] + sum[x] : sum[x];
}

// A row of outputs; `in` is the first tap of the first of them.
template <int K, int D, int S, Put put, class A>
ADARTS_OUTLINE void depthwise_row(const Lanes<A>* in, int64_t pitch, const A* w, int64_t width,
                                  Lanes<A>* out) {
  int64_t x = 0;
  for (; x + 8 <= width; x += 8) depthwise_run<K, D, S, put, 8, A>(in + x * S, pitch, w, out + x);
  for (; x + 4 <= width; x += 4) depthwise_run<K, D, S, put, 4, A>(in + x * S, pitch, w, out + x);
  for (; x < width; ++x) depthwise_run<K, D, S, put, 1, A>(in + x * S, pitch, w, out + x);
}

// Adds the gradient of a depthwise convolution's input to the padded plane dx: `dv` is a padded
// plane at stride 1, where this is a convolution with the reversed weights.
template <int K, int D, int S, class A>
ADARTS_OUTLINE void depthwise_transposed(const Lanes<A>* dv, int64_t dv_pitch, const A* w,
                                         int64_t height, int64_t width, Lanes<A>* dx,
                                         int64_t pitch) {
  if constexpr (S == 1) {
    A reversed[K * K];
    for (int tap = 0; tap < K * K; ++tap) reversed[tap] = w[K * K - 1 - tap];
    for (int64_t y = 0; y < height; ++y)
      depthwise_row<K, D, 1, kAdd, A>(dv + first_tap<K, D>(dv_pitch) + y * dv_pitch, dv_pitch,
                                      reversed, width, dx + (y + kPad) * pitch + kPad);
  } else {
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        const Lanes<A> g = dv[(y + kPad) * dv_pitch + kPad + x];
        Lanes<A>* to = dx + first_tap<K, D>(pitch) + y * S * pitch + x * S;
        ADARTS_UNROLL(5)
        for (int dy = 0; dy < K; ++dy) ADARTS_UNROLL(5)
        for (int dx = 0; dx < K; ++dx) to[dy * D * pitch + dx * D] += w[dy * K + dx] * g;
      }
    }
  }
}

// dw[tap] += sum of dv * in over a plane, both padded.
template <int K, int D, int S, class A>
ADARTS_OUTLINE void depthwise_weights(const Lanes<A>* dv, int64_t dv_pitch, const Lanes<A>* in,
                                      int64_t pitch, int64_t height, int64_t width, A* dw) {
  Wide total[K * K] = {};
  const int64_t rows = 128 / width > 0 ? 128 / width : 1;  // summed in A at a time
  for (int64_t first = 0; first < height; first += rows) {
    Lanes<A> sum[K * K] = {};
    for (int64_t y = first; y < first + rows && y < height; ++y) {
      const Lanes<A>* g = dv + (y + kPad) * dv_pitch + kPad;
      const Lanes<A>* from = in + first_tap<K, D>(pitch) + y * S * pitch;
      for (int64_t x = 0; x < width; ++x) {
        const Lanes<A> gradient = g[x];
        ADARTS_UNROLL(5)
        for (int dy = 0; dy < K; ++dy) ADARTS_UNROLL(5)
        for (int dx = 0; dx < K; ++dx)
          sum[dy * K + dx] += gradient * from[dy * D * pitch + dx * D + x * S];
      }
    }
    for (int tap = 0; tap < K * K; ++tap) total[tap] += widen(sum[tap]);
  }
  for (int tap = 0; tap < K * K; ++tap) dw[tap] += A(sum_lanes(total[tap]));
}

// Between the rows of a tile: an odd number of cache lines, so that they fall on different sets.
inline int64_t tile_stride(int64_t pixels) { return pixels | 1; }

// put(o, p, sum_i w[o * out_step + i * in_step] * in[i][p]) for the parts p of a run of pixels. A
// few parts of all inputs stay in the first-level cache for all outputs. beside() is called between
// the products.
template <int O, int P, class A, class Beside, class Put>
ADARTS_INLINE void pointwise_tile(const A* w, int64_t out_step, int64_t in_step, int64_t ins,
                                  const Part<A>* in, int64_t in_stride, const Beside& beside,
                                  const Put& put) {
  Part<A> sum[O][P] = {};
  for (int64_t i = 0; i < ins; ++i) {
    beside();
    ADARTS_UNROLL(8)
    for (int a = 0; a < O; ++a) {
      const Part<A> factor = w[a * out_step + i * in_step] - Part<A>{};
      ADARTS_UNROLL(8)
      for (int b = 0; b < P; ++b) sum[a][b] += factor * in[i * in_stride + b];
    }
  }
  ADARTS_UNROLL(8)
  for (int a = 0; a < O; ++a) ADARTS_UNROLL(8)
  for (int b = 0; b < P; ++b) put(a, b, sum[a][b]);
}

template <class A, class Beside, class Put>
ADARTS_INLINE void pointwise_each(const A* w, int64_t out_step, int64_t in_step, int64_t outs,
                                  int64_t ins, const Lanes<A>* in, int64_t in_stride,
                                  int64_t pixels, const Beside& beside, const Put& put) {
  const Part<A>* parts = parts_of<A>(in);
  const auto run = [&]<int P>(int64_t p) {
    int64_t o = 0;
    const auto tile = [&]<int O>() {
      for (; o + O <= outs; o += O)
        pointwise_tile<O, P, A>(w + o * out_step, out_step, in_step, ins, parts + p,
                                in_stride * kParts<A>, beside,
                                [&](int a, int b, Part<A> sum) { put(o + a, p + b, sum); });
    };
    if constexpr (ADARTS_REGISTERS >= 32) tile.template operator()<8>();
    tile.template operator()<4>();
    tile.template operator()<1>();
  };
  int64_t p = 0;
  for (; p + 3 <= pixels * kParts<A>; p += 3) run.template operator()<3>(p);
  for (; p < pixels * kParts<A>; ++p) run.template operator()<1>(p);
}

// Puts them into rows of vectors.
template <class A>
struct PutParts {
  Lanes<A>* out;
  int64_t stride;

  ADARTS_INLINE void operator()(int64_t o, int64_t p, Part<A> sum) const {
    parts_of<A>(out + o * stride)[p] = sum;
  }
};

// out[o] = sum_i w[o * out_step + i * in_step] * in[i] over a run of pixels.
template <class A>
ADARTS_OUTLINE void pointwise(const A* w, int64_t out_step, int64_t in_step, int64_t outs,
                              int64_t ins, const Lanes<A>* in, int64_t in_stride, int64_t pixels,
                              Lanes<A>* out, int64_t out_stride) {
  pointwise_each<A>(
      w, out_step, in_step, outs, ins, in, in_stride, pixels, [] {}, PutParts<A>{out, out_stride});
}

// add(o * ins + i, sum over the pixels of du[o] * in[i]), a part whose elements are still to be
// summed.
template <class A, class Add>
ADARTS_OUTLINE void pointwise_weights(const Lanes<A>* du, int64_t du_stride, int64_t outs,
                                      const Lanes<A>* in, int64_t in_stride, int64_t ins,
                                      int64_t pixels, const Add& add) {
  constexpr int kColumns = ADARTS_REGISTERS >= 32 ? 4 : 2;
  const Part<A>*du_parts = parts_of<A>(du), *in_parts = parts_of<A>(in);
  const auto tile = [&]<int O, int I>(int64_t o, int64_t i) {
    Part<A> sum[O][I] = {};
    for (int64_t p = 0; p < pixels * kParts<A>; ++p) {
      Part<A> from[I];
      ADARTS_UNROLL(4)
      for (int b = 0; b < I; ++b) from[b] = in_parts[(i + b) * in_stride * kParts<A> + p];
      ADARTS_UNROLL(4)
      for (int a = 0; a < O; ++a) {
        const Part<A> gradient = du_parts[(o + a) * du_stride * kParts<A> + p];
        ADARTS_UNROLL(4)
        for (int b = 0; b < I; ++b) sum[a][b] += gradient * from[b];
      }
    }
    ADARTS_UNROLL(4)
    for (int a = 0; a < O; ++a) ADARTS_UNROLL(4)
    for (int b = 0; b < I; ++b) add((o + a) * ins + i + b, sum[a][b]);
  };
  const auto columns = [&]<int I>(int64_t i) {
    int64_t o = 0;
    for (; o + 4 <= outs; o += 4) tile.template operator()<4, I>(o, i);
    for (; o < outs; ++o) tile.template operator()<1, I>(o, i);
  };
  int64_t i = 0;
  for (; i + kColumns <= ins; i += kColumns) columns.template operator()<kColumns>(i);
  for (; i < ins; ++i) columns.template operator()<1>(i);
}

// Adds them to vectors: less work for a tile, and more in the end.
template <class A>
struct AddParts {
  Lanes<A>* sums;

  ADARTS_INLINE void operator()(int64_t at, Part<A> sum) const { *parts_of<A>(sums + at) += sum; }
};

// dw += the sums over the lanes.
template <class A>
ADARTS_INLINE void add_lane_sums(const Lanes<A>* vectors, int64_t count, A* dw) {
  for (int64_t i = 0; i < count; ++i) dw[i] += A(sum_lanes(vectors[i]));
}
