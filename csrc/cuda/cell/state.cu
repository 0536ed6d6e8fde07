// The pools of the inputs, average and maximum by channel and image, and the gradient that comes
// back to a state: d state = the sum over the edges that leave it of score * dx (chosen channels)
// or beta * score * g (those that pass by), and of the pools' own shares.
//
// A thread holds a quad of images of some pixels of one channel. One reading of the state serves
// the attention of all its edges, and the gradient is written once, whatever the number of edges.
#include "../device/reduce.cuh"
#include "launchers.cuh"
#include "plane_pools.cuh"

namespace adarts::cuda {

namespace {

constexpr int kPoolQuads = 2;  // of a thread block
constexpr int kPoolImages = kPoolQuads * kQuad;

// Average and maximum of a channel, with the maximum's first position, for each image.
//
// Two thread blocks share a plane of a channel (blockIdx.x) of a state (z) and a block of images,
// each for 8 of its images (y): twice as many blocks, and still whole sectors of 32 bytes. Of 256
// threads two hold a pixel. Sums and peaks go through shuffles in a warp and through shared memory
// between warps. Bytes: reads the states once, writes 12 bytes for every image and channel.
template <class T>
__global__ void __launch_bounds__(kCellThreads, 3) pool_states_kernel(const States<T> states) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  const State<T>& state = states.state[blockIdx.z];
  const int64_t plane = blockIdx.x, block = plane / state.channels, r = plane % state.channels;
  const int pixels = int(state.height * state.width);
  const int thread = threadIdx.x, local = thread % kPoolQuads;
  const int quad = int(blockIdx.y) * kPoolQuads + local;
  const T* h = state.h + block * state.h_block + r * pixels * kLanes + quad * kQuad;
  Quad<A> sum{};
  Peak<A> peak[kQuad];
  for (Peak<A>& one : peak) one = no_peak<A>();
  constexpr int kStep = kCellThreads / kPoolQuads, kAtOnce = 4;
#pragma unroll 1
  for (int first = thread / kPoolQuads; first < pixels; first += kAtOnce * kStep) {
    Quad<A> values[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int p = first + k * kStep;
      values[k] = load_quad(h + (p < pixels ? p : first) * kLanes);
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int p = first + k * kStep;
      const bool inside = p < pixels;  // always, of the first
      for (int i = 0; i < kQuad; ++i) {
        sum[i] += inside ? values[k][i] : A(0);
        if (peak[i].position == INT_MAX) peak[i] = {values[k][i], p};
        peak[i].take(inside ? values[k][i] : -std::numeric_limits<A>::infinity(), p);
      }
    }
  }
  const auto put = [&](int image, double total, const Peak<A>& best) {
    const int64_t out = plane * kLanes + blockIdx.y * kPoolImages + image;
    state.average[out] = A(total / double(pixels));
    state.maximum[out] = best.value;
    state.position[out] = best.position;
  };
  join_pools<kPoolImages>(spread_sums<kPoolQuads>(sum.value), spread_peaks<kPoolQuads>(peak), put);
}

// What an edge brings back to pixel (y, x) of a channel that it lets pass by at stride 2: the
// gradient of the pixel's 2x2 window, if the pixel is the first that holds the maximum.
template <class T>
__device__ __forceinline__ Quad<Accumulate<T>> unpooled(const T* h, int width, int y, int x,
                                                        Quad<Accumulate<T>> g) {
  const T* corner = h + (int64_t(y / 2 * 2) * width + x / 2 * 2) * kLanes;
  const auto own = load_quad(h + (int64_t(y) * width + x) * kLanes);
  const int place = y % 2 * 2 + x % 2;
#pragma unroll
  for (int tap = 0; tap < 4; ++tap) {
    const auto other = load_quad(corner + (int64_t(tap / 2) * width + tap % 2) * kLanes);
    for (int i = 0; i < kQuad; ++i)
      if (other[i] > own[i] || (tap < place && other[i] == own[i])) g[i] = 0;
  }
  return g;
}

// dh = start + d average / pixels, + d maximum at its position, + for each edge M * dx of a chosen
// channel or beta * M * g of one that passes by.
//
// A thread block makes 64 pixels (blockIdx.x) of one channel (y) of one block of images of one
// state (z), a thread a pixel's four images over all edges. Bytes: reads a plane of `start` and one
// of every edge (and at stride 2 one of h), writes dh once.
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8   ? 1
                                                : sizeof(T) == 4 ? 3
                                                                 : 4)
    state_backward_kernel(const StatesBackward<T> states) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  ADARTS_SHARED(int, targets, kGroup);  // of the edges: the channel's
  const unsigned blocks = unsigned(states.group.sizes.blocks);
  const auto& backward = states.one[blockIdx.z / blocks];
  const State<T>& state = backward.state;
  const Group<T>& group = states.group;
  const int first = backward.first, edges = backward.end - first;
  const Sizes& z = group.sizes;
  const int width = int(state.width), quad = int(threadIdx.x) % kQuads;
  const int64_t pixels = state.height * state.width, block = blockIdx.z % blocks, r = blockIdx.y;
  const int pixel = int(blockIdx.x) * (kCellThreads / kQuads) + int(threadIdx.x) / kQuads;
  // before the first of them is waited for
  if (int(threadIdx.x) < edges) targets[threadIdx.x] = group.edge[first + threadIdx.x].target[r];
  __syncthreads();
  if (pixel >= pixels) return;
  const int64_t at = (r * pixels + pixel) * kLanes + quad * kQuad;  // in the block of images
  const int64_t plane = (block * state.channels + r) * kLanes + quad * kQuad;
  T* dh = backward.dh + block * backward.dh_block + at;
  Quad<A> sum{};
  if (backward.add)
    sum = load_quad(dh);
  else if (backward.grad_out != nullptr)
    sum = load_quad(backward.grad_out + block * backward.grad_out_block + at);
  const bool pooled = edges > 0 && group.edge[first].grad_pools != nullptr;  // all, or none
  Quad<A> to_average{}, to_maximum{};
  Pack<int32_t, kQuad> position;
  if (pooled) position = load<kQuad>(state.position + plane);
#pragma unroll 1
  for (int e = 0; e < edges; ++e) {
    const Edge<T>& edge = group.edge[first + e];
    Quad<A> average{}, maximum{};
    if (pooled) {
      average = load_quad(edge.grad_pools + plane);
      maximum = load_quad(edge.grad_pools + state.blocks * state.channels * kLanes + plane);
    }
    Quad<A> factor = edge.scale == nullptr ? splat(A(1)) : load_quad(edge.scale + plane);
    const int a = targets[e];
    Quad<A> value;
    if (a >= 0) {
      value =
          load_quad(edge.dx + ((block * z.selected + a) * pixels + pixel) * kLanes + quad * kQuad);
    } else {
      if (edge.beta != nullptr) factor = *edge.beta * factor;
      const int y = pixel / width, x = pixel % width;
      const int64_t from = edge.stride == 1 ? pixel : y / 2 * z.width + x / 2;
      value = load_quad(edge.grad + block * edge.grad_block +
                        ((-1 - a) * z.pixels() + from) * kLanes + quad * kQuad);
      if (edge.stride == 2)
        value = unpooled(state.h + block * state.h_block + r * pixels * kLanes + quad * kQuad,
                         width, y, x, value);
    }
    sum.add(factor, value);
    to_average += average;
    to_maximum += maximum;
  }
  if (pooled) {
    sum.add(A(1) / A(pixels), to_average);
    for (int i = 0; i < kQuad; ++i) sum[i] += position[i] == pixel ? to_maximum[i] : A(0);
  }
  store_quad(dh, sum);
}

}  // namespace

template <class T>
cudaError_t pool_states(const States<T>& states, cudaStream_t stream) {
  const State<T>& first = states.state[0];
  const dim3 grid(first.blocks * first.channels, kQuads / kPoolQuads, states.count);
  return launch_dependent(pool_states_kernel<T>, grid, dim3(kCellThreads), 0, stream, states);
}

template <class T>
cudaError_t state_backward(const StatesBackward<T>& states, cudaStream_t stream) {
  const State<T>& state = states.one[0].state;
  const dim3 grid(divide_up(state.height * state.width, kCellThreads / kQuads), state.channels,
                  state.blocks * states.count);
  return launch_dependent(state_backward_kernel<T>, grid, dim3(kCellThreads), 0, stream, states);
}

#define ADARTS_INSTANTIATE(T)                                       \
  template cudaError_t pool_states(const States<T>&, cudaStream_t); \
  template cudaError_t state_backward(const StatesBackward<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)

}  // namespace adarts::cuda
