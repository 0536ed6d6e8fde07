// From the nodes' gradients g and the second halves' q to the gradient of the chosen channels x:
// dx = the sum over the operations of W^T du, each du = factor * (g - offset) + slope * (u - mean).
//
// first_pointwise_kernel makes, in parts of an edge's pixels, dv = W^T du of the convolutions and
// their weights' gradients; first_gather_kernel (first_gather.cuh) then makes dx, one thread a quad
// of images of a pixel, from all operations at once, so that dx is written once and needs no
// atomics. Bytes: each kernel says its own.
#include <algorithm>

#include "first_gather.cuh"
#include "launchers.cuh"
#include "pointwise_backward.cuh"
#include "pools.cuh"

namespace adarts::cuda {

namespace {

// The ways back that need a pass over du of all channels or windows before dx can be gathered.
enum Way { kWaySep3, kWaySep5, kWayDil3, kWayDil5, kWayPools, kWayEven, kWayOdd };
__host__ __device__ constexpr Norm norm_of_way(int way) {
  switch (way) {
    case kWaySep3:
      return kNormSep3First;
    case kWaySep5:
      return kNormSep5First;
    case kWayDil3:
      return kNormDil3;
    case kWayDil5:
      return kNormDil5;
    default:
      return kNormSkip;
  }
}

__host__ __device__ __forceinline__ bool is_active(const Active& active, int way) {
  return way == kWayPools ? active.pools > 0 : active.has_norm(norm_of_way(way));
}

// d L / d u of the first half of a separable convolution, from q and its sums.
template <class T>
__device__ __forceinline__ Gradient<Accumulate<T>> first_gradient(const Edge<T>& edge,
                                                                  const Sizes& z, Norm norm,
                                                                  int64_t a, double s0, double s1) {
  using A = Accumulate<T>;
  const A* statistic = edge.statistics(norm, z.selected, a);
  return norm_gradient(A(1), statistic[kMean * z.selected], statistic[kRstd * z.selected], s0, s1,
                       z.count(), z.training);
}

// d L / d u of a pool, nothing where it is not active.
template <class T>
__device__ __forceinline__ Gradient<Accumulate<T>> pool_gradient(const Edge<T>& edge,
                                                                 const Sizes& z, int operation,
                                                                 int64_t a) {
  if (!edge.active.has(operation)) return {};
  return operation_gradient(edge, z, operation, a);
}

// What each window of the two pools of a run's pixels gives back: to all its pixels, and to the
// first that holds the maximum.
template <class T, class Gradients>
__device__ __forceinline__ void put_pools(const Edge<T>& edge, const Sizes& z, int64_t block,
                                          const Run& run, Gradients gradients) {
  using A = Accumulate<T>;
  const int c = int(z.selected), quad = threadIdx.x % kQuads, width = int(z.width);
  const ChosenPlanes<T> chosen(edge, z, block, quad);
  const Quad<A> real = real_lanes<A>(z.lanes(block), quad);
  each_quad(run, c, [&](int a, int p, int) {
    const T* h = chosen.plane(a);
    const Quad<A> factor = chosen.factor(a);
    const Gradient<A> maximum = gradients[a], average = gradients[c + a];
    const int64_t at = int64_t(p) * kLanes + quad * kQuad;
    const Quad<A> g =
        load_quad(edge.grad + block * edge.grad_block + edge.output[a] * z.pixels() * kLanes + at);
    const int y = p / width * edge.stride, x = p % width * edge.stride;
    const Pools<A> pools =
        pools_at(h, chosen.height, chosen.width, edge.stride, p / width, p % width);
    Pack<uint8_t, kQuad> winner;
    for (int i = 0; i < kQuad; ++i) winner[i] = 9;  // nobody, where all is not a number
#pragma unroll
    for (int tap = 8; tap >= 0; --tap) {
      const int row = y + tap / 3 - 1, column = x + tap % 3 - 1;
      if (row < 0 || row >= chosen.height || column < 0 || column >= chosen.width) continue;
      const Quad<A> value = load_quad(h + (int64_t(row) * chosen.width + column) * kLanes);
      for (int i = 0; i < kQuad; ++i) winner[i] = value[i] == pools.maximum[i] ? tap : winner[i];
    }
    store_quad(
        edge.scratch + chosen_plane(z, edge.active.scratch_place(kScratchAverage), block, a) + at,
        pools.share * combine(average, g, factor * pools.average, real));
    store_quad(
        edge.scratch + chosen_plane(z, edge.active.scratch_place(kScratchMaximum), block, a) + at,
        combine(maximum, g, factor * pools.maximum, real));
    store(edge.winner + chosen_plane(z, 0, block, a) + at, winner);
  });
}

// dv = W^T du and dW = du v^T for the first halves of the four kinds of convolutions and, at stride
// 2, the two convolutions of skip_connect, whose v is relu(x) at every second pixel; and what the
// windows of the pools give back. dv of the separable convolutions takes the place of q.
//
// blockIdx.x is a part, blockIdx.y a way, blockIdx.z an edge. A block goes through its pixels run
// by run: its threads form du of all channels and v, where weights' gradients are asked for, in
// shared memory; from there each thread makes four channels of dv. The sums of q are added up from
// their parts by each block that needs them, a few kilobytes, which saves a launch. Bytes: per
// value of u it reads g or q and u and writes dv, and reads h through the first-level cache; the
// pools read g and h and write two values and a byte.
template <class T>
__global__ void __launch_bounds__(kCellThreads, kCellResident<T>)
    first_pointwise_kernel(const Group<T> group) {
  using A = Accumulate<T>;
  using Vector = Quad<A>;
  using Coefficients = Gradient<A>;
  ADARTS_SHARED(Vector, du, kPlaces<A>);
  ADARTS_SHARED(Vector, v, kPlaces<A>);
  ADARTS_SHARED(Coefficients, gradients, 2 * kMostChosen);
  ADARTS_SHARED(double, sums, 2 * kMostChosen);
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.z];
  const int way = blockIdx.y, c = int(z.selected), thread = threadIdx.x;
  if (!is_active(edge.active, way)) return;
  ADARTS_ASSERT(c <= kMostChosen);
  const Part part = part_of(z, blockIdx.x);
  const Norm norm = norm_of_way(way);
  const bool from_q = way == kWaySep3 || way == kWaySep5, half = way >= kWayEven;

  if (from_q)
    total_rows(group.partial + blockIdx.z * group.parts * first_rows(c), group.parts, first_rows(c),
               2 * way * c, 2 * c, sums);
  for (int a = thread; a < c; a += kCellThreads) {
    if (from_q) {
      gradients[a] = first_gradient(edge, z, norm, a, sums[a], sums[c + a]);
    } else if (way == kWayPools) {
      gradients[a] = pool_gradient(edge, z, kMaxPool, a);
      gradients[c + a] = pool_gradient(edge, z, kAvgPool, a);
    } else {
      gradients[a] = operation_gradient(edge, z, half ? kSkip : way == kWayDil3 ? kDil3 : kDil5, a);
    }
  }
  __syncthreads();
  if (way == kWayPools) {
    each_run<A>(part, c, [&](const Run& run) { put_pools(edge, z, part.block, run, gradients); });
    return;
  }

  const int quad = thread % kQuads, width = int(z.width);
  const int outs = half ? c / 2 : c, first_out = way == kWayOdd ? outs : 0;
  const int64_t pixels = z.pixels(), lanes = quad * kQuad;
  const EdgeWeights at = z.weights(edge.active);
  const int kernel = way == kWaySep3 || way == kWayDil3 ? 3 : 5;
  const int64_t pointwise = half ? at.skip() + first_out * c : at.pointwise(norm, kernel);
  const A* taps = edge.weights + (half ? 0 : at.depthwise(norm));
  A* dw = edge.grad_weights == nullptr
              ? nullptr
              : edge.grad_weights + blockIdx.x * at.count(edge.stride) + pointwise;
  const Quad<A> real = real_lanes<A>(z.lanes(part.block), quad);
  const T* u = stored_planes(edge, z, norm, part.block) + lanes;
  const int q = edge.active.q_place(way);  // if from_q
  const T* g = from_q ? edge.q + chosen_plane(z, q, part.block, 0) + lanes
                      : edge.grad + part.block * edge.grad_block + lanes;
  const int map = half ? kScratchEven + (way - kWayEven) : kScratchDil3 + (way - kWayDil3);
  const int place = from_q ? q : edge.active.scratch_place(map);
  T* dv = (from_q ? edge.q : edge.scratch) + chosen_plane(z, place, part.block, 0);
  const ChosenPlanes<T> chosen(edge, z, part.block, quad);
  each_run<A>(part, c, [&](const Run& run) {
    each_quad(run, outs, [&](int o, int p, int place) {
      const int a = first_out + o;
      const Coefficients gradient = gradients[a];
      const int64_t plane = from_q ? a : edge.output[a];
      du[place] = combine(gradient, load_quad(g + (plane * pixels + p) * kLanes),
                          load_quad(u + (a * pixels + p) * kLanes), real);
    });
    if (dw != nullptr)
      each_quad(run, c, [&](int a, int p, int place) {
        const int y = p / width, x = p % width;
        if (half) {
          const int64_t from =
              (2 * y + first_out / outs) * int64_t(chosen.width) + 2 * x + first_out / outs;
          v[place] = relu(chosen.factor(a) * load_quad(chosen.plane(a) + from * kLanes));
        } else if (kernel == 3) {
          v[place] = chosen.template convolve<3>(a, y, x, way == kWaySep3 ? 1 : 2, taps + a * 9);
        } else {
          v[place] = chosen.template convolve<5>(a, y, x, way == kWaySep5 ? 1 : 2, taps + a * 25);
        }
      });
    __syncthreads();
    put_dv(run, edge.weights + pointwise, outs, c, du, dv, pixels);
    if (dw != nullptr) add_pointwise_weights(run, outs, c, du, v, dw);
    __syncthreads();
  });
}

}  // namespace

template <class T>
cudaError_t first_half_backward(const Group<T>& group, cudaStream_t stream) {
  const Sizes& z = group.sizes;
  int ways = 0;  // up to the last one that an edge has
  for (int e = 0; e < group.edges; ++e)
    for (int way = ways; way <= kWayOdd; ++way)
      if (is_active(group.edge[e].active, way)) ways = way + 1;
  const bool weights = group.edge[0].grad_weights != nullptr;  // of all edges, or of none
  if (ways > 0) {
    const cudaError_t error =
        launch(first_pointwise_kernel<T>, dim3(group.parts, ways, group.edges), dim3(kCellThreads),
               0, stream, group);
    if (error != cudaSuccess) return error;
  }
  return launch(weights ? first_gather_kernel<true, T> : first_gather_kernel<false, T>,
                dim3(group.parts, team_groups(z), group.edges), dim3(kTeamThreads), 0, stream,
                group);
}

template cudaError_t first_half_backward(const Group<float>&, cudaStream_t);
template cudaError_t first_half_backward(const Group<double>&, cudaStream_t);
template cudaError_t first_half_backward(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
