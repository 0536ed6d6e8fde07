// Pools of a state and the gradient that comes back to it. A task is one channel of one block.

template <class T>
void pool_state(const State<T>& state, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const int64_t pixels = state.height * state.width;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task / state.channels, r = task % state.channels;
    const T* h = state.h + block * state.h_block + r * pixels * kLanes;
    typename LanesOf<A>::Mask position{};
    Lanes<A> maximum = load(h);
    Wide total{};
    for (int64_t first = 0; first < pixels; first += 64) {
      Lanes<A> sum{};
      for (int64_t p = first; p < first + 64 && p < pixels; ++p) {
        const Lanes<A> value = load(h + p * kLanes);
        sum += value;
        const auto higher = (value > maximum) | (value != value);  // as torch's max pooling
        position = higher ? typename LanesOf<A>::Mask{} + typename LanesOf<A>::Bits(p) : position;
        maximum = higher ? value : maximum;
      }
      total += widen(sum);
    }
    store(state.average + task * kLanes, __builtin_convertvector(total / double(pixels), Lanes<A>));
    store(state.maximum + task * kLanes, maximum);
    for (int lane = 0; lane < kLanes; ++lane)
      state.position[task * kLanes + lane] = int32_t(position[lane]);
  }
}

template <class T>
void state_backward(const StateBackward<T>& backward, int64_t begin, int64_t end) {
  using A = Accumulate<T>;
  const State<T>& state = backward.state;
  const Group<T>& group = backward.group;
  const Sizes& z = group.sizes;
  const int64_t height = state.height, width = state.width, pixels = height * width;
  Scratch<A> sum(2 * width);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task / state.channels, r = task % state.channels;
    T* dh = backward.dh + block * backward.dh_block + r * pixels * kLanes;
    const T* h = state.h + block * state.h_block + r * pixels * kLanes;
    const T* start =
        backward.add ? dh
        : backward.grad_out == nullptr
            ? nullptr
            : backward.grad_out + block * backward.grad_out_block + r * pixels * kLanes;
    Lanes<A> to_all{}, to_maximum{}, factors[kGroup];
    for (int e = 0; e < group.edges; ++e) {
      const Edge<T>& edge = group.edge[e];
      const int64_t at = (block * state.channels + r) * kLanes;
      factors[e] = edge.scale == nullptr ? splat(A(1)) : load(edge.scale + at);
      if (edge.target[r] < 0 && edge.beta != nullptr) factors[e] *= splat(*edge.beta);
      if (edge.grad_pools == nullptr) continue;
      to_all += load(edge.grad_pools + at);
      to_maximum += load(edge.grad_pools + state.blocks * state.channels * kLanes + at);
    }
    to_all /= splat(A(pixels));
    const bool pooled = group.edges > 0 && group.edge[0].grad_pools != nullptr;
    for (int64_t y = 0; y < height; y += 2) {  // two rows of sums stay in the first-level cache
      const int64_t first = y * width, count = (y + 1 < height ? 2 : 1) * width;
      for (int64_t p = 0; p < count; ++p)
        sum[p] = to_all + (start == nullptr ? Lanes<A>{} : load(start + (first + p) * kLanes));
      for (int e = 0; e < group.edges; ++e) {
        const Edge<T>& edge = group.edge[e];
        const int64_t a = edge.target[r];
        const Lanes<A> factor = factors[e];
        const T* from = a >= 0
                            ? edge.dx + (block * z.selected + a) * pixels * kLanes
                            : edge.grad + block * edge.grad_block + (-1 - a) * z.pixels() * kLanes;
        if (a < 0 && edge.stride == 2) {
          for (int64_t x = 0; x < z.width; ++x) {
            const Lanes<A> maximum = maximum_of_four(h, width, y / 2, x);
            Lanes<A> left = factor * load(from + (y / 2 * z.width + x) * kLanes);
            for (const int64_t tap : {int64_t(0), int64_t(1), width, width + 1}) {
              const auto wins = load(h + (first + 2 * x + tap) * kLanes) == maximum;
              sum[2 * x + tap] += wins ? left : Lanes<A>{};
              left = wins ? Lanes<A>{} : left;
            }
          }
          continue;
        }
        for (int64_t p = 0; p < count; ++p) {
          will_read(from + (first + p + count) * kLanes);
          sum[p] += factor * load(from + (first + p) * kLanes);
        }
      }
      for (int lane = 0; pooled && lane < kLanes; ++lane) {
        const int64_t p = state.position[task * kLanes + lane] - first;
        if (p >= 0 && p < count) sum[p][lane] += to_maximum[lane];
      }
      for (int64_t p = 0; p < count; ++p) {
        will_write(dh + (first + p + count) * kLanes);
        store(dh + (first + p) * kLanes, sum[p]);
      }
    }
  }
}
