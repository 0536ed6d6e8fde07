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

// A separable convolution of an edge, pointers to the first block of images and to the first part.
template <class T>
struct Separable {
  using A = Accumulate<T>;
  const T* g;
  int64_t g_block;        // from one block of images to the next
  const int32_t* output;  // the plane of g that a channel has
  const A *alpha, *beta;
  const double *sum_g, *sum_product;  // of g, of g * (u - mean)
  const A *statistics, *input_statistics;
  const T *u, *input;  // of the norm behind it, and of the one before it
  T* q;                // null where there is no such convolution
  const A *taps, *pointwise;
  A *grad_taps, *grad_pointwise;  // or null
  int grad_part;                  // from one part to the next
  double* moments;                // sum q, and c further sum q * (u - mean)
};

// All that a launch takes: the 3x3 and the 5x5 convolutions of its edges.
template <class T>
struct SecondBackward {
  Separable<T> of[kGroup][2];
  Tiling tiling;
  int parts, batch, selected, plane;  // elements of a plane
  int64_t block;                      // of a block of images of the chosen channels
  double share;                       // see norm_gradient
};

template <class T>
Separable<T> separable(const Group<T>& group, int e, int sep) {
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[e];
  const Norm norm = sep == 0 ? kNormSep3 : kNormSep5;
  const Norm before = sep == 0 ? kNormSep3First : kNormSep5First;
  if (!edge.active.has_norm(norm)) return {};
  const int64_t c = z.selected, planes = z.blocks * c * z.pixels() * kLanes;
  const EdgeWeights at = z.weights(edge.active);
  const int64_t taps = at.depthwise(norm), pointwise = at.pointwise(norm, sep == 0 ? 3 : 5);
  const bool weights = edge.grad_weights != nullptr;
  return {edge.grad,
          edge.grad_block,
          edge.output,
          edge.alphas + operation_of(norm),
          edge.beta,
          edge.sums,
          edge.sums + operation_of(norm) * c,
          edge.statistics(norm, c, 0),
          edge.statistics(before, c, 0),
          edge.u + edge.active.stored_place(norm) * planes,
          edge.u + edge.active.stored_place(before) * planes,
          edge.q + edge.active.q_place(sep) * planes,
          edge.weights + taps,
          edge.weights + pointwise,
          weights ? edge.grad_weights + taps : nullptr,
          weights ? edge.grad_weights + pointwise : nullptr,
          int(at.count(edge.stride)),
          group.partial + e * group.parts * first_rows(c) + 2 * sep * c};
}

// A pointer to which offsets are added as they are: the compiler would rather add them to the
// offset that it was made of, which takes three times as many instructions.
template <class T>
__device__ __forceinline__ T* pinned(T* pointer) {
#if defined(__CUDA_ARCH__)
  asm("" : "+l"(pointer));
  __builtin_assume(__isGlobal(pointer));
#endif
  return pointer;
}

// Outputs of the pointwise convolution whose weights' gradients a block adds up at a time, of which
// a thread forms du of kSome at once.
constexpr int kOutputs = 16, kSome = 4, kProducts = kSome * kTileChannels;
constexpr int kWarps = kCellThreads / kWarp;

// What a block has in shared memory: the tile; for each output of the pointwise convolution the
// coefficients of du, the weights of the tile's channels, and where its planes of g and u begin;
// sums of warps and of lanes.
template <class Planes, class Gradients, class Weights, class Offsets, class Shares>
struct Kept {
  Planes planes;
  Gradients gradients;
  Weights weights;
  Offsets g, u;
  Shares shares, lanes;
};

// A block's work on a tile, of the channels from `first` on.
template <int K, class T, class Shared>
struct Work {
  using A = Accumulate<T>;
  const SecondBackward<T>& args;
  const Separable<T>& of;
  const Tile<K, A>& tile;
  int first;
  Shared kept;
  int selected = args.selected, plane = args.plane;
  int64_t block = tile.block * args.block;

  // Channel k of the tile, the last one again in place of those that do not exist.
  __device__ __forceinline__ int channel(int k) const { return std::min(first + k, selected - 1); }

  // relu(u - mean) of the thread's strip of the input, 0 outside the plane. Lanes beyond the batch
  // do not matter: their dv is 0.
  __device__ __forceinline__ void load_strip(Quad<A> (&x)[kTileRows]) const {
    const int a = channel(tile.team());
    const T* from = pinned(of.input + block + (a * plane + tile.strip));
    const A mean = of.input_statistics[kMean * selected + a];
#pragma unroll
    for (int row = 0; row < kTileRows; ++row)
      x[row] = load_quad(from + uint32_t(row < tile.rows ? row * tile.row_step : 0));
#pragma unroll
    for (int row = 0; row < kTileRows; ++row)
      x[row] = row < tile.rows ? relu(x[row] - splat(mean)) : Quad<A>{};
  }

  // The same of all channels around the tile, into shared memory; 0 outside the plane.
  __device__ __forceinline__ void put_inputs_around() const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (tile.around_place[i] < 0) continue;
      Quad<A> x[kTileChannels] = {};
      if (tile.around[i] >= 0) {
        const T* from = pinned(of.input + block + tile.around[i]);
        A mean[kTileChannels];
#pragma unroll
        for (int k = 0; k < kTileChannels; ++k) {
          x[k] = load_quad(from + uint32_t(channel(k) * plane));
          mean[k] = of.input_statistics[kMean * selected + channel(k)];
        }
#pragma unroll
        for (int k = 0; k < kTileChannels; ++k) x[k] = relu(x[k] - splat(mean[k]));
      }
      tile.put(kept.planes, tile.around_place[i], x);
    }
  }

  // du of kSome outputs at a pixel; those beyond the last are 0.
  __device__ __forceinline__ void load_du(int o, const T* g, const T* u,
                                          Quad<A> (&du)[kSome]) const {
    Quad<A> from[kSome];
#pragma unroll
    for (int i = 0; i < kSome; ++i) {
      const uint32_t of_g = kept.g[o + i], of_u = kept.u[o + i];
      du[i] = load_quad(g + of_g);
      from[i] = load_quad(u + of_u);
    }
#pragma unroll
    for (int i = 0; i < kSome; ++i) {
      const Gradient<A> gradient = kept.gradients[o + i];
      for (int k = 0; k < kQuad; ++k)
        du[i][k] = gradient.factor * (du[i][k] - gradient.offset) +
                   gradient.slope * (from[i][k] - gradient.mean);
    }
    const int lanes = args.batch - tile.block * kLanes;  // images of the block
    if (lanes >= kLanes) return;
#pragma unroll
    for (int i = 0; i < kSome; ++i) du[i] = real_lanes<A>(lanes, threadIdx.x % kQuads) * du[i];
  }
  __device__ __forceinline__ void add_dv(int o, const Quad<A> (&du)[kSome],
                                         Quad<A> (&dv)[kTileChannels]) const {
#pragma unroll
    for (int i = 0; i < kSome; ++i) {
      const Quad<A> weights = kept.weights[o + i];
      for (int k = 0; k < kTileChannels; ++k) dv[k].add(weights[k], du[i]);
    }
  }

  // dv of all channels of a pixel inside the plane, into shared memory.
  __device__ __forceinline__ void put_dv(int pixel, int place) const {
    const T* g = pinned(of.g + tile.block * of.g_block + pixel);
    const T* u = pinned(of.u + block + pixel);
    Quad<A> du[kSome], dv[kTileChannels] = {};
#pragma unroll 1
    for (int o = 0; o < selected; o += kSome) {
      load_du(o, g, u, du);
      add_dv(o, du, dv);
    }
    tile.put(kept.planes, place, dv);
  }
  __device__ __forceinline__ void put_dv_around() const {
#pragma unroll 1
    for (int i = 0; i < 2; ++i) {
      const int pixel = i == 0 ? tile.around[0] : tile.around[1];
      const int place = i == 0 ? tile.around_place[0] : tile.around_place[1];
      if (place >= 0 && pixel >= 0) put_dv(pixel, place);
    }
  }

  // dv of the tile in the place of v, and dW = du v^T: added to where `add`.
  __device__ __forceinline__ void put_dv_and_weights(A* dw, bool add) const {
    const unsigned thread = threadIdx.x, lane = thread % kWarp;
    const bool owns = tile.pixel >= 0;
    const T* g = pinned(of.g + tile.block * of.g_block + tile.pixel);
    const T* u = pinned(of.u + block + tile.pixel);
    Quad<A> du[kSome] = {}, v[kTileChannels] = {}, dv[kTileChannels] = {};
    if (owns) tile.get(kept.planes, tile.pixel_place, v);
    for (int begin = 0; begin < selected; begin += kOutputs) {
      const int end = begin + kOutputs < selected ? begin + kOutputs : selected;
#pragma unroll 1
      for (int o = begin; o < end; o += kSome) {
        A products[kProducts] = {};
        if (owns) {
          load_du(o, g, u, du);
          add_dv(o, du, dv);
#pragma unroll
          for (int at = 0; at < kProducts; ++at)
            for (int i = 0; i < kQuad; ++i)
              products[at] += du[at / kTileChannels][i] * v[at % kTileChannels][i];
        }
        const A sum = spread_sums(products);
        if (lane < kProducts)
          kept.shares[thread / kWarp * kOutputs * kTileChannels + (o - begin) * kTileChannels +
                      lane] = sum;
      }
      if (end == selected && tile.pixel_place >= 0) tile.put(kept.planes, tile.pixel_place, dv);
      __syncthreads();
      const int o = begin + thread / kTileChannels, a = first + thread % kTileChannels;
      if (o < end && a < selected) {
        A sum = add ? dw[o * selected + a] : A(0);
#pragma unroll 4
        for (int warp = 0; warp < int(blockDim.x) / kWarp; ++warp)
          sum += A(kept.shares[warp * kOutputs * kTileChannels + thread]);
        dw[o * selected + a] = sum;
      }
      if (end < selected) __syncthreads();
    }
  }

  // q = dx where the ReLU's input x is positive, and its sums.
  __device__ __forceinline__ void put_q(const Quad<A> (&x)[kTileRows], Quad<A> (&dx)[kTileRows],
                                        A (&sums)[2]) const {
    T* q = pinned(of.q + block + ((first + tile.team()) * plane + tile.strip));
#pragma unroll
    for (int row = 0; row < kTileRows; ++row) {
      if (row >= tile.rows) break;
      for (int i = 0; i < kQuad; ++i) dx[row][i] = x[row][i] > 0 ? dx[row][i] : A(0);
      store_quad(q + uint32_t(row * tile.row_step), dx[row]);
      sums[0] += dx[row].sum();
      for (int i = 0; i < kQuad; ++i) sums[1] += dx[row][i] * x[row][i];
    }
  }
};

// The tiles of a block. `prepare` fills what the block keeps; that of a first tile is not needed
// before a barrier that there is anyway.
template <int K, bool kWeights, class T, class Shared, class Prepare>
__device__ __forceinline__ void tiles_backward(const SecondBackward<T>& args,
                                               const Separable<T>& of, int first, Shared kept,
                                               const Prepare& prepare) {
  using A = Accumulate<T>;
  constexpr int kTaps = kWeights ? K * K : 0;
  const int c = args.selected;
  Tile<K, A> tile(args.tiling, blockIdx.x);
  prepare();
  const int a = first + tile.team(), lane = threadIdx.x & ((1 << args.tiling.team_bits) - 1);
  const A* taps = of.taps + a * K * K;
  for (int number = blockIdx.x;;) {
    const bool later = number != int(blockIdx.x), works = a < c && tile.rows > 0;
    const Work<K, T, Shared> work{args, of, tile, first, kept};
    Quad<A> x[kTileRows];
    work.load_strip(x);
    if constexpr (kWeights) {
      Quad<A> v[kTileRows] = {};
      if (later) __syncthreads();
      tile.put_strip(kept.planes, x);
      work.put_inputs_around();
      __syncthreads();
      if (works) {
        convolve(tile, kept.planes, taps, v);
        const A rstd = of.input_statistics[kRstd * c + a];
        for (int row = 0; row < kTileRows; ++row) v[row] = rstd * v[row];
      }
      __syncthreads();
      tile.put_strip(kept.planes, v);
      work.put_dv_around();
      __syncthreads();
      work.put_dv_and_weights(of.grad_pointwise + blockIdx.x * of.grad_part, later);
      work.load_strip(x);  // again: there are not so many registers
    } else {
      __syncthreads();
      tile.clear(kept.planes);
      work.put_dv_around();
      if (tile.pixel >= 0) work.put_dv(tile.pixel, tile.pixel_place);
      __syncthreads();
    }
    Quad<A> dx[kTileRows] = {};
    A sums[2] = {}, dw[K * K] = {};
    if (works) {
      transposed<kWeights>(tile, kept.planes, taps, x, dx, dw);
      work.put_q(x, dx, sums);
    }
    // A tile adds to what the block's tiles before have left.
    A sum_of_lane = spread_sums(sums);  // of a tap, then lane i has moment i % 2
    if (kWeights) {
      const A of_tap = of.input_statistics[kRstd * c + work.channel(tile.team())] * spread_sums(dw);
      if (int(threadIdx.x % kWarp) < kTaps) sum_of_lane = of_tap;
    }
    kept.lanes[threadIdx.x] = sum_of_lane;
    __syncthreads();
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
// never reaches memory. It is made again in the pixels around a tile, 1.25 times as many as in the
// tile for a 5x5, which is cheaper than a launch and a plane each way.
// Bytes: each tile reads g and u2 once and u1 once, with the pixels around, and writes q.
template <bool kWeights, class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    second_half_backward_kernel(const SecondBackward<T> args) {
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
  const Separable<T>& of = args.of[blockIdx.z][sep];
  if (of.q == nullptr) return;
  ADARTS_ASSERT(c <= kMostChosen);
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
  // Parts that no block has.
#pragma unroll 1
  for (unsigned i = threadIdx.x;; i += blockDim.x) {
    const int part = int(blockIdx.x + (1 + i / (2 * kTileChannels)) * gridDim.x);
    const int a = first + int(i % kTileChannels);
    if (part >= args.parts) break;
    if (a < c) of.moments[part * int(first_rows(c)) + int(i / kTileChannels % 2) * c + a] = 0;
  }
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
  SecondBackward<T> args{{},
                         Tiling(z, kTileColumns<A>),
                         int(group.parts),
                         int(z.batch),
                         int(z.selected),
                         int(z.pixels() * kLanes),
                         z.selected * z.pixels() * kLanes,
                         z.training ? 1 / double(z.count()) : 0};
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
  return launch(kernel, grid, dim3(kTileChannels << args.tiling.team_bits), bytes, stream, args);
}

template cudaError_t second_half_backward(const Group<float>&, cudaStream_t);
template cudaError_t second_half_backward(const Group<double>&, cudaStream_t);
template cudaError_t second_half_backward(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
