// What the second halves of separable convolutions take in both directions: sizes, and their input,
// relu(u - mean) of the first half's norm, as tiles in shared memory. 1 / sqrt(variance) is not
// negative, and multiplied to what is made of it.
#pragma once

#include <algorithm>

#include "strips.cuh"

namespace adarts::cuda {

// What a launch of either direction takes beside its convolutions.
struct SecondHalfSizes {
  Tiling tiling;
  int parts, batch, selected, plane;  // elements of a plane
  int64_t block;                      // of a block of images of the chosen channels

  template <class T>
  explicit SecondHalfSizes(const Group<T>& group)
      : tiling(group.sizes, kTileColumns<Accumulate<T>>),
        parts(int(group.parts)),
        batch(int(group.sizes.batch)),
        selected(int(group.sizes.selected)),
        plane(int(group.sizes.pixels() * kLanes)),
        block(group.sizes.selected * group.sizes.pixels() * kLanes) {}
};

// The 3x3 separable convolution of an edge (sep 0), or its 5x5: the norms behind its halves, where
// the second half's weights begin among the edge's, and where the norms' planes are among its u.
struct SeparablePlaces {
  Norm norm, before;
  int64_t taps, pointwise;
  int64_t planes;  // elements of a norm's
  int64_t u, input;

  template <class T>
  SeparablePlaces(const Sizes& z, const Edge<T>& edge, int sep)
      : norm(sep == 0 ? kNormSep3 : kNormSep5),
        before(sep == 0 ? kNormSep3First : kNormSep5First),
        taps(z.weights(edge.active).depthwise(norm)),
        pointwise(z.weights(edge.active).pointwise(norm, sep == 0 ? 3 : 5)),
        planes(z.blocks * z.selected * z.pixels() * kLanes),
        u(edge.active.stored_place(norm) * planes),
        input(edge.active.stored_place(before) * planes) {}
};

// A tile's channels from `first` on; `input` is the block of images, `means` those of all channels.
template <int K, class T, class Means, class Planes>
struct Inputs {
  using A = Accumulate<T>;
  const Tile<K, A>& tile;
  const T* input;
  Means means;
  Planes planes;
  int first, selected, plane;  // elements of a plane

  // Channel k of the tile, the last one again in place of those that do not exist.
  __device__ __forceinline__ int channel(int k) const { return std::min(first + k, selected - 1); }

  // relu(u - mean) of the thread's strip, 0 outside the plane. Lanes beyond the batch are not 0.
  __device__ __forceinline__ void load_strip(Quad<A> (&x)[kTileRows]) const {
    const int a = channel(tile.team());
    const T* from = pinned(input + (a * plane + tile.strip));
    const A mean = means[a];
#pragma unroll
    for (int row = 0; row < kTileRows; ++row)
      x[row] = load_quad(from + uint32_t(row < tile.rows ? row * tile.row_step : 0));
#pragma unroll
    for (int row = 0; row < kTileRows; ++row)
      x[row] = row < tile.rows ? relu(x[row] - splat(mean)) : Quad<A>{};
  }

  // The same of all channels at a pixel, 0 where it is -1.
  __device__ __forceinline__ void load_pixel(int pixel, Quad<A> (&x)[kTileChannels]) const {
    const T* from = pinned(input + (pixel < 0 ? 0 : pixel));
    A mean[kTileChannels];
#pragma unroll
    for (int k = 0; k < kTileChannels; ++k) {
      x[k] = load_quad(from + uint32_t(channel(k) * plane));
      mean[k] = means[channel(k)];
    }
#pragma unroll
    for (int k = 0; k < kTileChannels; ++k)
      x[k] = pixel < 0 ? Quad<A>{} : relu(x[k] - splat(mean[k]));
  }
  // The input of the tile and around it, into shared memory.
  __device__ __forceinline__ void put() const {
    Quad<A> strip[kTileRows], pixel[kTileChannels];
    load_pixel(tile.around[0], pixel);
    load_strip(strip);
    tile.put_strip(planes, strip);
    if (tile.around_place[0] >= 0) tile.put(planes, tile.around_place[0], pixel);
    if (tile.around_place[1] < 0) return;
    if (tile.around[1] >= 0) load_pixel(tile.around[1], pixel);
    for (int k = 0; k < kTileChannels; ++k)
      if (tile.around[1] < 0) pixel[k] = Quad<A>{};
    tile.put(planes, tile.around_place[1], pixel);
  }
};

}  // namespace adarts::cuda
