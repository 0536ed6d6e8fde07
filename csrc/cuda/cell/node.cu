// A node: out = the sum over its incoming edges of beta * sum_o alpha_o * (u_o - mean_o) * rstd_o
// on the chosen channels, beta * score * h on those that pass by.
//
// A block takes pixels of one output channel of a block of images; a thread a quad of images. All
// edges and operations meet in registers: the node is written once, and no candidate's normalized
// output or weighted term ever reaches memory. Bytes: as the kernel says.
#include "convolve.cuh"
#include "launchers.cuh"
#include "plane_pools.cuh"
#include "pools.cuh"
#include "skip_dropout.cuh"

namespace adarts::cuda {

namespace {

// Of one edge and one of its chosen channels: the factor of each norm's input, its mean, and the
// factor of x.
constexpr int kFactorMean = kNorms, kFactorSkip = 2 * kNorms, kFactors = 2 * kNorms + 1;

template <class A>
__device__ __forceinline__ A beta_of(const A* beta) {
  return beta == nullptr ? A(1) : *beta;
}

template <class T, class Factors>
__device__ __forceinline__ void find_factors(const Edge<T>& edge, int64_t c, int a, Factors factors,
                                             int at) {
  using A = Accumulate<T>;
  const A beta = beta_of(edge.beta);
#pragma unroll
  for (int operation = kMaxPool; operation < kOperations; ++operation) {
    if (!edge.active.has(operation)) continue;
    const A weight = beta * edge.alphas[operation];
    if (operation == kSkip && edge.stride == 1) {
      factors[at + kFactorSkip] = weight;
      continue;
    }
    const Norm norm = norm_of(operation);
    const A* statistic = edge.statistics(norm, c, a);
    factors[at + norm] = weight * statistic[kRstd * c];
    factors[at + kFactorMean + norm] = statistic[kMean * c];
  }
}

// u of a norm of an edge for one block of images: c planes.
template <class T>
__device__ __forceinline__ T* stored_planes(const Edge<T>& edge, const Sizes& z, int norm,
                                            int64_t block) {
  const int64_t place = edge.active.stored_place(norm);
  return edge.u + (place * z.blocks + block) * z.selected * z.pixels() * kLanes;
}

// sum += what chosen channel a of an edge adds at output pixel (y, x).
template <class T, class Factors>
__device__ __forceinline__ void add_chosen(const Edge<T>& edge, const Sizes& z, int64_t block,
                                           int a, int y, int x, int quad, Factors factors, int at,
                                           Quad<Accumulate<T>>& sum) {
  using A = Accumulate<T>;
  const ChosenPlanes<T> chosen(edge, z, block, quad);
  const int64_t pixel = y * z.width + x;
  constexpr int kRead[] = {kNormSep3, kNormSep5, kNormDil3, kNormDil5};
  Quad<A> u[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (edge.active.has_norm(kRead[i]))
      u[i] = load_quad(stored_planes(edge, z, kRead[i], block) + (a * z.pixels() + pixel) * kLanes +
                       quad * kQuad);
  const T* plane = chosen.plane(a);
  const Quad<A> scale = chosen.factor(a);
  Quad<A> mixed{};
  const auto add = [&](int norm, const Quad<A>& u) {
    const A mean = factors[at + kFactorMean + norm];
    mixed.add(factors[at + norm], u - splat(mean));
  };
  if (edge.active.pools > 0) {
    const Pools<A> pools = pools_at(plane, chosen.height, chosen.width, edge.stride, y, x);
    if (edge.active.has(kMaxPool)) add(kNormMax, scale * pools.maximum);
    if (edge.active.has(kAvgPool)) add(kNormAvg, scale * pools.average);
  }
  if (edge.active.has(kSkip) && edge.stride == 1) {
    const Quad<A> value = scale * load_quad(plane + pixel * kLanes);
    mixed.add(factors[at + kFactorSkip], keep_some(edge, z, block, a, pixel, quad, value));
  } else if (edge.active.has(kSkip)) {
    add(kNormSkip, load_quad(stored_planes(edge, z, kNormSkip, block) +
                             (a * z.pixels() + pixel) * kLanes + quad * kQuad));
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (edge.active.has_norm(kRead[i])) add(kRead[i], u[i]);
  sum.add(real_lanes<A>(z.lanes(block), quad), mixed);
}

// sum += beta * M * h, or its 2x2 maximum, of channel r of an edge's state.
template <class T>
__device__ __forceinline__ void add_passing(const Edge<T>& edge, const Sizes& z, int64_t block,
                                            int64_t r, int y, int x, int quad,
                                            Quad<Accumulate<T>>& sum) {
  using A = Accumulate<T>;
  const int width = int(z.width);
  const T* h = edge.state + block * edge.state_block +
               r * z.pixels() * (edge.stride * edge.stride) * kLanes + quad * kQuad;
  Quad<A> factor = splat(beta_of(edge.beta));
  if (edge.scale != nullptr)
    factor = factor * load_quad(edge.scale + (block * z.channels + r) * kLanes + quad * kQuad);
  sum.add(factor, edge.stride == 1 ? load_quad(h + (int64_t(y) * width + x) * kLanes)
                                   : maximum_of_four(h, 2 * width, y, x));
}

// out = sum_e beta_e * y_e with, for a chosen channel, y = sum_o factor_o * (u_o - mean_o) over the
// stored u_o and the pools of x, and x itself; for the others y = M * h or its 2x2 maximum. With
// the means in one common shift its rounding would be the same in a whole channel, and averages
// over the plane would be wrong by it.
//
// A thread block makes 64 pixels (blockIdx.x) of one output channel (y) of one block of images (z),
// a thread a pixel's four images over all edges. One thread for each edge finds its factors first.
// Whether the channel is one of the chosen is the same for the whole block.
// Where the node's own pools are asked for, the block leaves those of its pixels in a part, through
// shuffles in a warp and shared memory between warps: the node is not read again for them.
// Bytes: an edge reads 5 planes for a chosen channel (6 at stride 2, the state's fourfold) and one
// for the others; the pools' windows overlap in L1. `out` is written once, and 192 of a part.
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 3)
    node_kernel(const Node<T> node) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  ADARTS_SHARED(A, factors, kGroup * kFactors);
  const Group<T>& group = node.group;
  const Sizes& z = group.sizes;
  const int64_t block = blockIdx.z, q = blockIdx.y;
  const int thread = threadIdx.x, quad = thread % kQuads;
  if (thread < group.edges) {
    const int32_t a = group.edge[thread].source[q];
    if (a >= 0) find_factors(group.edge[thread], z.selected, a, factors, thread * kFactors);
  }
  __syncthreads();
  // threads beyond the plane make its last pixel once more, for nobody
  const int pixels = int(z.pixels()), own = int(blockIdx.x) * kPartPixels + thread / kQuads;
  const int pixel = own < pixels ? own : pixels - 1;
  const int y = pixel / int(z.width), x = pixel % int(z.width);
  T* out = node.out + block * node.out_block + (q * z.pixels() + pixel) * kLanes + quad * kQuad;
  Quad<A> sum = node.add ? load_quad(out) : Quad<A>{};
#pragma unroll 1
  for (int e = 0; e < group.edges; ++e) {
    const Edge<T>& edge = group.edge[e];
    const int32_t a = edge.source[q];
    if (a < 0)
      add_passing(edge, z, block, -1 - a, y, x, quad, sum);
    else
      add_chosen(edge, z, block, a, y, x, quad, factors, e * kFactors, sum);
  }
  const bool inside = own < pixels;
  if (inside) store_quad(out, sum);
  if (!node.pool) return;
  Peak<A> peaks[kQuad];
  for (int i = 0; i < kQuad; ++i) {
    sum[i] = inside ? A(T(sum[i])) : A(0);  // as it is stored
    peaks[i] = inside ? Peak<A>{sum[i], pixel} : no_peak<A>();
  }
  const State<T>& made = node.made;
  join_pools<kLanes>(spread_sums<kQuads>(sum.value), spread_peaks<kQuads>(peaks),
                     [&](int image, double total, const Peak<A>& peak) {
                       const int64_t part = blockIdx.x * z.blocks + block;
                       const int64_t at = (part * z.channels + q) * kLanes + image;
                       made.part_sums[at] = A(total);
                       made.part_maxima[at] = peak.value;
                       made.part_positions[at] = peak.position;
                     });
}

}  // namespace

int64_t pool_parts(const Sizes& sizes) { return parts_of_plane(sizes); }

template <class T>
cudaError_t node(const Node<T>& node, cudaStream_t stream) {
  const Sizes& z = node.group.sizes;
  const dim3 grid(parts_of_plane(z), z.channels, z.blocks);
  return launch_dependent(node_kernel<T>, grid, dim3(kCellThreads), 0, stream, node);
}

template cudaError_t node(const Node<float>&, cudaStream_t);
template cudaError_t node(const Node<double>&, cudaStream_t);
template cudaError_t node(const Node<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
