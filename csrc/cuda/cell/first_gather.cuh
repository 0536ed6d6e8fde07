// The second half of first_half_backward: gathering what first_pointwise_kernel left.
#pragma once

#include "backward.cuh"
#include "skip_dropout.cuh"
#include "sums.cuh"

namespace adarts::cuda {

// What the windows of the pools that see row kBelow of cell (y, x) give back to it.
template <int S, int kBelow, class T>
__device__ __forceinline__ void add_pools(const T* average, const T* maximum, const uint8_t* winner,
                                          int height, int width, int y, int x,
                                          Quad<Accumulate<T>> (&dx)[S]) {
  using A = Accumulate<T>;
  using Rows = TapRows<3, 1, S, kBelow>;
  const int64_t centre = (int64_t(y) * width + x) * kLanes;
#pragma unroll
  for (int i = 0; i < Rows::kTaps; ++i) {
    const int tap = Rows::tap(i), right = (tap % 3 - 1) & (S - 1);
    const int down = (kBelow + 1 - tap / 3) / S, across = (right + 1 - tap % 3) / S;
    if (y + down < 0 || y + down >= height || x + across < 0 || x + across >= width) continue;
    const int64_t at = centre + int64_t(down * width) * kLanes + across * kLanes;
    const Quad<A> to_winner = load_quad(maximum + at);
    const Pack<uint8_t, kQuad> wins = load<kQuad>(winner + at);
    dx[right] += load_quad(average + at);
    for (int k = 0; k < kQuad; ++k) dx[right][k] += wins[k] == tap ? to_winner[k] : A(0);
  }
}

// The four depthwise convolutions of the first halves.
template <int K_, int D_, Norm kNorm_>
struct Depthwise {
  static constexpr int K = K_, D = D_;
  static constexpr Norm kNorm = kNorm_;
};
using Sep3 = Depthwise<3, 1, kNormSep3First>;
using Sep5 = Depthwise<5, 1, kNormSep5First>;
using Dil3 = Depthwise<3, 2, kNormDil3>;
using Dil5 = Depthwise<5, 2, kNormDil5>;

// The work of one team: dx of channel a for the pixels of a part. It keeps the sums of dx * h, and
// those for the taps: of each convolution and row of the cells one to a lane, see spread_sums.
template <int S, bool kWeights, class T>
struct Gather {
  using A = Accumulate<T>;
  const Edge<T>& edge;
  const Sizes& z;
  const Part& part;
  int a, team;
  Quad<A> total{};
  A dw[S][4] = {};

  __device__ __forceinline__ int64_t plane(int index) const {
    return chosen_plane(z, index, part.block, a) + threadIdx.x % kQuads * kQuad;
  }

  template <class Convolution, int kBelow>
  __device__ __forceinline__ void add(const T* maps, int map, int y, int x, bool inside,
                                      const Quad<A> (&in)[S], Quad<A> (&dx)[S], A& sum) const {
    constexpr int K = Convolution::K, D = Convolution::D;
    constexpr int kTaps = TapRows<K, D, S, kBelow>::kTaps;
    if constexpr (kTaps > 0) {
      if (!edge.active.has_norm(Convolution::kNorm)) return;
      const A* taps =
          edge.weights + z.weights(edge.active).depthwise(Convolution::kNorm) + a * K * K;
      const T* dv = maps + plane(map);
      A of_taps[kTaps] = {};
      if (inside)
        transposed<K, D, S, kBelow, kWeights>(dv, int(z.height), int(z.width), y, x, taps, in, dx,
                                              of_taps);
      if (kWeights) sum += spread_sums(of_taps);
    }
  }

  // Row kBelow of the cell of output pixel p.
  template <int kBelow>
  __device__ __forceinline__ void row(const ChosenPlanes<T>& chosen, int p, bool inside) {
    const int width = int(z.width), y = p / width, x = p % width;
    const int64_t at = (int64_t(S * y + kBelow) * (S * width) + S * x) * kLanes;
    const T* h = chosen.plane(a) + at;
    Quad<A> in[S] = {}, dx[S] = {};
    if (inside)
      for (int i = 0; i < S; ++i) in[i] = relu(chosen.factor(a) * load_quad(h + i * kLanes));
    const Active& active = edge.active;
    const auto scratch = [&](int map) { return active.scratch_place(map); };
    add<Sep3, kBelow>(edge.q, active.q_place(0), y, x, inside, in, dx, dw[kBelow][0]);
    add<Sep5, kBelow>(edge.q, active.q_place(1), y, x, inside, in, dx, dw[kBelow][1]);
    add<Dil3, kBelow>(edge.scratch, scratch(kScratchDil3), y, x, inside, in, dx, dw[kBelow][2]);
    add<Dil5, kBelow>(edge.scratch, scratch(kScratchDil5), y, x, inside, in, dx, dw[kBelow][3]);
    if (!inside) return;
    const int64_t pixel = int64_t(p) * kLanes;
    if constexpr (S == 2)
      if (active.has(kSkip))
        dx[kBelow] += load_quad(edge.scratch +
                                plane(scratch(kBelow == 0 ? kScratchEven : kScratchOdd)) + pixel);
    for (int i = 0; i < S; ++i)
      for (int k = 0; k < kQuad; ++k) dx[i][k] = in[i][k] > 0 ? dx[i][k] : A(0);
    if (active.pools > 0)
      add_pools<S, kBelow>(edge.scratch + plane(scratch(kScratchAverage)),
                           edge.scratch + plane(scratch(kScratchMaximum)), edge.winner + plane(0),
                           int(z.height), width, y, x, dx);
    if (S == 1 && active.has(kSkip)) {
      const A skip = edge.alphas[kSkip] * (edge.beta == nullptr ? A(1) : *edge.beta);
      const int quad = threadIdx.x % kQuads;
      const int64_t channel = edge.output[a] * z.pixels() * kLanes + quad * kQuad;
      const Quad<A> g = load_quad(edge.grad + part.block * edge.grad_block + channel + pixel);
      dx[0].add(skip, keep_some(edge, z, part.block, a, p, quad, g));
    }
    const int64_t first = (part.block * z.selected + a) * z.pixels() * S * S * kLanes;
    for (int i = 0; i < S; ++i) {
      store_quad(edge.dx + first + at + threadIdx.x % kQuads * kQuad + i * kLanes, dx[i]);
      total.add(dx[i], load_quad(h + i * kLanes));
    }
  }

  // Adds what the team holds of the taps' gradient.
  template <class Convolution, int kBelow>
  __device__ __forceinline__ void put(A* grad_weights, bool exists, A sum) const {
    using Rows = TapRows<Convolution::K, Convolution::D, S, kBelow>;
    constexpr int kAll = Convolution::K * Convolution::K;
    if constexpr (Rows::kTaps > 0) {
      if (!edge.active.has_norm(Convolution::kNorm)) return;
      const int64_t at = z.weights(edge.active).depthwise(Convolution::kNorm) + a * kAll;
      join_warps(sum, team, Rows::kTaps, [&](int i, double total_of_tap) {
        if (exists) grad_weights[at + Rows::tap(i)] += A(total_of_tap);
      });
    }
  }
  template <int kBelow>
  __device__ __forceinline__ void put_row(A* grad_weights, bool exists) const {
    put<Sep3, kBelow>(grad_weights, exists, dw[kBelow][0]);
    put<Sep5, kBelow>(grad_weights, exists, dw[kBelow][1]);
    put<Dil3, kBelow>(grad_weights, exists, dw[kBelow][2]);
    put<Dil5, kBelow>(grad_weights, exists, dw[kBelow][3]);
  }
};

template <int S, bool kWeights, class T>
__device__ __forceinline__ void gather(const Edge<T>& edge, const Sizes& z, const Part& part,
                                       int channel, int team, Accumulate<T>* grad_weights,
                                       double* scale_part) {
  const bool exists = channel < z.selected;
  const int rank = threadIdx.x % team;
  Gather<S, kWeights, T> work{edge, z, part, exists ? channel : 0, team};
  const ChosenPlanes<T> chosen(edge, z, part.block, rank % kQuads);
#pragma unroll 1
  for (int first = part.first; first < part.last; first += team / kQuads) {
    const int p = first + rank / kQuads;
    const bool inside = exists && p < part.last;
    work.template row<0>(chosen, p, inside);
    if constexpr (S == 2) work.template row<1>(chosen, p, inside);
  }
  if (edge.grad_scale != nullptr)
    join_warps(spread_sums<kQuads>(work.total.value), team, kLanes, [&](int lane, double sum) {
      if (exists) scale_part[channel * kLanes + image_of(lane)] = sum;
    });
  if (!kWeights) return;
  work.template put_row<0>(grad_weights, exists);
  if constexpr (S == 2) work.template put_row<1>(grad_weights, exists);
}

// dx = d L / d x of the chosen channels, gathered from dv of all convolutions (masked where relu
// was off), from the pools' windows and through skip_connect; the gradient of all taps; and sums of
// dx * h for the scores, in parts.
//
// blockIdx.x is a part, blockIdx.y a group of channels, blockIdx.z an edge. A team of threads takes
// a channel; a thread holds, of one quad of images, the S * S pixels of x that belong to an output
// pixel, a row of them at a time, and all that it loads of dv serves dx and the taps alike. The
// sums for the taps are spread over the lanes of a warp for each convolution, so that a thread
// keeps but one of each. Bytes: per chosen value it reads four dv, two values and a byte of the
// pools, g and h, all but the last two 9 to 25 times through the first-level cache, and writes dx.
template <bool kWeights, class T>
__global__ void __launch_bounds__(kTeamThreads, kTeamResident<T>)
    first_gather_kernel(const Group<T> group) {
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.z];
  const Part part = part_of(z, blockIdx.x);
  const int team = team_of(z);
  const int a = int(blockIdx.y) * (kTeamThreads / team) + int(threadIdx.x) / team;
  double* scale_part = edge.scale_parts + blockIdx.x * z.selected * kLanes;
  Accumulate<T>* dw =
      kWeights ? edge.grad_weights + blockIdx.x * z.weights(edge.active).count(edge.stride)
               : nullptr;
  if (edge.stride == 1)
    gather<1, kWeights>(edge, z, part, a, team, dw, scale_part);
  else
    gather<2, kWeights>(edge, z, part, a, team, dw, scale_part);
}

}  // namespace adarts::cuda
