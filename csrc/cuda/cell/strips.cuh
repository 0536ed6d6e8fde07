// Tiles of planes in shared memory, and depthwise convolutions of strips in them.
//
// A tile is kTileRows rows of up to kTileColumns pixels of kTileChannels channels, all 16 images of
// a block, with the pixels around it that a K x K convolution sees. A thread has a strip of it: one
// column of a channel, a quad of images. Going down its strip it reads each row once for all rows
// of the strip: (4 + K - 1) * K reads for 4 outputs, 10 in place of 25 for each where K is 5. What
// lies outside the plane is 0 in shared memory, so no tap asks whether it is inside, and all reads
// are at constant distances from the strip's first.
#pragma once

#include "lanes.cuh"

namespace adarts::cuda {

constexpr int kTileRows = 4, kTileChannels = 4;
// 256 threads have a column and a quad of a channel each, in double 128.
template <class A>
constexpr int kTileColumns = 64 / sizeof(A);

// How planes are divided into tiles: as few as possible, of like width.
struct Tiling {
  int down, across, columns, count;  // tiles of a plane; columns of one; all tiles of a channel

  Tiling(const Sizes& z, int most)
      : down(int(divide_up(z.height, kTileRows))),
        across(int(divide_up(z.width, most))),
        columns(int(divide_up(z.width, across))),
        count(int(z.blocks) * down * across) {}

  // A team of whole warps for each channel.
  int threads() const {
    int team = kWarp;
    while (team < columns * kQuads) team *= 2;
    return kTileChannels * team;
  }
};

// Where a thread works: its team has a channel of the tile, where it goes down a strip, or a row,
// where a thread has all channels of a pixel.
struct Strip {
  int team, column, quad;

  __device__ __forceinline__ Strip() {
    static_assert(kTileRows == kTileChannels);
    const int threads = int(blockDim.x) / kTileChannels, rank = int(threadIdx.x) % threads;
    team = int(threadIdx.x) / threads;
    column = rank / kQuads;
    quad = rank % kQuads;
  }
};

template <int K, class A>
struct Tile {
  static constexpr int kPad = K / 2, kRows = kTileRows + 2 * kPad;
  static constexpr int kColumns = kTileColumns<A> + 2 * kPad;
  static constexpr int kPlaces = kTileChannels * kRows * kColumns * kQuads;
  int64_t block;
  int top, left, columns, height, width;

  __device__ __forceinline__ Tile(const Tiling& tiling, const Sizes& z, int number)
      : height(int(z.height)), width(int(z.width)) {
    const int of_plane = tiling.down * tiling.across, tile = number % of_plane;
    block = number / of_plane;
    top = tile / tiling.across * kTileRows;
    left = tile % tiling.across * tiling.columns;
    columns = width - left < tiling.columns ? width - left : tiling.columns;
  }

  // Rows and columns are those of the tile, from -kPad on.
  __device__ __forceinline__ bool inside(int row, int column) const {
    return unsigned(top + row) < unsigned(height) && unsigned(left + column) < unsigned(width);
  }
  // Of a pixel from the beginning of its plane, in elements.
  __device__ __forceinline__ int64_t offset(int row, int column) const {
    return int64_t((top + row) * width + left + column) * kLanes;
  }
  static __device__ __forceinline__ int place(int channel, int row, int column, int quad) {
    return ((channel * kRows + row + kPad) * kColumns + column + kPad) * kQuads + quad;
  }

  // Stores a strip.
  template <class Planes>
  __device__ __forceinline__ void put(Planes planes, const Strip& strip,
                                      const Quad<A> (&values)[kTileRows]) const {
    if (strip.column >= columns) return;
    for (int row = 0; row < kTileRows; ++row)
      planes[place(strip.team, row, strip.column, strip.quad)] = values[row];
  }

  // Calls f(row, column) for the thread's share of the places around the tile: the rows above and
  // below it, then the columns at its sides.
  template <class F>
  __device__ __forceinline__ void each_outside(const Strip& strip, const F& f) const {
    static_assert(2 * kPad <= kTileChannels);
    if (strip.team < 2 * kPad && strip.column < columns)
      f(strip.team < kPad ? strip.team - kPad : strip.team - kPad + kTileRows, strip.column);
    const int pixel = int(threadIdx.x) / kQuads, row = pixel / (2 * kPad) - kPad;
    const int side = pixel % (2 * kPad);
    if (row < kTileRows + kPad) f(row, side < kPad ? side - kPad : side - kPad + columns);
  }
};

// out[row] = sum over the taps of w[tap] * planes[...], for the rows of a strip.
template <int K, class A, class Planes>
__device__ __forceinline__ void convolve(const Tile<K, A>&, const Strip& strip, Planes planes,
                                         const A* __restrict__ w, Quad<A> (&out)[kTileRows]) {
  using Places = Tile<K, A>;
  const int begin =
      Places::place(strip.team, -Places::kPad, strip.column - Places::kPad, strip.quad);
#pragma unroll
  for (int i = 0; i < Places::kRows; ++i)
#pragma unroll
    for (int dx = 0; dx < K; ++dx) {
      const Quad<A> value = planes[begin + (i * Places::kColumns + dx) * kQuads];
#pragma unroll
      for (int row = 0; row < kTileRows; ++row)
        if (i - row >= 0 && i - row < K) out[row].add(w[(i - row) * K + dx], value);
    }
}

// The same convolution backward: out[row] = sum of w[tap] * planes[...] through the reversed taps
// and, with kWeights, dw[tap] += in[row] * planes[...].
template <bool kWeights, int K, class A, class Planes>
__device__ __forceinline__ void transposed(const Tile<K, A>&, const Strip& strip, Planes planes,
                                           const A* __restrict__ w, const Quad<A> (&in)[kTileRows],
                                           Quad<A> (&out)[kTileRows], A (&dw)[K * K]) {
  using Places = Tile<K, A>;
  const int begin =
      Places::place(strip.team, -Places::kPad, strip.column - Places::kPad, strip.quad);
#pragma unroll
  for (int i = 0; i < Places::kRows; ++i)
#pragma unroll
    for (int dx = 0; dx < K; ++dx) {
      const Quad<A> value = planes[begin + (i * Places::kColumns + dx) * kQuads];
#pragma unroll
      for (int row = 0; row < kTileRows; ++row) {
        if (i - row < 0 || i - row >= K) continue;
        const int tap = (K - 1 - (i - row)) * K + K - 1 - dx;
        out[row].add(w[tap], value);
        if (kWeights)
          for (int k = 0; k < kQuad; ++k) dw[tap] += in[row][k] * value[k];
      }
    }
}

}  // namespace adarts::cuda
