// Pointwise convolutions backward for the pixels of a part, one convolution or two at once: du =
// factor * (g - offset) + slope * (u - mean), dv[i] = sum_o W[o, i] * du[o] and, from the depthwise
// outputs v, dW[o, i] = sum du[o] * v[i].
//
// A thread makes four channels of a quad of images: eight loads of g and u are under way at once,
// and a value of du in shared memory serves four dv and four products with v, whose sums go through
// a warp together. W is read from memory once a block, and lies in shared memory as quads of four
// inputs, which all threads of a column read at the same time.
#pragma once

#include "backward.cuh"
#include "sums.cuh"

namespace adarts::cuda {

constexpr int kSide = 4;  // channels that a thread makes at once
// The quads of du in shared memory, and as many of v: 16 KiB each, kSide for each thread in
// float32.
template <class A>
constexpr int kPlaces = 16 * 1024 / sizeof(Quad<A>);
// Quads of weights.
template <class A>
constexpr int kWeights = kPlaces<A> / 4;
// Sums of warps for the weights' gradients.
template <class A>
constexpr int kShares = 8 * kWeights<A>;

// Into how many times kSide channels are divided.
__device__ __forceinline__ int sides(int channels) {
  return unsigned(channels + kSide - 1) / kSide;
}

// Where one convolution has its first plane of g (or q), u and dv, its weights (outs, c) and their
// gradient. In shared memory these cost a thread no registers, and places, other than pointers, are
// known to be global.
struct Back {
  int64_t g, u, dv, w, dw;
};

// Pixels first ... first + count - 1 of a part.
struct Run {
  int first, count;

  __device__ __forceinline__ int quads() const { return count * kQuads; }  // of a channel
  // Of a quad of a channel in its plane.
  __device__ __forceinline__ uint32_t offset(int quad) const {
    return uint32_t(first * kLanes + quad * kQuad);
  }
};

// A block's threads as columns of 2^bits, each of which makes kSide channels of a convolution, a
// thread those of one quad of a run.
struct Layout {
  int bits;

  __device__ __forceinline__ Layout(int convolutions, int channels, int places) : bits(2) {
    static_assert(kQuads == 1 << 2);
    while (convolutions * sides(channels) * kSide << (bits + 1) <= places) ++bits;
  }
  __device__ __forceinline__ int slots() const { return 1 << bits; }
  __device__ __forceinline__ int column() const { return int(threadIdx.x) >> bits; }
  __device__ __forceinline__ int slot() const { return int(threadIdx.x) & (slots() - 1); }
  // The lanes of a warp that have one column.
  __device__ __forceinline__ int width() const { return bits < 5 ? slots() : kWarp; }
};

// What a thread makes: channels `first` and the kSide - 1 that follow of convolution k.
struct Sides {
  int k, first;
  bool exist;

  __device__ __forceinline__ Sides(int column, int convolutions, int channels) {
    const int columns = sides(channels);
    k = column >= columns;
    first = (column - k * columns) * kSide;
    exist = column < convolutions * columns;
  }
};

// What a block has in shared memory beside `back`, the convolutions: du is made of g and u by
// gradients[k * outs + o]; planes[o] is where the g of output o begins among its planes; weights
// are those of some outputs, kSide inputs of one in a quad.
template <class Vectors, class Dynamic, class Gradients, class Planes, class Shares>
struct Pointwise {
  Vectors du;
  Dynamic v;
  Vectors weights;
  Gradients gradients;
  Planes planes;
  Shares shares;
};

// The weights of outputs from `begin` on of all convolutions, `some` of each, 0 beyond the last.
template <class A, class Backs, class Weights>
__device__ __forceinline__ void put_weights(const A* from, Backs back, int convolutions, int begin,
                                            int some, int outs, int ins, Weights weights) {
  const int across = sides(ins), size = some * across;
#pragma unroll 1
  for (int at = threadIdx.x; at < convolutions * size; at += kCellThreads) {
    const int k = at >= size, row = unsigned(at - k * size) / across, o = begin + row;
    const int i = (at - k * size - row * across) * kSide;
    const Back of = back[k];
    const A* w = from + of.w + (o < outs ? o : 0) * ins + i;
    Quad<A> quad;
#pragma unroll
    for (int b = 0; b < kSide; ++b) quad[b] = w[i + b < ins ? b : 0];
    weights[at] = o < outs ? quad : Quad<A>{};
  }
}

// du of a thread's channels, into shared memory; beyond the last they are those of the last again.
template <class T, class Backs, class Kept>
__device__ __forceinline__ void put_du(const T* grad, const T* u, const Run& run,
                                       const Layout& layout, Backs back, int convolutions, int outs,
                                       int plane, const Quad<Accumulate<T>>& real,
                                       const Kept& kept) {
  using A = Accumulate<T>;
  const Sides mine(layout.column(), convolutions, outs);
  const int slot = layout.slot();
  if (!mine.exist || slot >= run.quads()) return;
  const Back of = back[mine.k];
  const T* from_g = pinned(grad + of.g + run.offset(slot));
  const T* from_u = pinned(u + of.u + run.offset(slot));
  Quad<A> g[kSide], values[kSide];
  const auto out = [&](int b) { return mine.first + b < outs ? mine.first + b : outs - 1; };
#pragma unroll
  for (int b = 0; b < kSide; ++b) {
    const uint32_t first = kept.planes[out(b)];
    g[b] = load_quad(from_g + first);
    values[b] = load_quad(from_u + uint32_t(out(b) * plane));
  }
#pragma unroll
  for (int b = 0; b < kSide; ++b) {
    const Gradient<A> gradient = kept.gradients[mine.k * outs + out(b)];
    kept.du[(layout.column() * kSide + b) * layout.slots() + slot] =
        combine(gradient, g[b], values[b], real);
  }
}

// Adds to dw, or sets it to, what the warps have left in `shares` of `some` outputs from `begin`
// on.
template <class A, class Backs, class Shares>
__device__ __forceinline__ void put_weight_gradients(A* dw, bool add, const Layout& layout,
                                                     Backs back, int convolutions, int begin,
                                                     int some, int outs, int ins, Shares shares) {
  const int across = sides(ins), warps = layout.slots() / layout.width();
  for (int at = threadIdx.x; at < convolutions * across * some * kSide; at += kCellThreads) {
    const int column = unsigned(at / kSide) / some, row = at / kSide - column * some;
    const Sides mine(column, convolutions, ins);
    const int i = mine.first + at % kSide, o = begin + row;
    if (i >= ins || o >= outs) continue;
    const Back of = back[mine.k];
    A* to = dw + of.dw + o * ins + i;
    A sum = add ? *to : A(0);
    for (int warp = 0; warp < warps; ++warp)
      sum += A(shares[((column * warps + warp) * some + row) * kSide + at % kSide]);
    *to = sum;
  }
}

// The sums of kSide times kSide values over `width` lanes: of each kSide, lane l has that of value
// l modulo kSide.
template <class A>
__device__ __forceinline__ void sum_sides(A (&sums)[kSide][kSide], int width) {
#pragma unroll
  for (int a = 0; a < kSide; ++a) halve<kSide, 1>(sums[a]);
#pragma unroll
  for (int offset = kSide; offset < kWarp; offset *= 2)
    if (offset < width)
#pragma unroll
      for (int a = 0; a < kSide; ++a) sums[a][0] += __shfl_xor_sync(kAllLanes, sums[a][0], offset);
}

// All of it, for `back`, the convolutions, from q to its own place or from g to scratch.
// make_v(run) leaves v in shared memory, as [convolution][channel][quad of the run].
template <class T, class Backs, class MakeV, class Kept>
__device__ __forceinline__ void pointwise_backward(const Edge<T>& edge, const Sizes& z,
                                                   const Part& part, bool from_q, Backs back,
                                                   int convolutions, int outs, const MakeV& make_v,
                                                   const Kept& kept) {
  using A = Accumulate<T>;
  const int c = int(z.selected), plane = int(z.pixels() * kLanes), across = sides(c);
  const Layout layout(convolutions, c, kPlaces<A>);
  const int slot = layout.slot(), width = layout.width();
  const int most = int(kWeights<A> / unsigned(convolutions * across)) & -kSide;
  const int all = sides(outs) * kSide, some = most < all ? most : all;  // whose weights are there
  const Sides mine(layout.column(), convolutions, c);
  put_weights(edge.weights, back, convolutions, 0, some, outs, c, kept.weights);
#pragma unroll 1
  for (int first = part.first; first < part.last; first += layout.slots() / kQuads) {
    const int left = part.last - first, pixels = layout.slots() / kQuads;
    const Run run{first, left < pixels ? left : pixels};
    put_du(from_q ? edge.q : edge.grad, edge.u, run, layout, back, convolutions, outs, plane,
           real_lanes<A>(z.lanes(part.block), slot % kQuads), kept);
    if (edge.grad_weights != nullptr) make_v(run);
    __syncthreads();
    const bool works = mine.exist && slot < run.quads();
    Quad<A> v[kSide] = {}, dv[kSide] = {};
    if (edge.grad_weights != nullptr && works)
#pragma unroll
      for (int b = 0; b < kSide; ++b) {
        const int i = mine.first + b < c ? mine.first + b : c - 1;
        v[b] = kept.v[(mine.k * c + i) * run.quads() + slot];
      }
#pragma unroll 1
    for (int begin = 0; begin < outs; begin += some) {
      if (some < all) {
        __syncthreads();
        put_weights(edge.weights, back, convolutions, begin, some, outs, c, kept.weights);
        __syncthreads();
      }
      // threads without work take part in the sums, with v = 0
      const int du = works ? (mine.k * all + begin) * layout.slots() + slot : 0;
      const int w = works ? mine.k * some * across + mine.first / kSide : 0;
      const int share = (int(threadIdx.x) / width * some) * kSide + slot % kSide;
      const int count = all - begin < some ? all - begin : some;
#pragma unroll 1
      for (int o = 0; o < count; o += kSide) {
        Quad<A> gradient[kSide];
#pragma unroll
        for (int a = 0; a < kSide; ++a) {
          gradient[a] = kept.du[du + (o + a) * layout.slots()];
          const Quad<A> weights = kept.weights[w + (o + a) * across];
#pragma unroll
          for (int b = 0; b < kSide; ++b) dv[b].add(weights[b], gradient[a]);
        }
        if (edge.grad_weights == nullptr) continue;
        A sums[kSide][kSide] = {};
#pragma unroll
        for (int a = 0; a < kSide; ++a)
          for (int b = 0; b < kSide; ++b)
            for (int i = 0; i < kQuad; ++i) sums[a][b] += gradient[a][i] * v[b][i];
        sum_sides(sums, width);
        if (mine.exist && slot % width < kSide)
#pragma unroll
          for (int a = 0; a < kSide; ++a) kept.shares[share + (o + a) * kSide] = sums[a][0];
      }
      if (edge.grad_weights == nullptr) continue;
      __syncthreads();
      put_weight_gradients(edge.grad_weights, first > part.first, layout, back, convolutions, begin,
                           some, outs, c, kept.shares);
    }
    if (works) {
      const Back of = back[mine.k];
      T* to = pinned((from_q ? edge.q : edge.scratch) + of.dv + run.offset(slot));
#pragma unroll
      for (int b = 0; b < kSide; ++b)
        if (mine.first + b < c) store_quad(to + uint32_t((mine.first + b) * plane), dv[b]);
    }
    __syncthreads();
  }
}

}  // namespace adarts::cuda
