// The candidates' convolutions and pools, backward. A task is one edge and one block of images. du
// is formed tile by tile from g (or q), u and the sums; depthwise outputs are computed again for
// the gradient of the pointwise weights.

// d L / d u of one norm and channel as a combination of vectors.
template <class A>
struct LanesGradient {
  Lanes<A> factor, offset, slope, mean;

  LanesGradient(const Gradient<A>& g, Lanes<A> real)
      : factor(splat(g.factor)),
        offset(g.offset * real),
        slope(splat(g.slope)),
        mean(g.mean * real) {}
  static LanesGradient none() { return {Gradient<A>{}, Lanes<A>{}}; }  // of what is left out
  ADARTS_INLINE Lanes<A> operator()(Lanes<A> g, Lanes<A> u) const {
    return factor * (g - offset) + slope * (u - mean);
  }
};

// Of an operation that ends in a norm: from the node's gradient.
template <class T>
ADARTS_INLINE LanesGradient<Accumulate<T>> operation_gradient(const Edge<T>& edge, const Sizes& z,
                                                              int operation, int64_t a,
                                                              int64_t block) {
  using A = Accumulate<T>;
  const int64_t c = z.selected;
  const A* statistic = edge.statistics(norm_of(operation), c, a);
  const A scale = edge.alphas[operation] * (edge.beta == nullptr ? A(1) : *edge.beta);
  return {norm_gradient(scale, statistic[kMean * c], statistic[kRstd * c], edge.sums[a],
                        edge.sums[operation * c + a], z.count(), z.training),
          real_lanes<A>(z.lanes(block))};
}

// Of the first half of a separable convolution (sep 0 or 1): from q.
template <class T>
ADARTS_INLINE LanesGradient<Accumulate<T>> first_gradient(const Edge<T>& edge, const Sizes& z,
                                                          int sep, int64_t a, int64_t block) {
  using A = Accumulate<T>;
  const int64_t c = z.selected;
  const int norm = sep == 0 ? kNormSep3First : kNormSep5First;
  const A* statistic = edge.statistics(norm, c, a);
  return {norm_gradient(A(1), statistic[kMean * c], statistic[kRstd * c],
                        edge.first_sums[2 * sep * c + a], edge.first_sums[(2 * sep + 1) * c + a],
                        z.count(), z.training),
          real_lanes<A>(z.lanes(block))};
}

// Backward of depthwise (K, D, S) and pointwise convolution. `du(a, tile, first, count)` gives a
// tile of d L / d u of channel a. Adds to the padded planes dx; dw is null where nobody asks.
template <int K, int D, int S, class A, class Du>
ADARTS_INLINE void convolve_backward(const Lanes<A>* in, const Sizes& z, const A* depthwise,
                                     const Du& du, Lanes<A>* dv, Lanes<A>* dx, A* dw) {
  const int64_t c = z.selected, pitch = padded(z.width * S), dv_pitch = padded(z.width);
  const int64_t plane = padded(z.height * S) * pitch, dv_plane = padded(z.height) * dv_pitch;
  const int64_t rows = tile_rows(c, z.width, z.height), stride = tile_stride(rows * z.width);
  const A* weights = depthwise + c * K * K;
  Scratch<A> gradient(c * stride), v(c * stride), sums(c * c);
  sums.clear(c * c);
  for (int64_t y = 0; y < z.height; y += rows) {
    const int64_t last = y + rows < z.height ? y + rows : z.height, count = (last - y) * z.width;
    for (int64_t a = 0; a < c; ++a) du(a, gradient + a * stride, y * z.width, count);
    for (int64_t r = y; r < last; ++r)  // rows of dv are padded
      pointwise<A>(weights, 1, c, c, c, gradient + (r - y) * z.width, stride, z.width,
                   dv + (r + kPad) * dv_pitch + kPad, dv_plane);
    if (dw == nullptr) continue;
    depthwise_tile<K, D, S, A>(in, z, depthwise, y, last, v, stride);
    pointwise_weights<A>(gradient, stride, c, v, stride, c, count, AddParts<A>{sums});
  }
  for (int64_t a = 0; a < c; ++a) {
    depthwise_transposed<K, D, S, A>(dv + a * dv_plane, dv_pitch, depthwise + a * K * K, z.height,
                                     z.width, dx + a * plane, pitch);
    if (dw != nullptr)
      depthwise_weights<K, D, S, A>(dv + a * dv_plane, dv_pitch, in + a * plane, pitch, z.height,
                                    z.width, dw + a * K * K);
  }
  if (dw != nullptr) add_lane_sums<A>(sums, c * c, dw + c * K * K);
}

// The part of a task's gradient of weights, or null.
template <class T>
ADARTS_INLINE Accumulate<T>* weights_part(const Group<T>& group, int64_t e, int64_t block) {
  const Edge<T>& edge = group.edge[e];
  if (edge.grad_weights == nullptr) return nullptr;
  return edge.grad_weights + block * group.sizes.weights(edge.active).count(edge.stride);
}

template <class T>
void second_half_backward(const Group<T>& group, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  const int64_t c = z.selected, pitch = padded(z.width), plane = padded(z.height) * pitch;
  const int64_t pixels = z.pixels();
  Scratch<A> input(c * plane), dv(c * plane), dx(c * plane);
  clear_borders<A>(input, c, z.height, z.width);
  clear_borders<A>(dv, c, z.height, z.width);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t e = task / z.blocks, block = task % z.blocks;
    const Edge<T>& edge = group.edge[e];
    const EdgeWeights at = z.weights(edge.active);
    A* dw = weights_part(group, e, block);
    double* sums = group.partial + (e * group.parts + block) * first_rows(c);
    const auto half = [&]<int K>(int sep, int operation, int first, int second) {
      if (!edge.active.has(operation)) return;
      const T* u1 = stored_planes(edge, z, first, block);
      const T* u2 = stored_planes(edge, z, second, block);
      fill_first_half(edge, z, first, block, u1, input);
      dx.clear(c * plane);
      const int64_t offset = at.depthwise(second);
      const auto du = [&](int64_t a, Lanes<A>* tile, int64_t from, int64_t count) {
        const auto combine = operation_gradient(edge, z, operation, a, block);
        const T* g =
            edge.grad + block * edge.grad_block + (edge.output[a] * pixels + from) * kLanes;
        const T* u = u2 + (a * pixels + from) * kLanes;
        for (int64_t p = 0; p < count; ++p)
          tile[p] = combine(load(g + p * kLanes), load(u + p * kLanes));
      };
      convolve_backward<K, 1, 1, A>(input, z, edge.weights + offset, du, dv, dx,
                                    dw == nullptr ? nullptr : dw + offset);
      for (int64_t a = 0; a < c; ++a) {
        T* q = edge.q + ((edge.active.q_place(sep) * z.blocks + block) * c + a) * pixels * kLanes;
        const T* u = u1 + a * pixels * kLanes;
        const A mean = edge.statistics(first, c, a)[kMean * c];
        Wide total{}, product{};
        for (int64_t y = 0; y < z.height; ++y) {
          const int64_t row = a * plane + (y + kPad) * pitch + kPad;
          Lanes<A> s{}, su{};
          for (int64_t x = 0; x < z.width; ++x) {
            const int64_t p = (y * z.width + x) * kLanes;
            const Lanes<A> value = input[row + x] > 0 ? dx[row + x] : Lanes<A>{};
            will_write(q + p + z.width * kLanes);
            store(q + p, value);
            s += value;
            su += value * (load(u + p) - mean);
          }
          total += widen(s);
          product += widen(su);
        }
        sums[2 * sep * c + a] = sum_lanes(total);
        sums[(2 * sep + 1) * c + a] = sum_lanes(product);
      }
    };
    half.template operator()<3>(0, kSep3, kNormSep3First, kNormSep3);
    half.template operator()<5>(1, kSep5, kNormSep5First, kNormSep5);
  }
}
