// The second halves of the separable convolutions, backward, in one launch: du of their BatchNorms,
// dv = W^T du, then through the depthwise convolution and the ReLU to q, the gradient of the first
// half's norm; and the gradients of both convolutions' weights.
#include <algorithm>

#include "backward.cuh"
#include "launchers.cuh"
#include "strips.cuh"
#include "sums.cuh"

namespace adarts::cuda {

namespace {

__device__ __forceinline__ Norm first_norm(int sep) {
  return sep == 0 ? kNormSep3First : kNormSep5First;
}
__device__ __forceinline__ Norm second_norm(int sep) { return sep == 0 ? kNormSep3 : kNormSep5; }

// Outputs of the pointwise convolution whose weights' gradients a block adds up at a time.
constexpr int kOutputs = 16, kWarps = kCellThreads / kWarp;

// What a block keeps beside the tile: for all outputs of the pointwise convolution the coefficients
// of du, the weights of the block's channels and the planes of g; sums of the warps.
template <class Planes, class Gradients, class Weights, class Outputs, class Shares>
struct Kept {
  Planes planes;
  Gradients gradients;
  Weights weights;
  Outputs output;
  Shares shares;
};

// The tiles of a block, of the convolution `sep`, for the channels from `first` on.
template <int K, bool kWeights, class T, class Shared>
__device__ __forceinline__ void tiles_backward(const Group<T>& group, const Tiling& tiling, int sep,
                                               int first, Shared kept) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.z];
  const int c = int(z.selected), plane = int(z.pixels()) * kLanes;
  const Strip strip;
  const int a = first + strip.team;
  const EdgeWeights at = z.weights(edge.active);
  const int64_t depthwise = at.depthwise(second_norm(sep)) + a * K * K;
  const int64_t pointwise = at.pointwise(second_norm(sep), K);
  const A* taps = edge.weights + depthwise;
  A* grad_weights = kWeights ? edge.grad_weights + blockIdx.x * at.count(edge.stride) : nullptr;
  A moments = 0, of_taps = 0;  // spread over the lanes
  for (int number = blockIdx.x; number < tiling.count; number += gridDim.x) {
    const Tile<K, A> tile(tiling, z, number);
    const bool works = a < c && strip.column < tile.columns;
    const NormalisedPlanes<T> input(edge, z, first_norm(sep), tile.block, strip.quad);
    const auto input_at = [&](int channel, int row, int column) {
      const T* from = input.plane(channel) + tile.offset(row, column);
      return relu(load_quad(from) - input.mean(channel));
    };
    Quad<A> x[kTileRows] = {};
    if (works)
      for (int row = 0; row < kTileRows; ++row)
        if (tile.inside(row, strip.column)) x[row] = input_at(a, row, strip.column);
    if (kWeights) {  // the depthwise outputs, into the places of their tile
      Quad<A> v[kTileRows] = {};
      if (number != int(blockIdx.x)) __syncthreads();
      tile.put(kept.planes, strip, x);
      tile.each_outside(strip, [&](int row, int column) {
        const bool inside = tile.inside(row, column);
        for (int k = 0; k < kTileChannels; ++k) {
          Quad<A> value{};
          if (inside && first + k < c) value = input_at(first + k, row, column);
          kept.planes[tile.place(k, row, column, strip.quad)] = value;
        }
      });
      __syncthreads();
      if (works) {
        convolve(tile, strip, kept.planes, taps, v);
        const A rstd = input.rstd(a);
        for (int row = 0; row < kTileRows; ++row) v[row] = rstd * v[row];
      }
      __syncthreads();
      tile.put(kept.planes, strip, v);
    }
    const Quad<A> real = real_lanes<A>(z.lanes(tile.block), strip.quad);
    const T* g = edge.grad + tile.block * edge.grad_block + strip.quad * kQuad;
    const T* u = stored_planes(edge, z, second_norm(sep), tile.block) + strip.quad * kQuad;
    const auto du = [&](int o, int64_t offset) {
      const Gradient<A> gradient = kept.gradients[o];
      const int plane_of_g = kept.output[o];
      return combine(gradient, load_quad(g + int64_t(plane_of_g) * plane + offset),
                     load_quad(u + int64_t(o) * plane + offset), real);
    };
    const auto put_dv = [&](int row, int column) {
      Quad<A> dv[kTileChannels] = {};
      if (tile.inside(row, column)) {
        const int64_t offset = tile.offset(row, column);
#pragma unroll 2
        for (int o = 0; o < c; ++o) {
          const Quad<A> gradient = du(o, offset), weights = kept.weights[o];
          for (int k = 0; k < kTileChannels; ++k) dv[k].add(weights[k], gradient);
        }
      }
      for (int k = 0; k < kTileChannels; ++k)
        kept.planes[tile.place(k, row, column, strip.quad)] = dv[k];
    };
    if (!kWeights && number != int(blockIdx.x)) __syncthreads();
    tile.each_outside(strip, put_dv);
    // Here a thread has all channels of a pixel, row `strip.team` of the tile.
    if (!kWeights) {
      if (strip.column < tile.columns) put_dv(strip.team, strip.column);
      __syncthreads();
    } else {
      __syncthreads();
      const bool inside = strip.column < tile.columns && tile.inside(strip.team, strip.column);
      const int64_t offset = tile.offset(strip.team, strip.column);
      Quad<A> v[kTileChannels] = {}, dv[kTileChannels] = {};
      if (inside)
        for (int k = 0; k < kTileChannels; ++k)
          v[k] = kept.planes[tile.place(k, strip.team, strip.column, strip.quad)];
      for (int begin = 0; begin < c; begin += kOutputs) {
        const int end = begin + kOutputs < c ? begin + kOutputs : c;
#pragma unroll 1
        for (int o = begin; o < end; o += 4) {
          A products[4 * kTileChannels] = {};
          if (inside)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              if (o + i >= c) break;
              const Quad<A> gradient = du(o + i, offset), weights = kept.weights[o + i];
              for (int k = 0; k < kTileChannels; ++k) {
                dv[k].add(weights[k], gradient);
                products[i * kTileChannels + k] += (gradient * v[k]).sum();
              }
            }
          const A sum = spread_sums(products);
          if (threadIdx.x % kWarp < 4 * kTileChannels)
            kept.shares[((o - begin) * kTileChannels + threadIdx.x % kWarp) * kWarps +
                        threadIdx.x / kWarp] = sum;
        }
        if (end == c && strip.column < tile.columns)
          for (int k = 0; k < kTileChannels; ++k)
            kept.planes[tile.place(k, strip.team, strip.column, strip.quad)] = dv[k];
        __syncthreads();
        const int o = begin + int(threadIdx.x) / kTileChannels, k = threadIdx.x % kTileChannels;
        if (o < end && first + k < c) {
          A sum = 0;
          for (int warp = 0; warp < int(blockDim.x) / kWarp; ++warp)
            sum += A(kept.shares[threadIdx.x * kWarps + warp]);
          grad_weights[pointwise + o * c + first + k] += sum;
        }
        if (end < c) __syncthreads();
      }
    }
    Quad<A> dx[kTileRows] = {};
    A sums[2] = {}, dw[K * K] = {};
    if (works) {
      transposed<kWeights>(tile, strip, kept.planes, taps, x, dx, dw);
      T* q = edge.q + chosen_plane(z, edge.active.q_place(sep), tile.block, a) + strip.quad * kQuad;
#pragma unroll
      for (int row = 0; row < kTileRows; ++row) {
        if (!tile.inside(row, strip.column)) continue;
        for (int i = 0; i < kQuad; ++i) dx[row][i] = x[row][i] > 0 ? dx[row][i] : A(0);
        store_quad(q + tile.offset(row, strip.column), dx[row]);
        sums[0] += dx[row].sum();
        sums[1] += (dx[row] * x[row]).sum();
      }
    }
    moments += spread_sums(sums);
    if (kWeights) {
      const A rstd = a < c ? input.rstd(a) : A(0);
      of_taps += rstd * spread_sums(dw);
    }
  }
  const int team = int(blockDim.x) / kTileChannels;
  double* rows = group.partial + blockIdx.z * group.parts * first_rows(c);
  join_warps<kCellThreads>(moments, team, 2, [&](int i, double sum) {
    if (a >= c) return;
    for (int64_t part = blockIdx.x; part < group.parts; part += gridDim.x)
      rows[part * first_rows(c) + (2 * sep + i) * c + a] = part == blockIdx.x ? sum : 0;
  });
  if (!kWeights) return;
  join_warps<kCellThreads>(of_taps, team, K * K, [&](int tap, double sum) {
    if (a < c) grad_weights[depthwise + tap] += A(sum);
  });
}

// dv = W^T du, q = [relu's input > 0] * (dv through the reversed taps), sums of q and of
// q * (u - mean), and with kWeights dW = du v^T and the gradient of the taps.
//
// A block has the tiles blockIdx.x, blockIdx.x + gridDim.x, ... (strips.cuh) of four channels of
// one convolution (blockIdx.y) of an edge (blockIdx.z). With kWeights it lays the ReLU's input into
// shared memory, with the pixels around the tile, and makes of it the depthwise outputs v, strip by
// strip; then a thread makes all four dv of a pixel from du of all c channels, in the place of v,
// and the products du v; at last it goes down its strip of dv, for q and the taps' gradient. So dv
// never reaches memory. It is made again in the pixels around a tile, 1.25 times as many as in the
// tile for a 5x5, which is cheaper than a launch and a plane each way.
// Bytes: each tile reads g and u2 once and u1 once, with the pixels around, and writes q.
template <bool kWeights, class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    second_half_backward_kernel(const Group<T> group, const Tiling tiling) {
  using A = Accumulate<T>;
  using Vector = Quad<A>;
  using Coefficients = Gradient<A>;
  ADARTS_DYNAMIC_SHARED(Vector, planes);
  ADARTS_SHARED(Coefficients, gradients, kMostChosen);
  ADARTS_SHARED(Vector, weights, kMostChosen);
  ADARTS_SHARED(int, output, kMostChosen);
  ADARTS_SHARED(A, shares, kOutputs * kTileChannels * kWarps);
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.z];
  const int sep = blockIdx.y % 2, first = int(blockIdx.y) / 2 * kTileChannels, c = int(z.selected);
  const Norm norm = second_norm(sep);
  if (!edge.active.has_norm(norm)) return;
  ADARTS_ASSERT(c <= kMostChosen);
  const A* pointwise = edge.weights + z.weights(edge.active).pointwise(norm, sep == 0 ? 3 : 5);
  for (int o = threadIdx.x; o < c; o += int(blockDim.x)) {
    gradients[o] = operation_gradient(edge, z, sep == 0 ? kSep3 : kSep5, o);
    Vector row{};
    for (int k = 0; k < kTileChannels; ++k)
      if (first + k < c) row[k] = pointwise[o * c + first + k];
    weights[o] = row;
    output[o] = edge.output[o];
  }
  __syncthreads();
  const Kept kept{planes, gradients, weights, output, shares};
  if (sep == 0)
    tiles_backward<3, kWeights>(group, tiling, sep, first, kept);
  else
    tiles_backward<5, kWeights>(group, tiling, sep, first, kept);
}

}  // namespace

template <class T>
cudaError_t second_half_backward(const Group<T>& group, cudaStream_t stream) {
  using A = Accumulate<T>;
  const Sizes& z = group.sizes;
  const Tiling tiling(z, kTileColumns<A>);
  const bool weights = group.edge[0].grad_weights != nullptr;  // of all edges, or of none
  const auto kernel =
      weights ? second_half_backward_kernel<true, T> : second_half_backward_kernel<false, T>;
  const size_t bytes = Tile<5, A>::kPlaces * sizeof(Quad<A>);
  const cudaError_t error = allow_shared(kernel, bytes);
  if (error != cudaSuccess) return error;
  const dim3 grid(std::min<int64_t>(group.parts, tiling.count),
                  2 * divide_up(z.selected, kTileChannels), group.edges);
  return launch(kernel, grid, dim3(tiling.threads()), bytes, stream, group, tiling);
}

template cudaError_t second_half_backward(const Group<float>&, cudaStream_t);
template cudaError_t second_half_backward(const Group<double>&, cudaStream_t);
template cudaError_t second_half_backward(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
