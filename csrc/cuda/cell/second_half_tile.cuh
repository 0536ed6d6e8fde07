// A block's work on a tile of a separable convolution's second half, backward: what
// second_half_backward_kernel puts together.
#pragma once

#include "backward.cuh"
#include "second_half_inputs.cuh"
#include "sums.cuh"

namespace adarts::cuda {

// A separable convolution of an edge, pointers to the first block of images and to the first part.
template <class T>
struct SeparableBackward {
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
struct SecondBackward : SecondHalfSizes {
  SeparableBackward<T> of[kGroup][2];
  double share;  // see norm_gradient
};

// Outputs of the pointwise convolution whose weights' gradients a block adds up at a time, of which
// a thread forms du of kSome at once.
constexpr int kOutputs = 16, kSome = 4, kProducts = kSome * kTileChannels;

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
  const SeparableBackward<T>& of;
  const Tile<K, A>& tile;
  int first;
  Shared kept;
  int selected = args.selected, plane = args.plane;
  int64_t block = tile.block * args.block;

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

}  // namespace adarts::cuda
