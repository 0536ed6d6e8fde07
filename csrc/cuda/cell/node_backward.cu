// What a node's gradient g sums up to for each incoming edge: sum of g and of g * (u_o - mean_o) by
// channel, of which the gradients of alphas, betas and BatchNorms are made (finish.cu).
//
// A block takes a part of an edge's pixels, a team of its threads one channel, a thread a quad of
// images. One reading of g and u for all operations; partial sums are left for finish.cu, since a
// fixed order gives the same bits each time. Bytes: as the kernel says.
#include "convolve.cuh"
#include "launchers.cuh"
#include "pools.cuh"
#include "skip_dropout.cuh"
#include "sums.cuh"

namespace adarts::cuda {

namespace {

// The threads of a team: enough for the quads of a part of one channel, at most a block.
__host__ __device__ __forceinline__ int team_of(const Sizes& z) {
  const int64_t quads = divide_up(z.pixels(), tiles_of(z)) * kQuads;
  const int team = power_of_two(quads, kTeamThreads);
  return team < kWarp ? kWarp : team;
}

// How many groups of channels there are, each the work of the teams of one block.
__host__ __device__ __forceinline__ int64_t team_groups(const Sizes& z) {
  return divide_up(z.selected, kTeamThreads / team_of(z));
}

// The sums of g times each operation's input to its norm over one team's pixels of channel a.
template <int S, class T>
__device__ __forceinline__ void chosen_sums(const Edge<T>& edge, const Sizes& z, const Part& part,
                                            int a, int rank, int team,
                                            Accumulate<T> (&sums)[kSums]) {
  using A = Accumulate<T>;
  const int quad = rank % kQuads, height = int(z.height), width = int(z.width);
  const int64_t pixels = z.pixels();
  const ChosenPlanes<T> chosen(edge, z, part.block, quad);
  const T* h = chosen.plane(a);
  const Quad<A> factor = chosen.factor(a);
  const T* g =
      edge.grad + part.block * edge.grad_block + edge.output[a] * pixels * kLanes + quad * kQuad;
  const int64_t first = (part.block * z.selected + a) * pixels * kLanes + quad * kQuad;  // of u
  const int64_t step = z.blocks * z.selected * pixels * kLanes;  // from norm to norm
  const int64_t c = z.selected;
  A means[kNorms];
  for (int norm = 0; norm < kNorms; ++norm)
    means[norm] = edge.active.has_norm(norm) ? edge.statistics(norm, c, a)[kMean * c] : A(0);
#pragma unroll 1
  for (int p = part.first + rank / kQuads; p < part.last; p += team / kQuads) {
    const int64_t at = int64_t(p) * kLanes;
    const Quad<A> gradient = load_quad(g + at);
    const auto add = [&](int operation, const Quad<A>& value) {
      const A mean = means[norm_of(operation)];
      for (int i = 0; i < kQuad; ++i) sums[operation] += gradient[i] * (value[i] - mean);
    };
    const auto has = [&](int operation) { return edge.active.has(operation); };
    const auto stored = [&](int operation) {
      if (!has(operation)) return Quad<A>{};
      return load_quad(edge.u + first + edge.active.stored_place(norm_of(operation)) * step + at);
    };
    const Quad<A> sep3 = stored(kSep3), sep5 = stored(kSep5);
    const Quad<A> dil3 = stored(kDil3), dil5 = stored(kDil5);
    const Quad<A> skip =
        S == 1 ? keep_some(edge, z, part.block, a, p, quad, factor * load_quad(h + at))
               : stored(kSkip);
    sums[kNone] += gradient.sum();
    if (edge.active.pools > 0) {
      const Pools<A> pools =
          window_at(h, height * S, width * S, p / width * S, p % width * S).pools();
      if (has(kMaxPool)) add(kMaxPool, factor * pools.maximum);
      if (has(kAvgPool)) add(kAvgPool, factor * pools.average);
    }
    if (has(kSkip)) add(kSkip, skip);
    if (has(kSep3)) add(kSep3, sep3);
    if (has(kSep5)) add(kSep5, sep5);
    if (has(kDil3)) add(kDil3, dil3);
    if (has(kDil5)) add(kDil5, dil5);
  }
}

// The sums of g * h over a plane of a passing channel, of the quad of images of a thread.
template <int S, class T>
__device__ __forceinline__ Quad<Accumulate<T>> passing_sums(const T* g, const T* h, int pixels,
                                                            int width) {
  using A = Accumulate<T>;
  Quad<A> sum{};
#pragma unroll 4
  for (int p = threadIdx.x / kQuads; p < pixels; p += kTeamThreads / kQuads) {
    const int64_t at = int64_t(p) * kLanes;
    sum.add(load_quad(g + at),
            S == 1 ? load_quad(h + at) : maximum_of_four(h, S * width, p / width, p % width));
  }
  return sum;
}

// sums[o, a] = sum of g * (u_o - mean_o) for each chosen channel a and operation o (sum of g for
// none); grad_scale = beta * sum of g * h for the channels that pass by, and its share of d beta.
//
// blockIdx.x is a part, blockIdx.z an edge. blockIdx.y = 0 takes the passing channels: tile t of a
// block of images those whose number in the output is t modulo the tiles, with all their pixels,
// since each image of a passing channel has a sum of its own. The other blocks take the chosen
// channels, a team of threads for each, and their part's pixels. A thread holds a quad of images of
// a pixel. The pools are made again from h.
// Bytes: per chosen value g, four or five u and one to four h (nine loads, of which the first-level
// cache serves most), per passing value g and one to four h.
template <class T>
__global__ void __launch_bounds__(kTeamThreads, sizeof(T) == 8 ? 1 : 3)
    node_backward_kernel(const Group<T> group) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.z];
  const Part part = part_of(z, blockIdx.x);
  const int thread = threadIdx.x;
  const int64_t c = z.selected, pixels = z.pixels();
  double* to = group.partial + (blockIdx.z * group.parts + blockIdx.x) * sum_rows(c);
  if (blockIdx.y > 0) {
    const int team = team_of(z);
    const int a = (int(blockIdx.y) - 1) * (kTeamThreads / team) + thread / team;
    A sums[kSums] = {};
    if (a < c) {
      if (edge.stride == 1)
        chosen_sums<1>(edge, z, part, a, thread % team, team, sums);
      else
        chosen_sums<2>(edge, z, part, a, thread % team, team, sums);
    }
    join_warps(spread_sums(sums), team, kSums, [&](int operation, double sum) {
      if (a < c) to[operation * c + a] = sum;
    });
    return;
  }

  const int quad = thread % kQuads;
  const A beta = edge.beta == nullptr ? A(1) : *edge.beta;
  const int64_t tiles = tiles_of(z);
  double passing = 0;
  for (int64_t q = blockIdx.x % tiles; q < z.channels; q += tiles) {
    const int64_t r = -1 - int64_t(edge.source[q]);
    if (r < 0) continue;
    const T* g = edge.grad + part.block * edge.grad_block + q * pixels * kLanes + quad * kQuad;
    const T* h = edge.state + part.block * edge.state_block +
                 r * pixels * edge.stride * edge.stride * kLanes + quad * kQuad;
    const Quad<A> sum = edge.stride == 1 ? passing_sums<1>(g, h, int(pixels), int(z.width))
                                         : passing_sums<2>(g, h, int(pixels), int(z.width));
    join_warps(spread_sums<kQuads>(sum.value), kTeamThreads, kLanes, [&](int lane, double total) {
      const int64_t at = (part.block * z.channels + r) * kLanes + image_of(lane);
      if (edge.grad_scale != nullptr) edge.grad_scale[at] = beta * A(total);
      passing += edge.scale == nullptr ? total : total * double(edge.scale[at]);
    });
  }
  passing = group_sum(passing);  // the first warp holds all
  if (thread == 0) to[kSums * c] = passing;
}

}  // namespace

template <class T>
cudaError_t node_backward(const Group<T>& group, cudaStream_t stream) {
  const Sizes& z = group.sizes;
  return launch_dependent(node_backward_kernel<T>,
                          dim3(group.parts, 1 + team_groups(z), group.edges), dim3(kTeamThreads), 0,
                          stream, group);
}

template cudaError_t node_backward(const Group<float>&, cudaStream_t);
template cudaError_t node_backward(const Group<double>&, cudaStream_t);
template cudaError_t node_backward(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
