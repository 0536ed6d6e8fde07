// What the kernels of both kinds of attention share.
#pragma once

#include "lanes.cuh"
#include "launchers.cuh"

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
  double sum = 0;
#pragma unroll 8
  for (int64_t tile = 0; tile < tiles; ++tile) sum += from[tile * values];
  return Accumulate<T>(sum);
}

// Asks for the dynamic shared memory of a kernel, as it must be beyond 48 KiB.
template <class Kernel>
cudaError_t ask(Kernel kernel, size_t bytes, size_t fixed) {
  return bytes + fixed > 48 * 1024 ? allow_shared(kernel, bytes) : cudaSuccess;
}

// attention_backward where the attention is a convolution over the channels (ECA).
template <class T>
cudaError_t taps_backward(const Attention<T>& attention, cudaStream_t stream);

}  // namespace adarts::cuda
