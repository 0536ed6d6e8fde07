// d L / d x of the chosen channels of an edge, through all its operations, and with it the gradient
// of the first convolutions' weights and of the scores. A task is one edge and one block of images.

// Adds to the padded plane dx what comes back through the two pools of one channel. The maximum's
// gradient goes to the first pixel that holds it, as in torch.
template <int S, class T>
ADARTS_INLINE void pools_backward(const T* h, const Sizes& z, Lanes<Accumulate<T>> scale,
                                  const T* g, const LanesGradient<Accumulate<T>>& maximum_gradient,
                                  const LanesGradient<Accumulate<T>>& average_gradient,
                                  const PoolRows<Accumulate<T>>& pools,
                                  Lanes<Accumulate<T>>* maxima, Lanes<Accumulate<T>>* averages,
                                  Lanes<Accumulate<T>>* bordered, Lanes<Accumulate<T>>* dx) {
  using A = Accumulate<T>;
  const int64_t in_height = z.height * S, in_width = z.width * S;
  const int64_t pitch = padded(in_width), step = in_width + 2;
  for (int64_t y = 0; y < in_height; ++y)  // its border holds minus infinity
    for (int64_t x = 0; x < in_width; ++x)
      bordered[(y + 1) * step + x + 1] = load(h + (y * in_width + x) * kLanes);
  for (int64_t y = 0; y < z.height; ++y) {
    pools.template row<S>(h, in_height, in_width, splat(A(1)), y, maxima, averages);
    const int64_t rows = 3 - (y == 0) - (y * S == in_height - 1);
    for (int64_t x = 0; x < z.width; ++x) {
      const int64_t columns = 3 - (x == 0) - (x * S == in_width - 1);
      const Lanes<A> gradient = load(g + (y * z.width + x) * kLanes);
      const Lanes<A> to_maximum = maximum_gradient(gradient, scale * maxima[x]);
      const Lanes<A> to_all =
          average_gradient(gradient, scale * averages[x]) * (A(1) / A(rows * columns));
      const Lanes<A>* from = bordered + y * S * step + x * S;
      Lanes<A>* to = dx + (y * S + kPad - 1) * pitch + x * S + kPad - 1;
      Lanes<A> left = to_maximum;  // zero once the winner was found
      ADARTS_UNROLL(3)
      for (int dy = 0; dy < 3; ++dy) ADARTS_UNROLL(3)
      for (int tap = 0; tap < 3; ++tap) {
        const auto wins = from[dy * step + tap] == maxima[x];
        to[dy * pitch + tap] += to_all + (wins ? left : Lanes<A>{});
        left = wins ? Lanes<A>{} : left;
      }
    }
  }
}

// Backward of skip_connect at stride 2: adds to dx, padded planes before their ReLU.
template <class T, class Du>
ADARTS_INLINE void factorized_reduce_backward(const Lanes<Accumulate<T>>* in, const Sizes& z,
                                              const Accumulate<T>* weights, const Du& du,
                                              Lanes<Accumulate<T>>* dx, Accumulate<T>* dw) {
  using A = Accumulate<T>;
  const int64_t c = z.selected, half = c / 2, pitch = padded(z.width * 2);
  const int64_t plane = padded(z.height * 2) * pitch;
  const int64_t rows = tile_rows(c, z.width, z.height), stride = tile_stride(rows * z.width);
  Scratch<A> v(c * stride), gradient(half * stride), sums(c * c);
  sums.clear(c * c);
  for (int64_t shift = 0; shift < 2; ++shift)
    for (int64_t y = 0; y < z.height; y += rows) {
      const int64_t last = y + rows < z.height ? y + rows : z.height, count = (last - y) * z.width;
      for (int64_t o = 0; o < half; ++o)
        du(shift * half + o, gradient + o * stride, y * z.width, count);
      pointwise<A>(weights + shift * half * c, 1, c, c, half, gradient, stride, count, v, stride);
      for (int64_t i = 0; i < c; ++i)
        for (int64_t p = 0; p < count; ++p) {
          const int64_t r = y + p / z.width, x = p % z.width;
          dx[i * plane + (2 * r + shift + kPad) * pitch + kPad + 2 * x + shift] +=
              v[i * stride + p];
        }
      if (dw == nullptr) continue;
      take_every_second<A>(in, plane, pitch, c, y, last, z.width, shift, v, stride);
      pointwise_weights<A>(gradient, stride, half, v, stride, c, count,
                           AddParts<A>{sums + shift * half * c});
    }
  if (dw != nullptr) add_lane_sums<A>(sums, c * c, dw);
}

template <int S, class T>
void first_half_backward_task(const Group<T>& group, int64_t e, int64_t block) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[e];
  const EdgeWeights at = z.weights(edge.active);
  const int64_t c = z.selected, pixels = z.pixels();
  const int64_t in_height = z.height * S, in_width = z.width * S, pitch = padded(in_width);
  const int64_t plane = padded(in_height) * pitch;
  const Chosen<T> chosen{edge, block, z.channels, in_height * in_width};
  A* dw = weights_part(group, e, block);
  const auto g = [&](int64_t a) {
    return edge.grad + block * edge.grad_block + edge.output[a] * pixels * kLanes;
  };

  Scratch<A> input(c * plane), dx(c * plane);
  dx.clear(c * plane);
  if (edge.active.convolves()) {
    clear_borders<A>(input, c, in_height, in_width);
    fill_chosen(chosen, c, in_height, in_width, input);
    Scratch<A> dv(c * padded(z.height) * padded(z.width));
    clear_borders<A>(dv, c, z.height, z.width);
    const auto combine = [&](const auto& coefficients, const T* from, const T* u, Lanes<A>* tile,
                             int64_t count) {
      for (int64_t p = 0; p < count; ++p)
        tile[p] = coefficients(load(from + p * kLanes), load(u + p * kLanes));
    };
    const auto through = [&]<int K, int D>(int norm, const auto& du) {
      if (!edge.active.has_norm(norm)) return;
      const int64_t offset = at.depthwise(norm);
      convolve_backward<K, D, S, A>(input, z, edge.weights + offset, du, dv, dx,
                                    dw == nullptr ? nullptr : dw + offset);
    };
    const auto from_q = [&](int sep, int norm) {
      return [&, sep, norm](int64_t a, Lanes<A>* tile, int64_t first, int64_t count) {
        const int64_t place = edge.active.q_place(sep);
        const T* q = edge.q + (((place * z.blocks + block) * c + a) * pixels + first) * kLanes;
        const T* u = stored_planes(edge, z, norm, block) + (a * pixels + first) * kLanes;
        combine(first_gradient(edge, z, sep, a, block), q, u, tile, count);
      };
    };
    const auto from_node = [&](int operation) {
      return [&, operation](int64_t a, Lanes<A>* tile, int64_t first, int64_t count) {
        const T* u =
            stored_planes(edge, z, norm_of(operation), block) + (a * pixels + first) * kLanes;
        combine(operation_gradient(edge, z, operation, a, block), g(a) + first * kLanes, u, tile,
                count);
      };
    };
    through.template operator()<3, 1>(kNormSep3First, from_q(0, kNormSep3First));
    through.template operator()<5, 1>(kNormSep5First, from_q(1, kNormSep5First));
    through.template operator()<3, 2>(kNormDil3, from_node(kDil3));
    through.template operator()<5, 2>(kNormDil5, from_node(kDil5));
    if constexpr (S == 2)
      if (edge.active.has(kSkip))
        factorized_reduce_backward<T>(input, z, edge.weights + at.skip(), from_node(kSkip), dx,
                                      dw == nullptr ? nullptr : dw + at.skip());
  }

  const PoolRows<A> pools(in_width);
  const int64_t step = in_width + 2;
  Scratch<A> maxima(z.width), averages(z.width), bordered(step * (in_height + 2));
  for (int64_t i = 0; i < step * (in_height + 2); ++i)
    bordered[i] = splat(-std::numeric_limits<A>::infinity());
  for (int64_t a = 0; a < c; ++a) {
    Lanes<A>*d = dx + a * plane, *r = input + a * plane;
    for (int64_t i = 0; edge.active.convolves() && i < plane; ++i)
      d[i] = r[i] > 0 ? d[i] : Lanes<A>{};
    const T* h = chosen.plane(a);
    const auto of_pool = [&](int operation) {
      return edge.active.has(operation) ? operation_gradient(edge, z, operation, a, block)
                                        : LanesGradient<A>::none();
    };
    if (edge.active.pools > 0)
      pools_backward<S>(h, z, chosen.scale(a), g(a), of_pool(kMaxPool), of_pool(kAvgPool), pools,
                        maxima, averages, bordered, d);
    const A beta = edge.beta == nullptr ? A(1) : *edge.beta;
    const A skip = edge.active.has(kSkip) ? edge.alphas[kSkip] * beta : A(0);
    const SkipDropout dropout(edge.dropout);
    const int64_t place = (block * c + a) * z.pixels() * kLanes;
    T* out = edge.dx + (block * c + a) * in_height * in_width * kLanes;
    Wide total{};
    for (int64_t y = 0; y < in_height; ++y) {
      Lanes<A> sum{};
      for (int64_t x = 0; x < in_width; ++x) {
        const int64_t p = (y * in_width + x) * kLanes;
        Lanes<A> value = d[(y + kPad) * pitch + kPad + x];
        if (S == 1 && dropout.share == 0)
          value += skip * load(g(a) + p);
        else if (S == 1)
          value += skip * load(g(a) + p) * kept_lanes<A>(dropout, place + p);
        will_write(out + p + in_width * kLanes);
        store(out + p, value);
        sum += value * load(h + p);
      }
      total += widen(sum);
    }
    if (edge.grad_scale != nullptr)
      store(edge.grad_scale + (block * z.channels + edge.selected[a]) * kLanes,
            __builtin_convertvector(total, Lanes<A>));
  }
}

template <class T>
void first_half_backward(const Group<T>& group, int64_t begin, int64_t end) {
  for (int64_t task = begin; task < end; ++task) {
    const int64_t e = task / group.sizes.blocks, block = task % group.sizes.blocks;
    if (group.edge[e].stride == 1)
      first_half_backward_task<1>(group, e, block);
    else
      first_half_backward_task<2>(group, e, block);
  }
}
