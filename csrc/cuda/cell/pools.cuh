// The 3x3 pools of a pixel, maximum and average over the pixels inside the plane, and the 2x2
// maximum of the channels that pass by at stride 2.
#pragma once

#include "lanes.cuh"

namespace adarts::cuda {

// Of h itself: M is multiplied later, which changes neither the winner nor the average's meaning.
template <class A>
struct Pools {
  Quad<A> maximum, average;
  A share;  // 1 / pixels of the window
};

// The pools of output pixel (y, x); `plane` points to the thread's lanes.
template <class T>
__device__ __forceinline__ Pools<Accumulate<T>> pools_at(const T* plane, int height, int width,
                                                         int stride, int y, int x) {
  using A = Accumulate<T>;
  const int row = y * stride, column = x * stride;
  const T* centre = plane + int64_t(row * width + column) * kLanes;
  Quad<A> window[9];
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) {
    const int dy = tap / 3 - 1, dx = tap % 3 - 1;
    const bool inside =
        row + dy >= 0 && row + dy < height && column + dx >= 0 && column + dx < width;
    // the centre is read again where there is no pixel: it changes no maximum
    window[tap] = load_quad(inside ? centre + (dy * width + dx) * kLanes : centre);
  }
  const int rows = 3 - (row == 0) - (row == height - 1);
  const int columns = 3 - (column == 0) - (column == width - 1);
  Pools<A> pools{window[4], Quad<A>{}, A(1) / A(rows * columns)};
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) {
    const int dy = tap / 3 - 1, dx = tap % 3 - 1;
    const bool inside =
        row + dy >= 0 && row + dy < height && column + dx >= 0 && column + dx < width;
    pools.maximum = larger(window[tap], pools.maximum);
    if (inside) pools.average += window[tap];
  }
  pools.average = pools.share * pools.average;
  return pools;
}

// 2x2 maximum at output pixel (y, x) of a plane of `width` columns.
template <class T>
__device__ __forceinline__ Quad<Accumulate<T>> maximum_of_four(const T* plane, int width, int y,
                                                               int x) {
  const T* from = plane + int64_t(2 * y * width + 2 * x) * kLanes;
  const T* below = from + int64_t(width) * kLanes;
  const auto a = load_quad(from), b = load_quad(from + kLanes), c = load_quad(below),
             d = load_quad(below + kLanes);
  return larger(larger(d, c), larger(b, a));
}

}  // namespace adarts::cuda
