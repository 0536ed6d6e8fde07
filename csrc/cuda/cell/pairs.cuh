// Depthwise convolutions of two pixels of a row at once, by a thread, for its quad of images; where
// a 3x3 and a 5x5 convolution see the same input, both of them.
//
// The taps of two outputs whose windows lie one or two taps apart are mostly the same values, and
// those of the smaller kernel are among those of the larger one: a row takes 6 or 7 loads and ReLUs
// in place of 16. What a multiprocessor loads and issues is what the candidates wait for.
#pragma once

#include "convolve.cuh"

namespace adarts::cuda {

// Which kernels of a kind of convolutions: bits.
enum Kernels { kThree = 1, kFive = 2, kBoth = 3 };

// Those that are active.
__host__ __device__ __forceinline__ int kernels_of(const Active& active, bool dilated) {
  return kThree * active.has(dilated ? kDil3 : kSep3) + kFive * active.has(dilated ? kDil5 : kSep5);
}

// Outputs of one convolution or two, the larger first, at two pixels.
template <int kConvolutions, class A>
struct Pair {
  Quad<A> quad[kConvolutions][2];
};

// The pixels first ... first + count - 1 of a plane in pairs (y, x) and (y, x + apart), whose
// inputs are two pixels apart: so a warp's loads are of whole lines. Of a pair that reaches beyond
// them or the row, one pixel or both do not count.
struct Pairs {
  int first, count, width, apart;
  int row, column;  // of the first pair
  int across;       // pairs in a row
  int pairs;

  __device__ __forceinline__ Pairs(int first, int count, int width, int stride)
      : first(first),
        count(count),
        width(width),
        apart(stride == 1 ? 2 : 1),
        row(unsigned(first) / width) {
    const int last = first + count - 1, last_row = unsigned(last) / width, wide = 2 * apart;
    const bool one_row = row == last_row;
    column = one_row ? (first - row * width) & -wide : 0;
    const int end = one_row ? last - row * width + 1 : width;
    across = ((end - column + wide - 1) & -wide) / 2;
    pairs = (last_row - row + 1) * across;
  }

  // The first pixel of a pair.
  struct Pixel {
    int y, x;
  };
  __device__ __forceinline__ Pixel pixel(int pair) const {
    const int down = unsigned(pair) / across, along = pair - down * across;
    return {row + down, column + 2 * along - (along & (apart - 1))};
  }
  // The place among the pixels of the one or the other (i) of a pair; -1 where it does not count.
  __device__ __forceinline__ int place(const Pixel& of, int i) const {
    const int x = of.x + i * apart, place = of.y * width + x - first;
    return unsigned(place) < unsigned(count) && x < width ? place : -1;
  }

  // Makes f(channel, y, x) for the pairs of `channels` that are this thread's, each with its quad,
  // and leaves it in `run`, as [convolution][channel][pixel][quad].
  template <int kConvolutions, class Run, class F>
  __device__ __forceinline__ void each(int channels, Run run, const F& f) const {
    const int quads = pairs * kQuads;
#pragma unroll 1
    for (int at = threadIdx.x; at < channels * quads; at += kCellThreads) {
      const int channel = at / unsigned(quads), place_of = at - channel * quads;
      const Pixel of = pixel(place_of / kQuads);
      const auto outputs = f(channel, of.y, of.x);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int pixel = place(of, i);
        if (pixel < 0) continue;
#pragma unroll
        for (int k = 0; k < kConvolutions; ++k)
          run[((k * channels + channel) * count + pixel) * kQuads + place_of % kQuads] =
              outputs.quad[k][i];
      }
    }
  }
};

// A pair of outputs of the depthwise convolutions of dilation D that kKernels names, the larger
// kernel's first: sums of w[tap] * relu(in), whose top left tap (of the larger kernel) lies at
// (top, left) and whose w begin at weights[first], those of the smaller at weights[three].
// `plane` points to the thread's lanes.
//
// A row is loaded before any of it is used, at constant distances from its first value.
template <int kKernels, int D, class T, class A>
__device__ __forceinline__ auto depthwise_pair(const T* plane, int height, int width, int top,
                                               int left, const A* __restrict__ weights, int first,
                                               int three) {
  constexpr int K = kKernels == kThree ? 3 : 5, kShift = 2 / D, kColumns = K + kShift;
  constexpr bool kTwo = kKernels == kBoth;
  bool inside[kColumns];
#pragma unroll
  for (int dx = 0; dx < kColumns; ++dx) inside[dx] = unsigned(left + dx * D) < unsigned(width);
  Pair<kTwo ? 2 : 1, A> sum{};
  Pack<T, kQuad> read[kColumns] = {};  // 0 outside, in all rows
#pragma unroll 1
  for (int dy = 0; dy < K; ++dy) {
    if (unsigned(top + dy * D) >= unsigned(height)) continue;
    const A* w = weights + first + dy * K;
    const T* row = plane + int64_t((top + dy * D) * width + left) * kLanes;
#pragma unroll
    for (int dx = 0; dx < kColumns; ++dx)
      if (inside[dx]) read[dx] = load<kQuad>(row + dx * D * kLanes);
    Quad<A> in[kColumns];
#pragma unroll
    for (int dx = 0; dx < kColumns; ++dx) {
      in[dx] = relu(quad_of<T>(read[dx]));
      if (dx < K) sum.quad[0][0].add(w[dx], in[dx]);
      if (dx >= kShift) sum.quad[0][1].add(w[dx - kShift], in[dx]);
    }
    if constexpr (kTwo) {
      if (dy == 0 || dy == K - 1) continue;
      const A* taps = weights + three + (dy - 1) * 3;
#pragma unroll
      for (int dx = 1; dx < kColumns - 1; ++dx) {
        if (dx < K - 1) sum.quad[1][0].add(taps[dx - 1], in[dx]);
        if (dx > kShift) sum.quad[1][1].add(taps[dx - 1 - kShift], in[dx]);
      }
    }
  }
  return sum;
}

template <int N, class A>
__device__ __forceinline__ Pair<N, A> operator*(const Quad<A>& factor, Pair<N, A> pair) {
#pragma unroll
  for (int k = 0; k < N; ++k)
    for (int i = 0; i < 2; ++i) pair.quad[k][i] = factor * pair.quad[k][i];
  return pair;
}

// The first half's depthwise convolutions of channel a at output pixel (y, x) and its pair; the
// taps of all channels begin at `first` and, of the smaller kernel, at `three`.
template <int kKernels, int D, class T, class A>
__device__ __forceinline__ auto convolve_pair(const ChosenPlanes<T>& chosen, int a, int y, int x,
                                              const A* __restrict__ weights, int first, int three) {
  constexpr int K = kKernels == kThree ? 3 : 5, kPad = D * (K / 2);
  const int top = y * chosen.stride - kPad, left = x * chosen.stride - kPad;
  return chosen.factor(a) * depthwise_pair<kKernels, D>(pinned(chosen.plane(a)), chosen.height,
                                                        chosen.width, top, left, weights,
                                                        first + a * K * K, three + a * 9);
}

// The same for all of `pairs` and `channels`.
template <class T, class A, class Run>
__device__ __forceinline__ void convolve_pairs(const Pairs& pairs, const ChosenPlanes<T>& chosen,
                                               bool dilated, int kernels, int channels,
                                               const A* weights, int five, int three, Run run) {
  const auto convolve = [&]<int kKernels, int D>() {
    pairs.template each<kKernels == kBoth ? 2 : 1>(channels, run, [&](int a, int y, int x) {
      return convolve_pair<kKernels, D>(chosen, a, y, x, weights, kKernels == kThree ? three : five,
                                        three);
    });
  };
  const auto of_dilation = [&]<int D>() {
    if (kernels == kBoth)
      convolve.template operator()<kBoth, D>();
    else if (kernels == kFive)
      convolve.template operator()<kFive, D>();
    else
      convolve.template operator()<kThree, D>();
  };
  dilated ? of_dilation.template operator()<2>() : of_dilation.template operator()<1>();
}

// The inputs of the convolution of skip_connect at stride 2 that begins at pixel (odd, odd).
template <class T>
__device__ __forceinline__ Pair<1, Accumulate<T>> every_second(const ChosenPlanes<T>& chosen, int a,
                                                               int y, int x, int odd) {
  const int column = 2 * x + odd;
  const T* from = chosen.plane(a) + int64_t((2 * y + odd) * chosen.width + column) * kLanes;
  Pair<1, Accumulate<T>> in{};
#pragma unroll
  for (int i = 0; i < 2; ++i)
    if (column + 2 * i < chosen.width) in.quad[0][i] = relu(load_quad(from + 2 * i * kLanes));
  return chosen.factor(a) * in;
}

}  // namespace adarts::cuda
