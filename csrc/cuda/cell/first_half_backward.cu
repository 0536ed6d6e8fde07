// From the nodes' gradients g and the second halves' q to the gradient of the chosen channels x:
// dx = the sum over the operations of W^T du, each du = factor * (g - offset) + slope * (u - mean).
//
// first_pointwise_kernel makes, in parts of an edge's pixels, dv = W^T du of the convolutions and
// their weights' gradients; first_gather_kernel (first_gather.cuh) then makes dx, a thread a quad
// of images of two pixels, from all operations at once, so that dx is written once and needs no
// atomics. Bytes: each kernel says its own.
#include "first_gather.cuh"
#include "first_pointwise.cuh"
#include "launchers.cuh"
#include "pairs.cuh"
#include "pools.cuh"

namespace adarts::cuda {

namespace {

// The ways back that need a pass over du of all channels or windows before dx can be gathered.
enum Way { kWaySeparable, kWayDilated, kWayPools, kWayEven, kWayOdd };

__host__ __device__ __forceinline__ bool is_active(const Active& active, int way) {
  if (way == kWayPools) return active.pools > 0;
  return way > kWayPools ? active.has_norm(kNormSkip) : kernels_of(active, way == kWayDilated) != 0;
}

// d L / d u of the first half of a separable convolution, from q and its sums.
template <class T>
__device__ __forceinline__ Gradient<Accumulate<T>> first_gradient(const Edge<T>& edge,
                                                                  const Sizes& z, int norm,
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
  run.each(c, [&](int a, int place, int) {
    const int p = run.first + place / kQuads;
    const T* h = chosen.plane(a);
    const Quad<A> factor = chosen.factor(a);
    const Gradient<A> maximum = gradients[a], average = gradients[c + a];
    const int64_t at = run.offset(place);
    const Quad<A> g =
        load_quad(edge.grad + block * edge.grad_block + edge.output[a] * z.pixels() * kLanes + at);
    const Window<A> window =
        window_at(h, chosen.height, chosen.width, p / width * edge.stride, p % width * edge.stride);
    const Pools<A> pools = window.pools();
    Pack<uint8_t, kQuad> winner;
    for (int i = 0; i < kQuad; ++i) winner[i] = 9;  // nobody, where all is not a number
#pragma unroll
    for (int tap = 8; tap >= 0; --tap)
      if (window.inside(tap))
        for (int i = 0; i < kQuad; ++i)
          winner[i] = window.value[tap][i] == pools.maximum[i] ? tap : winner[i];
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
// by run: its threads form du of all channels and, where weights' gradients are asked for, v in
// shared memory, from where each thread makes a channel of dv at a time. The 3x3 and the 5x5
// convolution of a kind are one way, since the same loads serve both v. The sums of q are added up
// from their parts by each block that needs them, a few kilobytes, which saves a launch.
// Bytes: per value of u it reads g or q and u and writes dv, and reads h through the first-level
// cache; the pools read g and h and write two values and a byte.
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    first_pointwise_kernel(const Group<T> group) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Vector = Quad<A>;
  using Coefficients = Gradient<A>;
  ADARTS_SHARED(Vector, du, kPlaces<A>);
  ADARTS_SHARED(Vector, v, kPlaces<A>);
  ADARTS_SHARED(Coefficients, gradients, 2 * kMostChosen);
  ADARTS_SHARED(double, sums, kPlaces<A> / 2);
  ADARTS_SHARED(Back, convolution, 2);
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.z];
  const int way = blockIdx.y, c = int(z.selected), thread = threadIdx.x;
  if (!is_active(edge.active, way)) return;
  static_assert(kPlaces<A> / 2 >= 2 * kMostChosen);
  ADARTS_ASSERT(c <= kMostChosen);
  const Part part = part_of(z, blockIdx.x);
  if (way == kWayPools) {
    for (int a = thread; a < c; a += kCellThreads) {
      gradients[a] = pool_gradient(edge, z, kMaxPool, a);
      gradients[c + a] = pool_gradient(edge, z, kAvgPool, a);
    }
    __syncthreads();
    each_run<A>(part, c, [&](const Run& run) { put_pools(edge, z, part.block, run, gradients); });
    return;
  }

  const EdgeWeights at = z.weights(edge.active);
  const ChosenPlanes<T> chosen(edge, z, part.block, thread % kQuads);
  const bool from_q = way == kWaySeparable, half = way > kWayPools;
  const int odd = way == kWayOdd, outs = half ? c / 2 : c, first_out = odd * outs;
  const int norm_three = half ? kNormSkip : from_q ? kNormSep3First : kNormDil3;
  const int norm_five = from_q ? kNormSep5First : kNormDil5;
  const auto back = [&](bool five) -> Back {
    const int norm = five ? norm_five : norm_three;
    const int map = half     ? edge.active.scratch_place(odd ? kScratchOdd : kScratchEven)
                    : from_q ? edge.active.q_place(five)
                             : edge.active.scratch_place(five ? kScratchDil5 : kScratchDil3);
    const int64_t dv = chosen_plane(z, map, part.block, 0);
    const int64_t w = half ? at.skip() + first_out * c : at.pointwise(norm, five ? 5 : 3);
    return {from_q ? dv : part.block * edge.grad_block,
            chosen_plane(z, edge.active.stored_place(norm), part.block, first_out), dv, w,
            blockIdx.x * at.count(edge.stride) + w};
  };
  const auto plane_of = [&](int o) {
    return from_q ? int64_t(o) : int64_t(edge.output[first_out + o]);
  };

  for (int left = half ? int(kThree) : kernels_of(edge.active, !from_q); left != 0;) {
    const int kernels = left == kBoth && 2 * c * kQuads > kPlaces<A> ? int(kFive) : left;
    const int convolutions = kernels == kBoth ? 2 : 1;
    left -= kernels;
    if (from_q)
      total_rows(group.partial + blockIdx.z * group.parts * first_rows(c), group.parts,
                 first_rows(c), kernels == kFive ? 2 * c : 0, 2 * c * convolutions, sums);
    if (thread < 2) convolution[thread] = back(thread == 0 ? kernels != kThree : kernels == kFive);
    for (int i = thread; i < convolutions * outs; i += kCellThreads) {
      const int o = i < outs ? i : i - outs;
      const bool five = kernels != kThree && i < outs;
      if (from_q) {
        const int row = kernels == kBoth && five ? 2 * c : 0;  // the sums of 3x3 come first
        gradients[i] = first_gradient(edge, z, five ? norm_five : norm_three, o, sums[row + o],
                                      sums[row + c + o]);
      } else {
        const int operation = half ? kSkip : five ? kDil5 : kDil3;
        gradients[i] = operation_gradient(edge, z, operation, first_out + o);
      }
    }
    __syncthreads();
    const auto make_v = [&](const Run& run) {
      const Pairs pairs(run.first, run.count, int(z.width), edge.stride);
      if (half)
        pairs.template each<1>(
            c, v, [&](int a, int y, int x) { return every_second(chosen, a, y, x, odd); });
      else
        convolve_pairs(pairs, chosen, !from_q, kernels, c, edge.weights,
                       int(at.depthwise(norm_five)), int(at.depthwise(norm_three)), v);
    };
    pointwise_backward(edge, z, part, from_q, convolution, convolutions, outs, plane_of, make_v,
                       gradients, du, v);
  }
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
        launch_dependent(first_pointwise_kernel<T>, dim3(group.parts, ways, group.edges),
                         dim3(kCellThreads), 0, stream, group);
    if (error != cudaSuccess) return error;
  }
  const Gathering gathering(z);
  const dim3 grid(z.blocks * gathering.parts, divide_up(z.selected, gathering.channels()),
                  group.edges);
  return launch_dependent(weights ? first_gather_kernel<true, T> : first_gather_kernel<false, T>,
                          grid, dim3(kTeamThreads), 0, stream, group, gathering);
}

template cudaError_t first_half_backward(const Group<float>&, cudaStream_t);
template cudaError_t first_half_backward(const Group<double>&, cudaStream_t);
template cudaError_t first_half_backward(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
