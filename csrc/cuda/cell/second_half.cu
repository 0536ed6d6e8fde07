// The second halves of the separable convolutions, forward: u = W depthwise(relu(BatchNorm(u1))),
// and the sums of u and u^2.
#include <algorithm>
#include <cmath>

#include "launchers.cuh"
#include "second_half_inputs.cuh"
#include "sums.cuh"

namespace adarts::cuda {

namespace {

// A separable convolution of an edge, pointers to the first block of images and to the first part.
template <class T>
struct Separable {
  using A = Accumulate<T>;
  const T* input;
  T* u;  // null where there is no such convolution
  const A *taps, *pointwise, *statistics;
  const double* sums;  // of the input and, c further, its squares; null where statistics are known
  double* moments;     // likewise of u; or null
};

// All that a launch takes: the 3x3 and the 5x5 convolutions of its edges.
template <class T>
struct SecondHalf : SecondHalfSizes {
  Separable<T> of[kGroup][2];
  int64_t count;  // values of a statistic
  double eps;
};

template <class T>
Separable<T> separable(const Group<T>& group, int e, int sep) {
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[e];
  const SeparablePlaces at(z, edge, sep);
  if (!edge.active.has_norm(at.norm)) return {};
  const int64_t c = z.selected;
  double* moments =
      group.partial == nullptr ? nullptr : group.partial + e * group.parts * moment_rows(c);
  const bool of_batch = z.training && moments != nullptr;
  return {edge.u + at.input,
          edge.u + at.u,
          edge.weights + at.taps,
          edge.weights + at.pointwise,
          edge.statistics(at.before, c, 0),
          of_batch ? moments + at.before * 2 * c : nullptr,
          moments == nullptr ? nullptr : moments + at.norm * 2 * c};
}

constexpr int kOutputs = 8;  // channels that a block makes

// The tiles of a block, outputs from `first` on.
template <int K, class T, class Planes, class Weights, class Statistics, class Shares>
__device__ __forceinline__ void tiles_forward(const SecondHalf<T>& args, const Separable<T>& of,
                                              int first, Planes planes, Weights weights,
                                              Statistics means, Statistics rstds, Shares shares) {
  using A = Accumulate<T>;
  const int c = args.selected, thread = threadIdx.x, lane = thread % kWarp, warp = thread / kWarp;
  for (int number = blockIdx.x; number < args.tiling.count; number += gridDim.x) {
    const Tile<K, A> tile(args.tiling, number);
    const int64_t block = tile.block * args.block;
    Quad<A> u[kOutputs] = {};
#pragma unroll 1
    for (int group = 0; group < c; group += kTileChannels) {
      const Inputs<K, T, Statistics, Planes> inputs{tile, of.input + block, means, planes, group,
                                                    c,    args.plane};
      const int a = group + tile.team();
      if (group > 0 || number != int(blockIdx.x)) __syncthreads();
      inputs.put();
      __syncthreads();
      Quad<A> v[kTileRows] = {};
      if (a < c && tile.rows > 0) {
        convolve(tile, planes, of.taps + a * K * K, v);
        const A rstd = rstds[a];
        for (int row = 0; row < kTileRows; ++row) v[row] = rstd * v[row];
      }
      __syncthreads();
      tile.put_strip(planes, v);
      __syncthreads();
      if (tile.pixel < 0) continue;
      tile.get(planes, tile.pixel_place, v);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        if (o % 4 == 0 && first + o >= c) break;
        const Quad<A> row = weights[group / kTileChannels * kOutputs + o];
        for (int k = 0; k < kTileChannels; ++k) u[o].add(row[k], v[k]);
      }
    }
    const int lanes = args.batch - tile.block * kLanes;  // images of the block
    const int real = tile.pixel < 0 ? 0 : real_images(lanes, thread % kQuads);
    T* to = pinned(of.u + block + tile.pixel);
    A sums[2 * kOutputs] = {}, pivots[kOutputs];
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      for (int i = 0; i < kQuad; ++i) u[o][i] = i < real ? u[o][i] : A(0);
      if (tile.pixel >= 0 && first + o < c)
        store_quad(to + uint32_t((first + o) * args.plane), u[o]);
      // Around a value of the channel: the variance is a difference of the sums.
      pivots[o] = __shfl_sync(kAllLanes, u[o][0], 0);
      for (int i = 0; i < kQuad; ++i) {
        const A apart = i < real ? u[o][i] - pivots[o] : A(0);
        sums[o] += apart;
        sums[kOutputs + o] += apart * apart;
      }
    }
    if (of.moments == nullptr) continue;
    constexpr int kRow = 3 * kOutputs + 1;
    const A sum = spread_sums(sums);
    const int values = group_sum(real);
    if (lane < 2 * kOutputs) shares[warp * kRow + lane] = sum;
    if (lane == 0) {
      for (int o = 0; o < kOutputs; ++o) shares[warp * kRow + 2 * kOutputs + o] = pivots[o];
      shares[warp * kRow + 3 * kOutputs] = A(values);
    }
    __syncthreads();
    const int o = thread % kOutputs;
    if (thread >= 2 * kOutputs || first + o >= c) continue;
    double total = 0;
    for (int other = 0; other < int(blockDim.x) / kWarp; ++other) {
      const double apart = A(shares[other * kRow + o]);
      const double pivot = A(shares[other * kRow + 2 * kOutputs + o]);
      const double all = A(shares[other * kRow + 3 * kOutputs]);
      if (thread < kOutputs)
        total += apart + all * pivot;
      else
        total += A(shares[other * kRow + thread]) + pivot * (2 * apart + all * pivot);
    }
    double* moment =
        of.moments + blockIdx.x * int(moment_rows(c)) + thread / kOutputs * c + first + o;
    *moment = (number == int(blockIdx.x) ? 0 : *moment) + total;
  }
}

// u of eight channels, and their sums.
//
// A block has the tiles blockIdx.x, blockIdx.x + gridDim.x, ... (strips.cuh) of eight outputs of a
// convolution (blockIdx.y) of an edge (blockIdx.z). Four channels at a time it lays relu(u1 - mean)
// into shared memory, with the pixels around the tile, makes of it the depthwise outputs, strip by
// strip, in their place, and adds them to the outputs, of which a thread has all eight of a pixel.
// It adds up the parts of its BatchNorm's sums itself: that takes less time than a launch that does
// it for all.
// Bytes: each tile reads u1 once for every eight outputs, with the pixels around, and writes u.
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    second_half_kernel(const SecondHalf<T> args) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Vector = Quad<A>;
  ADARTS_DYNAMIC_SHARED(Vector, planes);
  ADARTS_SHARED(Vector, weights, kMostSelected / kTileChannels * kOutputs);
  ADARTS_SHARED(double, totals, 2 * kMostSelected);
  ADARTS_SHARED(A, means, kMostSelected);
  ADARTS_SHARED(A, rstds, kMostSelected);
  ADARTS_SHARED(A, shares, kWarps * (3 * kOutputs + 1));
  const int sep = blockIdx.y % 2, first = blockIdx.y / 2 * kOutputs, c = args.selected;
  const Separable<T>& of = args.of[blockIdx.z][sep];
  if (of.u == nullptr) return;
  for (int i = threadIdx.x; i < int(divide_up(c, kTileChannels)) * kOutputs; i += int(blockDim.x)) {
    const int o = first + i % kOutputs, group = i / kOutputs * kTileChannels;
    Vector row{};
    for (int k = 0; k < kTileChannels; ++k)
      if (o < c && group + k < c) row[k] = of.pointwise[o * c + group + k];
    weights[i] = row;
  }
  if (of.sums != nullptr) total_rows(of.sums, args.parts, moment_rows(c), 0, 2 * c, totals);
  for (int a = threadIdx.x; a < c; a += int(blockDim.x)) {
    if (of.sums != nullptr) {  // nobody has finished the statistics yet
      const double sum = totals[a], square = totals[c + a];
      const Moments moments(sum, square, args.count);
      means[a] = A(moments.mean);
      rstds[a] = A(1 / std::sqrt(moments.variance + args.eps));
    } else {
      means[a] = of.statistics[kMean * c + a];
      rstds[a] = of.statistics[kRstd * c + a];
    }
  }
  if (of.moments != nullptr)
    clear_other_parts<kOutputs>(of.moments, args.parts, int(moment_rows(c)), c, first);
  __syncthreads();
  if (sep == 0)
    tiles_forward<3, T>(args, of, first, planes, weights, means, rstds, shares);
  else
    tiles_forward<5, T>(args, of, first, planes, weights, means, rstds, shares);
}

}  // namespace

template <class T>
cudaError_t second_half(const Group<T>& group, cudaStream_t stream) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  SecondHalf<T> args{SecondHalfSizes(group), {}, z.count(), z.eps};
  for (int e = 0; e < group.edges; ++e)
    for (int sep = 0; sep < 2; ++sep) args.of[e][sep] = separable(group, e, sep);
  const size_t bytes = Tile<5, A>::kPlaces * sizeof(Quad<A>);
  const cudaError_t error = allow_shared(second_half_kernel<T>, bytes);
  if (error != cudaSuccess) return error;
  const dim3 grid(std::min(args.parts, args.tiling.count), 2 * divide_up(z.selected, kOutputs),
                  group.edges);
  return launch_dependent(second_half_kernel<T>, grid, dim3(kTileChannels << args.tiling.team_bits),
                          bytes, stream, args);
}

template cudaError_t second_half(const Group<float>&, cudaStream_t);
template cudaError_t second_half(const Group<double>&, cudaStream_t);
template cudaError_t second_half(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
