// The second half of first_half_backward: gathering what first_pointwise_kernel left.
#pragma once

#include <algorithm>

#include "backward.cuh"
#include "pairs.cuh"
#include "skip_dropout.cuh"
#include "sums.cuh"

namespace adarts::cuda {

// A thread has two pixels of x: at stride 1 those of a pair, two apart, at stride 2 a row of a
// cell.
template <int S>
constexpr int kCells = S == 1 ? 2 : 1;

// An output pixel (y, x) of a depthwise K x K convolution has a cell of S x S input pixels, (S * y
// + below, S * x + right). Output (oy, ox) sees input (oy * S + dy * D - P, ox * S + dx * D - P), P
// = D * (K / 2): for a row of taps only the row of the cell with the same remainder modulo S
// counts. These are the rows of taps of a row of the cell: first, first + step, ...
template <int K, int D, int S, int kBelow>
struct TapRows {
  static constexpr int kPad = D * (K / 2);
  static constexpr int kStep = S == 2 && D == 1 ? 2 : 1;
  static constexpr int kFirst = kStep == 2 ? (kPad + kBelow) % 2 : 0;
  static constexpr int kCount = kStep == 2 ? (K - kFirst + 1) / 2 : kBelow == 0 ? K : 0;
  static constexpr int kTaps = kCount * K;

  static constexpr __device__ __forceinline__ int tap(int i) {
    return (kFirst + kStep * (i / K)) * K + i % K;
  }
  // The column of the cell that sees outputs through column dx of the taps, and how far to the
  // right of the cell's own output those lie.
  static constexpr __device__ __forceinline__ int right(int dx) {
    return (dx * D - kPad) & (S - 1);
  }
  static constexpr __device__ __forceinline__ int across(int dx) {
    return (right(dx) + kPad - dx * D) / S;
  }
};

// The outputs of a row that see them through a row of taps: kCount of them, kStep apart, the first
// kLeft to the right of the first cell's own. What the first cell sees through column dx of the
// taps is number of(dx), a second cell's lies kShift further.
template <int K, int D, int S>
struct Columns {
  using Rows = TapRows<K, D, S, 0>;
  static constexpr int kStep = S == 1 ? D : 1, kLeft = Rows::across(K - 1);
  static constexpr int kShift = S == 1 ? 2 / kStep : 0;
  static constexpr int kCount = (Rows::across(0) - kLeft) / kStep + 1 + kShift;

  static constexpr __device__ __forceinline__ int of(int dx) {
    return (Rows::across(dx) - kLeft) / kStep;
  }
};

// A thread's pixels through all outputs that see them: dx[cell][pixel] += w[tap] * dv and,
// with kWeights, dw[tap] += in[cell][pixel] * dv. `dv` is a plane of outputs, at the thread's
// lanes.
//
// The outputs lie at fixed offsets from the cells. The same loads serve both pixels and both
// gradients, at either stride, and nothing is added to memory. A row is loaded before any of it is
// used; outside the plane dv is 0.
template <int K, int D, int S, int kBelow, bool kWeights, class T, class A, int kTaps>
__device__ __forceinline__ void transposed_pair(const T* dv, int height, int width, int y, int x,
                                                const A* __restrict__ w,
                                                const Quad<A> (&in)[kCells<S>][S],
                                                Quad<A> (&dx)[kCells<S>][S], A (&dw)[kTaps]) {
  using Rows = TapRows<K, D, S, kBelow>;
  using Outputs = Columns<K, D, S>;
  bool inside[Outputs::kCount];
#pragma unroll
  for (int j = 0; j < Outputs::kCount; ++j)
    inside[j] = unsigned(x + Outputs::kLeft + j * Outputs::kStep) < unsigned(width);
#pragma unroll
  for (int i = 0; i < Rows::kCount; ++i) {
    const int dy = Rows::kFirst + Rows::kStep * i;
    const int down = (kBelow + Rows::kPad - dy * D) / S;
    if (unsigned(y + down) >= unsigned(height)) continue;
    const T* line = dv + int64_t((y + down) * width + x) * kLanes;
    Quad<A> values[Outputs::kCount] = {};
#pragma unroll
    for (int j = 0; j < Outputs::kCount; ++j)
      if (inside[j]) values[j] = load_quad(line + (Outputs::kLeft + j * Outputs::kStep) * kLanes);
#pragma unroll
    for (int tap = 0; tap < K; ++tap) {
      const A weight = w[dy * K + tap];
#pragma unroll
      for (int cell = 0; cell < kCells<S>; ++cell) {
        const Quad<A>& value = values[Outputs::of(tap) + cell * Outputs::kShift];
        dx[cell][Rows::right(tap)].add(weight, value);
        for (int k = 0; kWeights && k < kQuad; ++k)
          dw[i * K + tap] += in[cell][Rows::right(tap)][k] * value[k];
      }
    }
  }
}

// What the windows of the pools that see row kBelow of a pair of cells give back to it.
template <int S, int kBelow, class T>
__device__ __forceinline__ void add_pools(const T* average, const T* maximum, const uint8_t* winner,
                                          int height, int width, int y, int x,
                                          Quad<Accumulate<T>> (&dx)[kCells<S>][S]) {
  using A = Accumulate<T>;
  using Rows = TapRows<3, 1, S, kBelow>;
  using Outputs = Columns<3, 1, S>;
#pragma unroll
  for (int i = 0; i < Rows::kCount; ++i) {
    const int dy = Rows::kFirst + Rows::kStep * i, down = (kBelow + 1 - dy) / S;
    if (unsigned(y + down) >= unsigned(height)) continue;
    const int64_t line = int64_t((y + down) * width + x + Outputs::kLeft) * kLanes;
    Quad<A> of_average[Outputs::kCount] = {}, of_maximum[Outputs::kCount] = {};
    Pack<uint8_t, kQuad> wins[Outputs::kCount] = {};
#pragma unroll
    for (int j = 0; j < Outputs::kCount; ++j)
      if (unsigned(x + Outputs::kLeft + j) < unsigned(width)) {
        of_average[j] = load_quad(average + line + j * kLanes);
        of_maximum[j] = load_quad(maximum + line + j * kLanes);
        wins[j] = load<kQuad>(winner + line + j * kLanes);
      }
#pragma unroll
    for (int tap = 0; tap < 3; ++tap)
#pragma unroll
      for (int cell = 0; cell < kCells<S>; ++cell) {
        const int j = Outputs::of(tap) + cell * Outputs::kShift;
        Quad<A>& to = dx[cell][Rows::right(tap)];
        to += of_average[j];
        for (int k = 0; k < kQuad; ++k)
          to[k] += wins[j][k] == dy * 3 + tap ? of_maximum[j][k] : A(0);
      }
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
  const T* h;      // of the channel, at the thread's lanes
  const A* scale;  // likewise, or null
  Quad<A> total{};
  A dw[S][4] = {};

  __device__ __forceinline__ int64_t plane(int index) const {
    return chosen_plane(z, index, part.block, a) + threadIdx.x % kQuads * kQuad;
  }

  template <class Convolution, int kBelow>
  __device__ __forceinline__ void add(const T* maps, int map, const Pairs::Pixel& at, bool any,
                                      const Quad<A> (&in)[kCells<S>][S],
                                      Quad<A> (&dx)[kCells<S>][S], A& sum) const {
    constexpr int K = Convolution::K, D = Convolution::D;
    constexpr int kTaps = TapRows<K, D, S, kBelow>::kTaps;
    if constexpr (kTaps > 0) {
      if (!edge.active.has_norm(Convolution::kNorm)) return;
      const A* taps =
          edge.weights + z.weights(edge.active).depthwise(Convolution::kNorm) + a * K * K;
      const T* dv = maps + plane(map);
      A of_taps[kTaps] = {};
      if (any)
        transposed_pair<K, D, S, kBelow, kWeights>(dv, int(z.height), int(z.width), at.y, at.x,
                                                   taps, in, dx, of_taps);
      if (kWeights) sum += spread_sums(of_taps);
    }
  }

  // Row kBelow of the thread's cells, the first that of output pixel `at`, as far as it has them.
  template <int kBelow>
  __device__ __forceinline__ void row(const Pairs::Pixel& at, const bool (&has)[kCells<S>]) {
    constexpr int kApart = 2;  // of cells
    const int width = int(z.width);
    const bool any = has[0] || has[kCells<S> - 1];
    const int64_t from = (int64_t(S * at.y + kBelow) * (S * width) + S * at.x) * kLanes;
    const int64_t pixel = int64_t(at.y * width + at.x) * kLanes;
    const Quad<A> factor = scale == nullptr ? splat(A(1)) : load_quad(scale);
    Quad<A> in[kCells<S>][S] = {}, dx[kCells<S>][S] = {};
    for (int cell = 0; cell < kCells<S>; ++cell)
      for (int i = 0; i < S; ++i)
        if (has[cell])
          in[cell][i] = relu(factor * load_quad(h + from + (kApart * cell + i) * kLanes));
    const Active& active = edge.active;
    const auto scratch = [&](int map) { return active.scratch_place(map); };
    add<Sep3, kBelow>(edge.q, active.q_place(0), at, any, in, dx, dw[kBelow][0]);
    add<Sep5, kBelow>(edge.q, active.q_place(1), at, any, in, dx, dw[kBelow][1]);
    add<Dil3, kBelow>(edge.scratch, scratch(kScratchDil3), at, any, in, dx, dw[kBelow][2]);
    add<Dil5, kBelow>(edge.scratch, scratch(kScratchDil5), at, any, in, dx, dw[kBelow][3]);
    if (!any) return;
    if constexpr (S == 2)
      if (active.has(kSkip)) {
        const T* skip = edge.scratch + plane(scratch(kBelow == 0 ? kScratchEven : kScratchOdd));
        for (int cell = 0; cell < kCells<S>; ++cell)
          if (has[cell]) dx[cell][kBelow] += load_quad(skip + pixel + kApart * cell * kLanes);
      }
    for (int cell = 0; cell < kCells<S>; ++cell)
      for (int i = 0; i < S; ++i)
        for (int k = 0; k < kQuad; ++k) dx[cell][i][k] = in[cell][i][k] > 0 ? dx[cell][i][k] : A(0);
    if (active.pools > 0)
      add_pools<S, kBelow>(edge.scratch + plane(scratch(kScratchAverage)),
                           edge.scratch + plane(scratch(kScratchMaximum)), edge.winner + plane(0),
                           int(z.height), width, at.y, at.x, dx);
    const int64_t first = (part.block * z.selected + a) * z.pixels() * S * S * kLanes;
    const int64_t lanes = threadIdx.x % kQuads * kQuad;
    const int64_t channel = edge.output[a] * z.pixels() * kLanes + lanes;
    const T* g = edge.grad + part.block * edge.grad_block + channel;
    const A skip = S == 2 || !active.has(kSkip)
                       ? A(0)
                       : edge.alphas[kSkip] * (edge.beta == nullptr ? A(1) : *edge.beta);
    for (int cell = 0; cell < kCells<S>; ++cell) {
      if (!has[cell]) continue;
      if (S == 1 && active.has(kSkip)) {
        const int p = at.y * width + at.x + kApart * cell;
        const Quad<A> kept = keep_some(edge, z, part.block, a, p, int(threadIdx.x) % kQuads,
                                       load_quad(g + int64_t(p) * kLanes));
        dx[cell][0].add(skip, kept);
      }
      for (int i = 0; i < S; ++i) {
        const int64_t place = from + (kApart * cell + i) * kLanes;
        store_quad(edge.dx + first + lanes + place, dx[cell][i]);
        total.add(dx[cell][i], load_quad(h + place));
      }
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

// How a launch is divided. Where a block of images has many parts elsewhere, here none has less
// than a warp's pairs of one channel; a team is as large as a part's pairs of one channel need.
struct Gathering {
  int rows;   // of a block of images in what is left in parts
  int parts;  // of them that a thread block has
  int team;

  explicit Gathering(const Sizes& z) : rows(int(tiles_of(z))) {
    constexpr int64_t kLeast = 2 * kWarp / kQuads;  // pixels
    parts = int(std::clamp<int64_t>(z.pixels() / kLeast, 1, rows));
    team = std::max(kWarp, power_of_two(divide_up(z.pixels(), 2 * parts) * kQuads, kTeamThreads));
  }
  int channels() const { return kTeamThreads / team; }  // of a thread block
};

template <int S, bool kWeights, class T>
__device__ __forceinline__ void gather(const Edge<T>& edge, const Sizes& z, const Part& part,
                                       int channel, const Gathering& gathering, int row) {
  using A = Accumulate<T>;
  const bool exists = channel < z.selected;
  const int team = gathering.team, rank = int(threadIdx.x) & (team - 1);
  const int a = exists ? channel : 0;
  const ChosenPlanes<T> chosen(edge, z, part.block, rank % kQuads);
  const A* scale = chosen.scale == nullptr ? nullptr : chosen.scale + chosen.selected[a] * kLanes;
  Gather<S, kWeights, T> work{edge, z, part, a, team, chosen.plane(a), scale};
  const int width = int(z.width), pixels = part.last - part.first;
  const Pairs pairs(part.first, pixels, width, 1);
  const int count = S == 1 ? pairs.pairs : pixels;
#pragma unroll 1
  for (int first = 0; first < count; first += team / kQuads) {
    const int number = first + rank / kQuads;
    Pairs::Pixel at;
    bool has[kCells<S>];
    if constexpr (S == 1) {
      at = pairs.pixel(number);
      for (int i = 0; i < 2; ++i) has[i] = exists && number < count && pairs.place(at, i) >= 0;
    } else {
      const int p = part.first + number;
      at = {int(unsigned(p) / width), int(unsigned(p) % width)};
      has[0] = exists && number < count;
    }
    work.template row<0>(at, has);
    if constexpr (S == 2) work.template row<1>(at, has);
  }
  if (edge.grad_scale != nullptr) {
    // the rows of a block of images that no thread block here has are zeros
    const int end = int(part.block + 1) * gathering.rows;
    join_warps(spread_sums<kQuads>(work.total.value), team, kLanes, [&](int lane, double sum) {
      if (!exists) return;
      for (int other = row; other < end; other += gathering.parts)
        edge.scale_parts[(other * z.selected + channel) * kLanes + image_of(lane)] =
            other == row ? sum : 0;
    });
  }
  if (!kWeights) return;
  A* dw = edge.grad_weights + row * z.weights(edge.active).count(edge.stride);
  work.template put_row<0>(dw, exists);
  if constexpr (S == 2) work.template put_row<1>(dw, exists);
}

// dx = d L / d x of the chosen channels, gathered from dv of all convolutions (masked where relu
// was off), from the pools' windows and through skip_connect; the gradient of all taps; and sums of
// dx * h for the scores, in parts.
//
// blockIdx.x is a part, blockIdx.y a group of channels, blockIdx.z an edge. A team of threads takes
// a channel; a thread holds, of one quad of images, two pixels of x at stride 1, at stride 2 the
// four that belong to an output pixel, a row of them at a time: all that it loads of dv serves both
// pixels, dx and the taps. The sums for the taps are spread over the lanes of a warp for each
// convolution, so that a thread keeps but one of each. Bytes: per chosen value it reads four dv,
// two values and a byte of the pools, g and h, all but the last two 6 to 18 times through the
// first-level cache, and writes dx.
template <bool kWeights, class T>
__global__ void __launch_bounds__(kTeamThreads, sizeof(T) == 8 ? 1 : 4)
    first_gather_kernel(const Group<T> group, const Gathering gathering) {
  wait_for_preceding_grid();
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.z];
  const Part part = part_of(z, blockIdx.x, gathering.parts);
  const int row = int(blockIdx.x) + int(part.block) * (gathering.rows - gathering.parts);
  const int team = int(threadIdx.x) / gathering.team;
  const int a = int(blockIdx.y) * (kTeamThreads / gathering.team) + team;
  if (edge.stride == 1)
    gather<1, kWeights>(edge, z, part, a, gathering, row);
  else
    gather<2, kWeights>(edge, z, part, a, gathering, row);
}

}  // namespace adarts::cuda
