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
  int height, width;
  int down, across, columns, count;  // tiles of a plane; columns of one; all tiles of a channel
  int team_bits = 5;                 // a team of 32 or 64 threads for each channel of a tile

  Tiling(const Sizes& z, int most)
      : height(int(z.height)),
        width(int(z.width)),
        down(int(divide_up(height, kTileRows))),
        across(int(divide_up(width, most))),
        columns(int(divide_up(width, across))),
        count(int(z.blocks) * down * across) {
    if (columns * kQuads > kWarp) team_bits = 6;
  }
};

// A tile as a thread sees it. Offsets are elements of a plane, at the thread's quad of images,
// places are those of shared memory.
template <int K, class A>
struct Tile {
  static constexpr int kPad = K / 2, kRows = kTileRows + 2 * kPad;
  static constexpr int kColumns = kTileColumns<A> + 2 * kPad;
  static constexpr int kChannel = kRows * kColumns * kQuads;  // from one channel to the next
  static constexpr int kPlaces = kTileChannels * kChannel;
  int block;
  int team_bits;
  int rows;             // of the strip, inside the plane: 0 for a thread without a strip
  int strip, row_step;  // offset of the strip's first pixel, and from one row to the next
  int strip_place;
  int pixel;  // offset of the row's pixel, -1 where it is outside
  int pixel_place;
  // The thread's share of the pixels around the tile: of those above and below it, and, beginning
  // with the last threads, of those at its sides. Place -1 where there is none.
  int around[2], around_place[2];

  __device__ __forceinline__ Tile(const Tiling& tiling, int number) {
    static_assert(kTileRows == kTileChannels && 2 * kPad <= kTileRows);
    block = number / (tiling.down * tiling.across);
    const int in_plane = number - block * (tiling.down * tiling.across);
    const int down = tiling.across == 1 ? in_plane : in_plane / tiling.across;
    const int top = down * kTileRows, left = (in_plane - down * tiling.across) * tiling.columns;
    const int width = tiling.width, height = tiling.height;
    const int columns = width - left < tiling.columns ? width - left : tiling.columns;
    team_bits = tiling.team_bits;
    const int team = this->team(), quad = threadIdx.x % kQuads;
    const int column = (threadIdx.x & ((1 << team_bits) - 1)) / kQuads;
    rows = column >= columns ? 0 : height - top < kTileRows ? height - top : kTileRows;
    row_step = width * kLanes;
    const auto offset = [&](int row, int at) {
      const int y = top + row, x = left + at;
      const bool inside = unsigned(y) < unsigned(height) && unsigned(x) < unsigned(width);
      return inside ? (y * width + x) * kLanes + quad * kQuad : -1;
    };
    const auto place = [&](int row, int at) {
      return ((row + kPad) * kColumns + at + kPad) * kQuads + quad;
    };
    strip = rows > 0 ? offset(0, column) : 0;
    strip_place = team * kChannel + place(0, column);
    pixel = team < rows ? strip + team * row_step : -1;
    pixel_place = column < columns ? place(team, column) : -1;
    const int row = team < kPad ? team - kPad : team - kPad + kTileRows;
    around[0] = offset(row, column);
    around_place[0] = team < 2 * kPad && column < columns ? place(row, column) : -1;
    const unsigned other = (blockDim.x - 1 - threadIdx.x) / kQuads;
    const int side = other % (2 * kPad), side_row = int(other / (2 * kPad)) - kPad;
    const int side_column = side < kPad ? side - kPad : side - kPad + columns;
    around[1] = offset(side_row, side_column);
    around_place[1] = side_row < kTileRows + kPad ? place(side_row, side_column) : -1;
  }

  // The thread's channel of the tile in strips, its row in pixels.
  __device__ __forceinline__ int team() const { return int(threadIdx.x >> team_bits); }

  template <class Planes>
  __device__ __forceinline__ void put_strip(Planes planes,
                                            const Quad<A> (&values)[kTileRows]) const {
    if (pixel_place < 0) return;
    for (int row = 0; row < kTileRows; ++row)
      planes[strip_place + row * kColumns * kQuads] = values[row];
  }
  // All channels of a pixel.
  template <class Planes>
  __device__ __forceinline__ void put(Planes planes, int place,
                                      const Quad<A> (&values)[kTileChannels]) const {
    for (int k = 0; k < kTileChannels; ++k) planes[place + k * kChannel] = values[k];
  }
  template <class Planes>
  __device__ __forceinline__ void get(Planes planes, int place,
                                      Quad<A> (&values)[kTileChannels]) const {
    for (int k = 0; k < kTileChannels; ++k) values[k] = planes[place + k * kChannel];
  }
  // Stores 0 in what lies outside the plane.
  template <class Planes>
  __device__ __forceinline__ void clear(Planes planes) const {
    for (int i = 0; i < 2; ++i)
      if (around_place[i] >= 0 && around[i] < 0) put(planes, around_place[i], {});
    if (pixel_place >= 0 && pixel < 0) put(planes, pixel_place, {});
  }
};

// Calls f(row, tap, value) for every tap of the rows of a strip; each value is read once.
template <int K, class A, class Planes, class F>
__device__ __forceinline__ void each_tap(const Tile<K, A>& tile, Planes planes, const F& f) {
  using Places = Tile<K, A>;
  const int begin = tile.strip_place - (Places::kPad * Places::kColumns + Places::kPad) * kQuads;
#pragma unroll
  for (int i = 0; i < Places::kRows; ++i)
#pragma unroll
    for (int dx = 0; dx < K; ++dx) {
      const Quad<A> value = planes[begin + (i * Places::kColumns + dx) * kQuads];
#pragma unroll
      for (int row = 0; row < kTileRows; ++row)
        if (i - row >= 0 && i - row < K) f(row, (i - row) * K + dx, value);
    }
}

// out[row] = sum over the taps of w[tap] * planes[...], for the rows of a strip.
template <int K, class A, class Planes>
__device__ __forceinline__ void convolve(const Tile<K, A>& tile, Planes planes,
                                         const A* __restrict__ w, Quad<A> (&out)[kTileRows]) {
  each_tap(tile, planes,
           [&](int row, int tap, const Quad<A>& value) { out[row].add(w[tap], value); });
}

// The same convolution backward: out[row] = sum of w[tap] * planes[...] through the reversed taps
// and, with kWeights, dw[tap] += in[row] * planes[...].
template <bool kWeights, int K, class A, class Planes>
__device__ __forceinline__ void transposed(const Tile<K, A>& tile, Planes planes,
                                           const A* __restrict__ w, const Quad<A> (&in)[kTileRows],
                                           Quad<A> (&out)[kTileRows], A (&dw)[K * K]) {
  each_tap(tile, planes, [&](int row, int tap, const Quad<A>& value) {
    const int reversed = K * K - 1 - tap;
    out[row].add(w[reversed], value);
    if (kWeights)
      for (int k = 0; k < kQuad; ++k) dw[reversed] += in[row][k] * value[k];
  });
}

}  // namespace adarts::cuda
