// The second halves of the separable convolutions, backward, in one launch: du of their BatchNorms,
// dv = W^T du, then through the depthwise convolution and the ReLU to q, the gradient of the first
// half's norm; and the gradients of both convolutions' weights.
#include <algorithm>

#include "launchers.cuh"
#include "second_half_tile.cuh"

namespace adarts::cuda {

namespace {

template <class T>
SeparableBackward<T> separable(const Group<T>& group, int e, int sep) {
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[e];
  const SeparablePlaces at(z, edge, sep);
  if (!edge.active.has_norm(at.norm)) return {};
  const int64_t c = z.selected;
  const bool weights = edge.grad_weights != nullptr;
  return {edge.grad,
          edge.grad_block,
          edge.output,
          edge.alphas + operation_of(at.norm),
          edge.beta,
          edge.sums,
          edge.sums + operation_of(at.norm) * c,
          edge.statistics(at.norm, c, 0),
          edge.statistics(at.before, c, 0),
          edge.u + at.u,
          edge.u + at.input,
          edge.q + edge.active.q_place(sep) * at.planes,
          edge.weights + at.taps,
          edge.weights + at.pointwise,
          weights ? edge.grad_weights + at.taps : nullptr,
          weights ? edge.grad_weights + at.pointwise : nullptr,
          int(z.weights(edge.active).count(edge.stride)),
          group.partial + e * group.parts * first_rows(c) + 2 * sep * c};
}

// The tiles of a block. `prepare` fills what the block keeps; that of a first tile is not needed
// before a barrier that there is anyway.
template <int K, bool kWeights, class T, class Shared, class Prepare>
__device__ __forceinline__ void tiles_backward(const SecondBackward<T>& args,
                                               const SeparableBackward<T>& of, int first,
                                               Shared kept, const Prepare& prepare) {
  using A = Accumulate<T>;
  constexpr int kTaps = kWeights ? K * K : 0;
  const int c = args.selected;
  Tile<K, A> tile(args.tiling, blockIdx.x);
  prepare();
  const int a = first + tile.team();
  for (int number = blockIdx.x;;) {
    const bool later = number != int(blockIdx.x), works = a < c && tile.rows > 0;
    const Work<K, T, Shared> work{args, of, tile, first, kept};
    const auto inputs = [&] {  // made again where it is used: there are not so many registers
      return Inputs<K, T, const A*, decltype(kept.planes)>{
          tile,      of.input + work.block, of.input_statistics + kMean * c, kept.planes, first, c,
          args.plane};
    };
    Quad<A> x[kTileRows];
    if constexpr (kWeights) {
      Quad<A> v[kTileRows] = {};
      if (later) __syncthreads();
      inputs().put();
      __syncthreads();
      if (works) {
        convolve(tile, kept.planes, of.taps + a * K * K, v);
        const A rstd = of.input_statistics[kRstd * c + a];
        for (int row = 0; row < kTileRows; ++row) v[row] = rstd * v[row];
      }
      __syncthreads();
      tile.put_strip(kept.planes, v);
      work.put_dv_around();
      __syncthreads();
      work.put_dv_and_weights(of.grad_pointwise + blockIdx.x * of.grad_part, later);
      inputs().load_strip(x);  // again
    } else {
      inputs().load_strip(x);
      __syncthreads();
      tile.clear(kept.planes);
      work.put_dv_around();
      if (tile.pixel >= 0) work.put_dv(tile.pixel, tile.pixel_place);
      __syncthreads();
    }
    Quad<A> dx[kTileRows] = {};
    A sums[2] = {}, dw[K * K] = {};
    if (works) {
      transposed<kWeights>(tile, kept.planes, of.taps + a * K * K, x, dx, dw);
      work.put_q(x, dx, sums);
    }
    // A tile adds to what the block's tiles before have left.
    A sum_of_lane = spread_sums(sums);  // of a tap, then lane i has moment i % 2
    if (kWeights) {
      const A of_tap = of.input_statistics[kRstd * c + std::min(a, c - 1)] * spread_sums(dw);
      if (int(threadIdx.x % kWarp) < kTaps) sum_of_lane = of_tap;
    }
    kept.lanes[threadIdx.x] = sum_of_lane;
    __syncthreads();
    const int lane = threadIdx.x & ((1 << args.tiling.team_bits) - 1);
    if (a < c && lane < kTaps + 2) {
      double sum = A(kept.lanes[threadIdx.x]);
      if (args.tiling.team_bits > 5) sum += A(kept.lanes[threadIdx.x + kWarp]);
      if (lane < kTaps) {
        A* to = of.grad_taps + blockIdx.x * of.grad_part + a * K * K + lane;
        *to = (later ? *to : A(0)) + A(sum);
      } else {
        double* to = of.moments + blockIdx.x * int(first_rows(c)) + lane % 2 * c + a;
        *to = (later ? *to : 0) + sum;
      }
    }
    number += gridDim.x;
    if (number >= args.tiling.count) break;
    tile = Tile<K, A>(args.tiling, number);
  }
}

// dv = W^T du, q = [relu's input > 0] * (dv through the reversed taps), sums of q and of
// q * (u - mean), and with kWeights dW = du v^T and the gradient of the taps.
//
// A block has the tiles blockIdx.x, blockIdx.x + gridDim.x, ... (strips.cuh) of four channels of
// one convolution (blockIdx.y) of an edge (blockIdx.z). With kWeights it lays the ReLU's input into
// shared memory, with the pixels around the tile, and makes of it the depthwise outputs v, strip by
// strip; then a thread makes all four dv of a pixel from du of all c channels, in the place of v,
// and the products du v; at last it goes down its strip of dv, for q and the taps' gradient. So dv
// never reaches memory. It is made again in the pixels around a tile, up to 1.5 times as many as in
// the tile, which is cheaper than a launch and a plane each way; and du for every four channels.
// Bytes: each tile reads g, u2 and u1 once, with the pixels around, whole sectors, and writes q.
// Instructions for a value at c = 4 with kWeights: 739 of a 5x5, 332 of them multiply-adds.
template <bool kWeights, class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    second_half_backward_kernel(const SecondBackward<T> args) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Vector = Quad<A>;
  using Coefficients = Gradient<A>;
  ADARTS_DYNAMIC_SHARED(Vector, planes);
  ADARTS_SHARED(Coefficients, gradients, kMostChosen);
  ADARTS_SHARED(Vector, weights, kMostChosen);
  ADARTS_SHARED(uint32_t, g, kMostChosen);
  ADARTS_SHARED(uint32_t, u, kMostChosen);
  ADARTS_SHARED(A, shares, kOutputs * kTileChannels * kWarps);
  ADARTS_SHARED(A, lanes, kCellThreads);
  const int sep = blockIdx.y % 2, first = blockIdx.y / 2 * kTileChannels, c = args.selected;
  const SeparableBackward<T>& of = args.of[blockIdx.z][sep];
  if (of.q == nullptr) return;
  const Kept kept{planes, gradients, weights, g, u, shares, lanes};
  const auto prepare = [&] {  // no branch, so that all loads are under way at once
    const int o = threadIdx.x, last = o < c ? o : c - 1;
    const double s0 = of.sum_g[last], s1 = of.sum_product[last];
    const uint32_t of_g = of.output[last] * args.plane;
    Vector row;
    for (int k = 0; k < kTileChannels; ++k)
      row[k] = of.pointwise[last * c + (first + k < c ? first + k : c - 1)];
    const A scale = *of.alpha * (of.beta == nullptr ? A(1) : *of.beta);
    const Coefficients gradient =
        norm_gradient(scale, of.statistics[kMean * c + last], of.statistics[kRstd * c + last], s0,
                      s1, args.share);
    if (o >= int(divide_up(c, kSome)) * kSome) return;
    for (int k = 0; k < kTileChannels; ++k)
      if (o >= c || first + k >= c) row[k] = 0;
    gradients[o] = o < c ? gradient : Coefficients{};
    weights[o] = row;
    g[o] = of_g;
    u[o] = last * args.plane;
  };
  clear_other_parts<kTileChannels>(of.moments, args.parts, int(first_rows(c)), c, first);
  if (sep == 0)
    tiles_backward<3, kWeights>(args, of, first, kept, prepare);
  else
    tiles_backward<5, kWeights>(args, of, first, kept, prepare);
}

}  // namespace

template <class T>
cudaError_t second_half_backward(const Group<T>& group, cudaStream_t stream) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  SecondBackward<T> args{SecondHalfSizes(group), {}, z.training ? 1 / double(z.count()) : 0};
  for (int e = 0; e < group.edges; ++e)
    for (int sep = 0; sep < 2; ++sep) args.of[e][sep] = separable(group, e, sep);
  const bool weights = group.edge[0].grad_weights != nullptr;  // of all edges, or of none
  const auto kernel =
      weights ? second_half_backward_kernel<true, T> : second_half_backward_kernel<false, T>;
  const size_t bytes = Tile<5, A>::kPlaces * sizeof(Quad<A>);
  const cudaError_t error = allow_shared(kernel, bytes);
  if (error != cudaSuccess) return error;
  const dim3 grid(std::min(args.parts, args.tiling.count), 2 * divide_up(z.selected, kTileChannels),
                  group.edges);
  return launch_dependent(kernel, grid, dim3(kTileChannels << args.tiling.team_bits), bytes, stream,
                          args);
}

template cudaError_t second_half_backward(const Group<float>&, cudaStream_t);
template cudaError_t second_half_backward(const Group<double>&, cudaStream_t);
template cudaError_t second_half_backward(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
