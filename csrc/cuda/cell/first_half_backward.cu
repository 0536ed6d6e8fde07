// From the nodes' gradients g and the second halves' q to the gradient of the chosen channels x:
// dx = the sum over the operations of W^T du, each du = factor * (g - offset) + slope * (u - mean).
//
// first_pointwise_kernel makes, in parts of an edge's pixels, dv = W^T du of the convolutions and
// their weights' gradients; first_gather_kernel (first_gather.cuh) then makes dx, a thread a quad
// of images of two pixels, from all operations at once, so that dx is written once and needs no
// atomics. Bytes: each kernel says its own.
#include "first_gather.cuh"
#include "first_pointwise.cuh"
#include "groups.cuh"
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

// d L / d u of a pool, nothing where it is not active.
template <class T>
__device__ __forceinline__ Gradient<Accumulate<T>> pool_gradient(const Edge<T>& edge,
                                                                 const Sizes& z, int operation,
                                                                 int64_t a, double share) {
  if (!edge.active.has(operation)) return {};
  return operation_gradient(edge, z, operation, a, share);
}

// What each window of the two pools of a part's pixels gives back: to all its pixels, and to the
// first that holds the maximum.
template <class T, class Gradients>
__device__ __forceinline__ void put_pools(const Edge<T>& edge, const Sizes& z, const Part& part,
                                          Gradients gradients) {
  using A = Accumulate<T>;
  const int c = int(z.selected), quad = threadIdx.x % kQuads, width = int(z.width);
  const Grouping grouping(c);
  const ChosenPlanes<T> chosen(edge, z, part.block, quad);
  const Quad<A> real = real_lanes<A>(z.lanes(part.block), quad);
  const int slot = grouping.slot() / kQuads, slots = grouping.slots / kQuads;
  for (int a = grouping.group(); a < c; a += grouping.groups) {
    const T* plane = chosen.plane(a);
    const T* grad = pinned(edge.grad + part.block * edge.grad_block + quad * kQuad +
                           edge.output[a] * z.pixels() * kLanes);
    const auto to = [&](int map) { return chosen_plane(z, map, part.block, a) + quad * kQuad; };
    T* of_average = edge.scratch + to(edge.active.scratch_place(kScratchAverage));
    T* of_maximum = edge.scratch + to(edge.active.scratch_place(kScratchMaximum));
    uint8_t* winners = edge.winner + to(0);
    const Quad<A> factor = chosen.factor(a);
    const Gradient<A> maximum = gradients[a], average = gradients[c + a];
#pragma unroll 1
    for (int p = part.first + slot; p < part.last; p += slots) {
      const uint32_t at = p * kLanes;
      const int y = unsigned(p) / width, x = p - y * width;
      const Quad<A> g = load_quad(grad + at);
      const Window<A> window =
          window_at(plane, chosen.height, chosen.width, y * chosen.stride, x * chosen.stride);
      const Pools<A> pools = window.pools();
      Pack<uint8_t, kQuad> winner;
      for (int i = 0; i < kQuad; ++i) winner[i] = 9;  // nobody, where all is not a number
#pragma unroll
      for (int tap = 8; tap >= 0; --tap)
        if (window.inside(tap))
          for (int i = 0; i < kQuad; ++i)
            winner[i] = window.value[tap][i] == pools.maximum[i] ? tap : winner[i];
      store_quad(of_average + at, pools.share * combine(average, g, factor * pools.average, real));
      store_quad(of_maximum + at, combine(maximum, g, factor * pools.maximum, real));
      store(winners + at, winner);
    }
  }
}

// dv = W^T du and dW = du v^T for the first halves of the four kinds of convolutions and, at stride
// 2, the two convolutions of skip_connect, whose v is relu(x) at every second pixel; and what the
// windows of the pools give back. dv of the separable convolutions takes the place of q.
//
// blockIdx.x is a part, blockIdx.y a way, blockIdx.z an edge. A block goes through its pixels run
// by run: its threads form du of all channels and, where weights' gradients are asked for, v in
// shared memory, from where each thread makes four channels of dv and the products of the weights'
// gradients (first_pointwise.cuh). The 3x3 and the 5x5 convolution of a kind are one way, since the
// same loads serve both v. The sums of q are added up from their parts by each block that needs
// them, a few kilobytes, which saves a launch. In the pools' way a thread goes down the pixels of
// one channel.
// Bytes: per value of u it reads g or q and u and writes dv, and reads h through the first-level
// cache; the pools read g and h and write two values and a byte. `share`: see norm_gradient.
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    first_pointwise_kernel(const Group<T> group, const double share) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Vector = Quad<A>;
  using Coefficients = Gradient<A>;
  ADARTS_SHARED(Vector, du, kPlaces<A>);
  ADARTS_DYNAMIC_SHARED(Vector, v);
  ADARTS_SHARED(Vector, weights, kWeights<A>);
  ADARTS_SHARED(Coefficients, gradients, 2 * kMostChosen);
  ADARTS_SHARED(uint32_t, planes, kMostChosen);
  ADARTS_SHARED(A, shares, kShares<A>);
  ADARTS_SHARED(double, sums, 4 * kMostChosen);
  ADARTS_SHARED(Back, convolution, 2);
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.z];
  const int way = blockIdx.y, c = int(z.selected), thread = threadIdx.x;
  if (!is_active(edge.active, way)) return;
  const Part part = part_of(z, blockIdx.x);
  if (way == kWayPools) {
    for (int a = thread; a < c; a += kCellThreads) {
      gradients[a] = pool_gradient(edge, z, kMaxPool, a, share);
      gradients[c + a] = pool_gradient(edge, z, kAvgPool, a, share);
    }
    __syncthreads();
    put_pools(edge, z, part, gradients);
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
  for (int left = half ? int(kThree) : kernels_of(edge.active, !from_q); left != 0;) {
    const int kernels = left == kBoth && 2 * c * kQuads > kPlaces<A> ? int(kFive) : left;
    const int convolutions = kernels == kBoth ? 2 : 1;
    left -= kernels;
    static_assert(kCellThreads >= 2 * kMostChosen);
    const bool five = kernels != kThree && thread < outs, mine = thread < convolutions * outs;
    const int o = thread < outs ? thread : thread - outs;
    if (thread < 2) convolution[thread] = back(thread == 0 ? kernels != kThree : kernels == kFive);
    if (thread < outs)
      planes[thread] =
          uint32_t(z.pixels() * kLanes) * (from_q ? thread : edge.output[first_out + thread]);
    Coefficients gradient{};
    if (from_q) {
      const A* statistic = edge.statistics(five ? norm_five : norm_three, c, mine ? o : 0);
      const A mean = statistic[kMean * c], rstd = statistic[kRstd * c];
      total_rows(group.partial + blockIdx.z * group.parts * first_rows(c), group.parts,
                 first_rows(c), kernels == kFive ? 2 * c : 0, 2 * c * convolutions, sums);
      const int row = (kernels == kBoth && five ? 2 * c : 0) + (mine ? o : 0);  // 3x3 comes first
      const double s0 = sums[row], s1 = sums[row + c];
      gradient = norm_gradient(A(1), mean, rstd, s0, s1, share);
    } else if (mine) {
      const int operation = half ? kSkip : five ? kDil5 : kDil3;
      gradient = operation_gradient(edge, z, operation, first_out + o, share);
    }
    if (mine) gradients[thread] = gradient;
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
    pointwise_backward(edge, z, part, from_q, convolution, convolutions, outs, make_v,
                       Pointwise{du, v, weights, gradients, planes, shares});
    if (left != 0) __syncthreads();  // a part may have no run
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
    const size_t bytes = weights ? kPlaces<Accumulate<T>> * sizeof(Quad<Accumulate<T>>) : 0;
    cudaError_t error = allow_shared(first_pointwise_kernel<T>, bytes);
    if (error != cudaSuccess) return error;
    error = launch_dependent(first_pointwise_kernel<T>, dim3(group.parts, ways, group.edges),
                             dim3(kCellThreads), bytes, stream, group,
                             z.training ? 1 / double(z.count()) : 0.0);
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
