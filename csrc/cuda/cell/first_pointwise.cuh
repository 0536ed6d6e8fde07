// Pointwise convolutions backward for the pixels of a part, one convolution or two at once: du =
// factor * (g - offset) + slope * (u - mean), dv[i] = sum_o W[o, i] * du[o] and, from the depthwise
// outputs v, dW[o, i] = sum du[o] * v[i].
#pragma once

#include "backward.cuh"
#include "sums.cuh"

namespace adarts::cuda {

// The quads of du in shared memory, and as many of v: 16 KiB each.
template <class A>
constexpr int kPlaces = 16 * 1024 / sizeof(Quad<A>);

// Where one convolution has its first plane of g (or q), u and dv, its weights (outs, c) and their
// gradient. In shared memory these cost a thread no registers, and places, other than pointers, are
// known to be global.
struct Back {
  int64_t g, u, dv, w, dw;
};

// Pixels first ... first + count - 1, held as [channel][pixel][quad].
struct Run {
  int first, count;

  __device__ __forceinline__ int quads() const { return count * kQuads; }  // of a channel
  // Of a place of a channel in its plane.
  __device__ __forceinline__ int64_t offset(int quad) const {
    return int64_t(first) * kLanes + quad * kQuad;
  }
  // Calls f(channel, quad of the channel, place) for the quads that are this thread's.
  template <class F>
  __device__ __forceinline__ void each(int channels, const F& f) const {
    Places places(quads());
#pragma unroll 1
    for (int place = threadIdx.x; place < channels * quads(); place += kCellThreads) {
      f(places.channel, places.quad, place);
      places.next();
    }
  }
};

// Calls f for each run of a part, with as many pixels as fit shared memory.
template <class A, class F>
__device__ __forceinline__ void each_run(const Part& part, int channels, const F& f) {
  const int pixels = kPlaces<A> / (kQuads * channels), most = pixels < 1 ? 1 : pixels;
#pragma unroll 1
  for (int first = part.first; first < part.last; first += most)
    f(Run{first, part.last - first < most ? part.last - first : most});
}

// dw[o, i] += the sums of a run. Sixteen lanes, a strip, take 4 x 4 of the weights of a convolution
// and a share of the quads, and each ends up with the sum of one of them; where there are fewer
// tiles of weights than strips, several strips share one.
template <class A, class Backs, class Du, class V>
__device__ __forceinline__ void add_weights(const Run& run, A* dw, Backs back, int convolutions,
                                            int outs, int ins, Du du, V v) {
  constexpr int kStrip = 16, kStrips = kCellThreads / kStrip, kSide = 4;
  ADARTS_SHARED(A, strips, kCellThreads);
  const int thread = threadIdx.x, strip = thread / kStrip, lane = thread % kStrip;
  const int across = unsigned(ins + kSide - 1) / kSide, down = unsigned(outs + kSide - 1) / kSide;
  const int tiles = convolutions * down * across;
#pragma unroll 1
  for (int first = 0; first < tiles; first += kStrips) {
    const int some = tiles - first < kStrips ? tiles - first : kStrips;
    const int shares = unsigned(kStrips) / some, share = unsigned(strip) / some;
    const int tile = first + strip - share * some, row = unsigned(tile) / across;
    const int k = row >= down;
    const int o = (row - k * down) * kSide, i = (tile - row * across) * kSide;
    const int out = o + lane / kSide, in = i + lane % kSide;
    const bool mine = share == 0 && out < outs && in < ins;
    const Back of = back[k];
    A* to = dw + of.dw + out * ins + in;
    const A before = mine ? *to : A(0);  // early: it is long in coming
    A sums[kSide * kSide] = {};
    if (share < shares)
#pragma unroll 1
      for (int at = share * kStrip + lane; at < run.quads(); at += shares * kStrip) {
        Quad<A> from[kSide];
#pragma unroll
        for (int b = 0; b < kSide; ++b) {
          from[b] = Quad<A>{};
          if (i + b < ins) from[b] = v[(k * ins + i + b) * run.quads() + at];
        }
#pragma unroll
        for (int a = 0; a < kSide; ++a) {
          Quad<A> gradient{};
          if (o + a < outs) gradient = du[(k * outs + o + a) * run.quads() + at];
#pragma unroll
          for (int b = 0; b < kSide; ++b)
            for (int q = 0; q < kQuad; ++q) sums[a * kSide + b] += gradient[q] * from[b][q];
        }
      }
    strips[thread] = spread_sums<1, kStrip>(sums);
    __syncthreads();
    if (mine) {
      A sum = 0;
      for (int other = 0; other < shares; ++other) sum += A(strips[thread + other * some * kStrip]);
      *to = before + sum;
    }
    __syncthreads();
  }
}

// All of it, for `back`, the convolutions, from q to its own place or from g to scratch.
// gradients[k * outs + o] is how du is made of the g in plane_of(o) and u; make_v(run) leaves v in
// shared memory.
template <class T, class Backs, class Plane, class MakeV, class Gradients, class Du, class V>
__device__ __forceinline__ void pointwise_backward(const Edge<T>& edge, const Sizes& z,
                                                   const Part& part, bool from_q, Backs back,
                                                   int convolutions, int outs,
                                                   const Plane& plane_of, const MakeV& make_v,
                                                   Gradients gradients, Du du, V v) {
  using A = Accumulate<T>;
  const int c = int(z.selected);
  each_run<A>(part, convolutions * c, [&](const Run& run) {
    if (edge.grad_weights != nullptr) make_v(run);
    const int64_t plane = z.pixels() * kLanes;
    const Quad<A> real = real_lanes<A>(z.lanes(part.block), int(threadIdx.x) % kQuads);
    run.each(convolutions * outs, [&](int channel, int quad, int place) {
      const int k = channel >= outs, o = channel - k * outs;
      const Back at = back[k];
      const Gradient<A> gradient = gradients[channel];
      const T* g = (from_q ? edge.q : edge.grad) + at.g + plane_of(o) * plane + run.offset(quad);
      du[place] = combine(gradient, load_quad(g),
                          load_quad(edge.u + at.u + o * plane + run.offset(quad)), real);
    });
    __syncthreads();
    run.each(convolutions * c, [&](int channel, int quad, int) {
      const int k = channel >= c, i = channel - k * c;
      const Back at = back[k];
      const A* w = edge.weights + at.w + i;
      Quad<A> sum{};
#pragma unroll 4
      for (int o = 0; o < outs; ++o) sum.add(w[o * c], du[(k * outs + o) * run.quads() + quad]);
      store_quad((from_q ? edge.q : edge.scratch) + at.dv + i * plane + run.offset(quad), sum);
    });
    if (edge.grad_weights != nullptr)
      add_weights(run, edge.grad_weights, back, convolutions, outs, c, du, v);
    __syncthreads();
  });
}

}  // namespace adarts::cuda
