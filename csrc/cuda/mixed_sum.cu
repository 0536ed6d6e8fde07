// out = sum_i weights[i] * inputs[i], forward and backward, over flat memory.
//
// A thread takes one pack of 16 bytes of every input, the grid goes over the tensor. Every tensor
// is read or written once; adding one input after the other moves three times as many bytes.
// The weights stay on the device; their gradients are sums of fixed order, without atomics.
#include <algorithm>

#include "device/tile.cuh"
#include "mixed_sum.cuh"

namespace adarts::cuda {

namespace {

// sum += the inputs first ... first + kGroup, each times its weight. No load waits for another.
template <int kGroup, int N, class T, class A>
__device__ __forceinline__ void add_group(const MixedSum<T>& args, int first, int64_t at,
                                          A (&sum)[N]) {
  Pack<T, N> values[kGroup];
  A weight[kGroup];
  for (int i = 0; i < kGroup; ++i) values[i] = load<N>(args.inputs[first + i] + at);
  for (int i = 0; i < kGroup; ++i) weight[i] = args.weights[first + i];
  for (int i = 0; i < kGroup; ++i)
    for (int e = 0; e < N; ++e) sum[e] += weight[i] * A(values[i][e]);
}

template <int N, class T>
__device__ __forceinline__ void mix(const MixedSum<T>& args, int64_t at) {
  using A = Accumulate<T>;
  A sum[N] = {};
  begin_sum(args.before, at, sum);
  int first = 0;
#pragma unroll 1
  for (; first + 8 <= args.count; first += 8) add_group<8>(args, first, at, sum);
#pragma unroll 1
  for (; first + 4 <= args.count; first += 4) add_group<4>(args, first, at, sum);
#pragma unroll 1
  for (; first < args.count; ++first) add_group<1>(args, first, at, sum);
  end_sum(sum, args.after, args.out, at);
}

// out = sum_i weights[i] * inputs[i].
//
// A thread loads one pack of eight inputs at once, which hides the latency even where there is one
// pack for each thread, adds them in the order of the inputs and stores one pack; it goes on a grid
// further. What is left over after the last pack goes to the first threads, one element each. The
// weights are read here, so the host waits for nothing.
// Bytes: (inputs + 1) * size * sizeof(T), each tensor once, where a launch for each input would
// move three times as many.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kResident) mixed_sum_kernel(const MixedSum<T> args) {
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t whole = args.size / N * N;
  for (int64_t at = thread * N; at < whole; at += int64_t(gridDim.x) * blockDim.x * N)
    mix<N>(args, at);
  if (whole + thread < args.size) mix<1>(args, whole + thread);
}

template <int N, int kInputs, class T, class A>
__device__ __forceinline__ void spread(const MixedSumBackward<T>& args, const A (&weight)[kInputs],
                                       int64_t at, A (&dot)[kInputs]) {
  const Pack<T, N> grad = load<N>(args.grad + at);
  if (args.partial != nullptr) {
    Pack<T, N> values[kInputs];
    for (int i = 0; i < kInputs; ++i) values[i] = load<N>(args.inputs[i] + at);
    for (int i = 0; i < kInputs; ++i)
      for (int e = 0; e < N; ++e) dot[i] += A(grad[e]) * A(values[i][e]);
  }
  for (int i = 0; i < kInputs; ++i) {
    if (args.grad_inputs[i] == nullptr) continue;
    Pack<T, N> result;
    for (int e = 0; e < N; ++e) result[e] = T(weight[i] * A(grad[e]));
    store(args.grad_inputs[i] + at, result);
  }
}

// grad_inputs[i] = weights[i] * grad and grad_weights[i] = sum over elements of grad * inputs[i].
//
// A thread loads one pack of everything that is needed, stores the gradients of the inputs and adds
// to kInputs sums of its own, in registers; a block leaves its sums in partial[i, block], and
// sum_parts_kernel sums the rows. The order is fixed. There are kernels for 4, 8 and 16 inputs:
// what lies beyond the last input reads `grad` once more, from the first-level cache.
// Bytes: (1 + gradients of inputs, + inputs for the gradient of weights) * size * sizeof(T).
template <class T, int N, int kInputs>
__global__ void __launch_bounds__(kThreads, kResident)
    mixed_sum_backward_kernel(const MixedSumBackward<T> args) {
  using A = Accumulate<T>;
  A weight[kInputs], dot[kInputs] = {};
  for (int i = 0; i < kInputs; ++i) weight[i] = i < args.count ? A(args.weights[i]) : A(0);
  const int64_t thread = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t whole = args.size / N * N;
  for (int64_t at = thread * N; at < whole; at += int64_t(gridDim.x) * blockDim.x * N)
    spread<N>(args, weight, at, dot);
  if (whole + thread < args.size) spread<1>(args, weight, whole + thread, dot);
  if (args.partial == nullptr) return;
  const A sum = block_sums(dot);
  const int i = threadIdx.x;
  if (i < args.count) args.partial[int64_t(i) * gridDim.x + blockIdx.x] = sum;
}

template <class Kernel>
Kernel for_inputs(int count, Kernel four, Kernel eight, Kernel sixteen) {
  return count <= 4 ? four : count <= 8 ? eight : sixteen;
}

template <class Pointer>
bool all_aligned(const Pointer* pointers, int count) {
  return std::all_of(pointers, pointers + count, [](Pointer p) { return aligned(p); });
}

// The threads of a block: fewer, down to a warp, where there would be few blocks.
template <class T>
int threads_for(int64_t size) {
  int threads = kThreads;
  while (threads > kWarp && divide_up(size, threads * kPack<T>) < kEnoughBlocks) threads /= 2;
  return threads;
}

}  // namespace

template <class T>
int64_t mixed_sum_parts(int64_t size) {
  return std::clamp<int64_t>(divide_up(size, threads_for<T>(size) * kPack<T>), 1, kManyBlocks);
}

template <class T>
cudaError_t mixed_sum(const MixedSum<T>& args, cudaStream_t stream) {
  const bool packs = aligned(args.out) && all_aligned(args.inputs, args.count);
  return launch(packs ? mixed_sum_kernel<T, kPack<T>> : mixed_sum_kernel<T, 1>,
                dim3(mixed_sum_parts<T>(args.size)), dim3(threads_for<T>(args.size)), 0, stream,
                args);
}

template <class T>
cudaError_t mixed_sum_backward(MixedSumBackward<T> args, cudaStream_t stream) {
  constexpr int N = kPack<T>;
  const bool packs = aligned(args.grad) && all_aligned(args.inputs, args.count) &&
                     all_aligned(args.grad_inputs, args.count);
  std::fill(args.inputs + args.count, args.inputs + kMixedSumInputs, args.grad);
  const auto kernel =
      packs ? for_inputs(args.count, mixed_sum_backward_kernel<T, N, 4>,
                         mixed_sum_backward_kernel<T, N, 8>, mixed_sum_backward_kernel<T, N, 16>)
            : for_inputs(args.count, mixed_sum_backward_kernel<T, 1, 4>,
                         mixed_sum_backward_kernel<T, 1, 8>, mixed_sum_backward_kernel<T, 1, 16>);
  const int64_t parts = mixed_sum_parts<T>(args.size);
  const cudaError_t error =
      launch(kernel, dim3(parts), dim3(threads_for<T>(args.size)), 0, stream, args);
  if (error != cudaSuccess || args.partial == nullptr) return error;
  return sum_parts(args.partial, args.count, parts, args.grad_weights, stream);
}

#define ADARTS_INSTANTIATE(T)                                          \
  template int64_t mixed_sum_parts<T>(int64_t);                        \
  template cudaError_t mixed_sum<T>(const MixedSum<T>&, cudaStream_t); \
  template cudaError_t mixed_sum_backward<T>(MixedSumBackward<T>, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)
ADARTS_INSTANTIATE(c10::Half)

}  // namespace adarts::cuda
