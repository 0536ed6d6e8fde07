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
  const bool inside[] = {column > 0, true, column + 1 < width};
  const int rows = 3 - (row == 0) - (row + 1 == height), columns = 1 + inside[0] + inside[2];
  Pools<A> pools{load_quad(centre), Quad<A>{}, A(1) / A(rows * columns)};
#pragma unroll
  for (int dy = -1; dy <= 1; ++dy) {
    if (unsigned(row + dy) >= unsigned(height)) continue;
    Quad<A> in[3];
#pragma unroll
    for (int dx = 0; dx < 3; ++dx)
      if (inside[dx]) in[dx] = load_quad(centre + (dy * width + dx - 1) * kLanes);
#pragma unroll
    for (int dx = 0; dx < 3; ++dx)
      if (inside[dx]) {
        pools.maximum = larger(in[dx], pools.maximum);
        pools.average += in[dx];
      }
  }
  pools.average = pools.share * pools.average;
  return pools;
}

// The values that pools_at sees, loaded all at once, for who needs them twice or has the registers
// (first_pointwise_kernel, node_backward_kernel; in node_kernel a block less would fit).
template <class A>
struct Window {
  Quad<A> value[9];  // outside the plane that of the centre
  bool row[3], column[3];

  __device__ __forceinline__ bool inside(int tap) const { return row[tap / 3] && column[tap % 3]; }
  __device__ __forceinline__ Pools<A> pools() const {
    const int rows = 1 + row[0] + row[2], columns = 1 + column[0] + column[2];
    Pools<A> pools{value[4], Quad<A>{}, A(1) / A(rows * columns)};
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
      pools.maximum = larger(value[tap], pools.maximum);
      if (inside(tap)) pools.average += value[tap];
    }
    pools.average = pools.share * pools.average;
    return pools;
  }
};

// Around pixel (row, column) of a plane.
template <class T>
__device__ __forceinline__ Window<Accumulate<T>> window_at(const T* plane, int height, int width,
                                                           int row, int column) {
  using A = Accumulate<T>;
  const T* centre = plane + int64_t(row * width + column) * kLanes;
  Window<A> window;
  for (int i = 0; i < 3; ++i) {
    window.row[i] = unsigned(row + i - 1) < unsigned(height);
    window.column[i] = unsigned(column + i - 1) < unsigned(width);
  }
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) {
    const bool inside = window.inside(tap);
    window.value[tap] =
        load_quad(centre + (inside ? (tap / 3 - 1) * width + tap % 3 - 1 : 0) * kLanes);
  }
  return window;
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
