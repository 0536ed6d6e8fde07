// What the kernels of both kinds of attention share.
#pragma once

#include "launchers.cuh"
#include "sums.cuh"

namespace adarts::cuda {

// d M of one channel and lane, `at`, of a block of images: of a passing channel as node_backward
// left it, of a chosen one the sum over first_half_backward's parts.
template <class T>
__device__ __forceinline__ Accumulate<T> scale_gradient(const Edge<T>& edge, const Sizes& z,
                                                        int64_t block, int at) {
  const int a = edge.target[at / kLanes];
  if (a < 0) return edge.grad_scale[block * z.channels * kLanes + at];
  const int64_t values = z.selected * kLanes, tiles = tiles_of(z);
  const double* from = edge.scale_parts + block * tiles * values + a * kLanes + at % kLanes;
  return Accumulate<T>(sum_apart<16>(from, int(values), int(tiles)));
}

// Eight lanes of a warp share an item, four items a warp at a time, so that long sums are not long
// chains of reads: lane l has item l % 4 of the four and share l / 4 of it.
constexpr int kSharers = 8, kItems = kWarp / kSharers;

// Calls f(item, whether it exists) with all lanes of a warp, for each four items; the last takes
// the place of those that do not exist.
template <class F>
__device__ __forceinline__ void each_shared(int items, const F& f) {
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  for (int first = warp * kItems; first < items; first += int(blockDim.x) / kSharers) {
    const int item = first + lane % kItems;
    f(item < items ? item : items - 1, item < items);
  }
}

// A weight, and the vectors of a quad of images that it is multiplied with.
template <class A, int N>
struct Product {
  A weight;
  Quad<A> vector[N];
};

// The sums of the products that term(i) gives for i < terms: share s of an item gets that of image
// s % 4 of vector s / 4, if there are two vectors; of image s % 4 if there is one.
template <int N, class A, class Term>
__device__ __forceinline__ A shared_sum(int terms, const Term& term) {
  constexpr int kAtOnce = 4;  // reads that do not wait for each other
  Quad<A> sums[N] = {};
#pragma unroll 1
  for (int first = int(threadIdx.x) % kWarp / kItems; first < terms; first += kAtOnce * kSharers) {
    Product<A, N> products[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      const int i = first + k * kSharers;
      products[k] = term(i < terms ? i : terms - 1);
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k)
      for (int n = 0; n < N && first + k * kSharers < terms; ++n)
        sums[n].add(products[k].weight, products[k].vector[n]);
  }
  A values[N * kQuad];
  for (int i = 0; i < N * kQuad; ++i) values[i] = sums[i / kQuad][i % kQuad];
  return spread_sums<kItems>(values);
}

// Calls put(n, quad) in one lane for each vector n of each item that exists, with what shared_sum
// has left in four of its shares.
template <int N, class A, class Put>
__device__ __forceinline__ void put_shared(A value, bool exists, const Put& put) {
  const int lane = int(threadIdx.x) % kWarp, share = lane / kItems, n = share / kQuad;
  Quad<A> quad;
  for (int image = 0; image < kQuad; ++image)
    quad[image] = __shfl_sync(kAllLanes, value, lane % kItems + (n * kQuad + image) * kItems);
  if (share % kQuad == 0 && n < N && exists) put(n, quad);
}

// Asks for the dynamic shared memory of a kernel, as it must be beyond 48 KiB.
template <class Kernel>
cudaError_t ask(Kernel kernel, size_t bytes) {
  return bytes > 48 * 1024 ? allow_shared(kernel, bytes) : cudaSuccess;
}

// attention_backward where the attention is a convolution over the channels (ECA).
template <class T>
cudaError_t taps_backward(const Group<T>& group, cudaStream_t stream);

}  // namespace adarts::cuda
