// Gradients of an attention that is a convolution over the channels' averages (ECA, arXiv
// 1910.03151), M = sigmoid(taps * average): of its taps and of the averages; d maximum is 0.
#include "attention.cuh"

namespace adarts::cuda {

namespace {

constexpr int kTapsThreads = 256;

// A thread block takes one edge (blockIdx.y) and one block of images (x). A thread makes one lane
// of a channel's d logit, which all find in shared memory; then one lane of a tap's gradient, whose
// lanes another thread adds up; then one lane of a channel's d average. It adds to a part of the
// weights' gradients that is its alone. Bytes: reads average, score and d M of every channel, three
// vectors of C * 64 (float32), of a selected channel in place of d M its parts of 128 each; writes
// two vectors.
template <class T>
__global__ void __launch_bounds__(kTapsThreads) taps_backward_kernel(const Group<T> group) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  ADARTS_DYNAMIC_SHARED(A, vectors);  // logits, then taps of each lane
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.y];
  const int channels = int(z.channels), taps = int(z.taps), size = channels * kLanes;
  const int64_t block = blockIdx.x, first = block * size, plane = z.blocks * size;
  const A* average = edge.pools + first;
  for (int at = threadIdx.x; at < size; at += kTapsThreads) {
    const A score = edge.scale[first + at];
    vectors[at] = scale_gradient(edge, z, block, at) * score * (A(1) - score);
  }
  __syncthreads();
  if (edge.grad_weights != nullptr) {
    for (int at = threadIdx.x; at < taps * kLanes; at += kTapsThreads) {
      const int shift = at / kLanes - taps / 2, lane = at % kLanes;
      A sum = 0;
      for (int i = 0; i < channels; ++i) {
        if (i + shift < 0 || i + shift >= channels) continue;
        const A logit = vectors[i * kLanes + lane];
        sum += logit * average[(i + shift) * kLanes + lane];
      }
      vectors[size + at] = sum;
    }
    __syncthreads();
    A* dw = edge.grad_weights + block * tiles_of(z) * z.weights(edge.active).count(edge.stride);
    for (int t = threadIdx.x; t < taps; t += kTapsThreads) {
      A sum = 0;
      for (int lane = 0; lane < kLanes; ++lane) {
        const A one = vectors[size + t * kLanes + lane];
        sum += one;
      }
      dw[t] += sum;
    }
  }
  if (edge.grad_pools == nullptr) return;
  for (int at = threadIdx.x; at < size; at += kTapsThreads) {
    A sum = 0;
    for (int t = 0; t < taps; ++t) {
      const int to = at / kLanes - t + taps / 2;
      if (to < 0 || to >= channels) continue;
      const A logit = vectors[to * kLanes + at % kLanes];
      sum += edge.weights[t] * logit;
    }
    edge.grad_pools[first + at] = sum;
    edge.grad_pools[plane + first + at] = 0;
  }
}

}  // namespace

template <class T>
cudaError_t taps_backward(const Group<T>& group, cudaStream_t stream) {
  const Sizes& z = group.sizes;
  const size_t bytes = (z.channels + z.taps) * kLanes * sizeof(Accumulate<T>);
  const cudaError_t error = ask(taps_backward_kernel<T>, bytes);
  if (error != cudaSuccess) return error;
  return launch_dependent(taps_backward_kernel<T>, dim3(z.blocks, group.edges), dim3(kTapsThreads),
                          bytes, stream, group);
}

template cudaError_t taps_backward(const Group<float>&, cudaStream_t);
template cudaError_t taps_backward(const Group<double>&, cudaStream_t);
template cudaError_t taps_backward(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
