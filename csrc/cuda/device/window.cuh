// The 2x2 windows of a max pool of stride 2.
#pragma once

#include "access.cuh"

namespace adarts::cuda {

// The pixel of the input where the window of a pixel of the result begins; `width` is the result's.
__device__ __forceinline__ int64_t window_of(int64_t pixel, int64_t width) {
  return 2 * (pixel + pixel / width * width);
}

// Reads the windows of N results: element i of the window of result e, row by row, is
// windows[i][e]. The results are neighbouring pixels in planar memory, whose windows lie side by
// side, and neighbouring channels in interleaved memory.
template <int N, bool kPlanar, class T>
__device__ __forceinline__ void read_windows(const T* from, int64_t pixel, int64_t row,
                                             Pack<T, N> (&windows)[4]) {
  if constexpr (kPlanar && N > 1) {
    for (int i = 0; i < 4; i += 2) {
      const T* line = from + i / 2 * row;
      const Pack<T, N> left = load<N>(line), right = load<N>(line + N);
      for (int e = 0; e < N / 2; ++e) {
        windows[i][e] = left[2 * e];
        windows[i + 1][e] = left[2 * e + 1];
        windows[i][N / 2 + e] = right[2 * e];
        windows[i + 1][N / 2 + e] = right[2 * e + 1];
      }
    }
  } else {
    for (int i = 0; i < 4; ++i) windows[i] = load<N>(from + i / 2 * row + i % 2 * pixel);
  }
}

template <int N, bool kPlanar, class T>
__device__ __forceinline__ void write_windows(T* to, int64_t pixel, int64_t row,
                                              const Pack<T, N> (&windows)[4]) {
  if constexpr (kPlanar && N > 1) {
    for (int i = 0; i < 4; i += 2) {
      T* line = to + i / 2 * row;
      Pack<T, N> left, right;
      for (int e = 0; e < N / 2; ++e) {
        left[2 * e] = windows[i][e];
        left[2 * e + 1] = windows[i + 1][e];
        right[2 * e] = windows[i][N / 2 + e];
        right[2 * e + 1] = windows[i + 1][N / 2 + e];
      }
      store(line, left);
      store(line + N, right);
    }
  } else {
    for (int i = 0; i < 4; ++i) store(to + i / 2 * row + i % 2 * pixel, windows[i]);
  }
}

// The element of a window that wins: the first of the largest after scaling, or the last that is
// not a number, as in torch's max pooling.
template <class A>
struct Winner {
  A scaled;
  A element;
  int position;
};

template <int N, class T>
__device__ __forceinline__ Winner<Accumulate<T>> winner_of(const Pack<T, N> (&windows)[4], int e,
                                                           Accumulate<T> factor) {
  using A = Accumulate<T>;
  Winner<A> winner{factor * A(windows[0][e]), A(windows[0][e]), 0};
  for (int i = 1; i < 4; ++i) {
    const A element = windows[i][e], scaled = factor * element;
    if (scaled > winner.scaled || scaled != scaled) winner = {scaled, element, i};
  }
  return winner;
}

}  // namespace adarts::cuda
