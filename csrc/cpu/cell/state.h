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
  Scratch<A> sum(pixels);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t block = task / state.channels, r = task % state.channels;
    T* dh = backward.dh + block * backward.dh_block + r * pixels * kLanes;
    const T* start =
        backward.add ? dh
        : backward.grad_out == nullptr
            ? nullptr
            : backward.grad_out + block * backward.grad_out_block + r * pixels * kLanes;
    Lanes<A> to_all{}, to_maximum{};
    for (int e = 0; e < group.edges; ++e) {
      const A* pools = group.edge[e].grad_pools;
      if (pools == nullptr) continue;
      const int64_t at = (block * state.channels + r) * kLanes;
      to_all += load(pools + at);
      to_maximum += load(pools + (state.blocks * state.channels) * kLanes + at);
    }
    to_all /= splat(A(pixels));
    for (int64_t p = 0; p < pixels; ++p)
      sum[p] = to_all + (start == nullptr ? Lanes<A>{} : load(start + p * kLanes));
    for (int e = 0; e < group.edges; ++e) {
      const Edge<T>& edge = group.edge[e];
      Lanes<A> factor = splat(A(1));
      if (edge.scale != nullptr) factor = load(edge.scale + (block * z.channels + r) * kLanes);
      const int64_t a = edge.target[r];
      if (a >= 0) {
        const T* dx = edge.dx + (block * z.selected + a) * pixels * kLanes;
        for (int64_t p = 0; p < pixels; ++p) sum[p] += factor * load(dx + p * kLanes);
        continue;
      }
      if (edge.beta != nullptr) factor *= splat(*edge.beta);
      const T* g = edge.grad + block * edge.grad_block + (-1 - a) * z.pixels() * kLanes;
      if (edge.stride == 1) {
        for (int64_t p = 0; p < pixels; ++p) sum[p] += factor * load(g + p * kLanes);
        continue;
      }
      const T* h = state.h + block * state.h_block + r * pixels * kLanes;
      for (int64_t y = 0; y < z.height; ++y)
        for (int64_t x = 0; x < z.width; ++x) {
          const Lanes<A> maximum = maximum_of_four(h, width, y, x);
          Lanes<A> left = factor * load(g + (y * z.width + x) * kLanes);
          for (const int64_t tap : {int64_t(0), int64_t(1), width, width + 1}) {
            const int64_t p = 2 * y * width + 2 * x + tap;
            const auto wins = load(h + p * kLanes) == maximum;
            sum[p] += wins ? left : Lanes<A>{};
            left = wins ? Lanes<A>{} : left;
          }
        }
    }
    if (group.edges > 0 && group.edge[0].grad_pools != nullptr)
      for (int lane = 0; lane < kLanes; ++lane)
        sum[state.position[task * kLanes + lane]][lane] += to_maximum[lane];
    for (int64_t p = 0; p < pixels; ++p) store(dh + p * kLanes, sum[p]);
  }
}
