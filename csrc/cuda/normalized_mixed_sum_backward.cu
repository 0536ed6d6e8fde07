// Gradients of out = sum_i weights[i] * y_i with y_i = (x_i - mean_i) * rstd_i, or x_i itself.
//
// 1. products_kernel: sums of g * (x_i - mean_i) and of g by channel; a block a part of a channel;
//    sum_parts_kernel joins the parts.
// 2. weight_sums_kernel: gradients of the weights, a block an input.
// 3. input_gradients_kernel: a block stays in a channel, a thread takes a pack of all inputs.
//
// Two readings of the inputs are the least there can be: each gradient needs sums over a channel.
#include "normalized_inputs.cuh"

namespace adarts::cuda {

namespace {

// partial[i, channel, part] = sum of g * (x_i - mean_i), and of g in the row after the last input.
//
// A thread keeps a sum for each input in registers and goes over packs, a grid further each time.
// There are kernels for 4, 8 and 16 inputs: what lies beyond the last input reads `grad` once more,
// from the first-level cache. blockIdx: part, channel.
// Bytes: (1 + inputs) * size * sizeof(T) read once.
template <class T, int N, int kInputs>
__global__ void __launch_bounds__(kThreads, kResident)
    products_kernel(const NormalizedMixedSumBackward<T> a) {
  using A = Accumulate<T>;
  const int64_t channel = blockIdx.y;
  A mean[kInputs], sums[kInputs + 1] = {};
  for (int i = 0; i < kInputs; ++i) mean[i] = i < a.x.count ? mean_of(a.x, i, channel) : A(0);
  const int64_t step = int64_t(gridDim.x) * kThreads * N;
#pragma unroll 1
  for (int64_t at = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * N; at < a.x.sizes.values;
       at += step) {
    const int64_t from = place(a.x.sizes, channel, at);
    const Pack<T, N> grad = load<N>(a.grad + from);
    Pack<T, N> values[kInputs];
    for (int i = 0; i < kInputs; ++i) values[i] = load<N>(a.x.inputs[i] + from);
    for (int i = 0; i < kInputs; ++i)
      for (int e = 0; e < N; ++e) sums[i] += A(grad[e]) * (A(values[i][e]) - mean[i]);
    for (int e = 0; e < N; ++e) sums[kInputs] += A(grad[e]);
  }
  const A sum = block_sums(sums);
  const int i = threadIdx.x;
  if (i >= a.x.count && i != kInputs) return;
  const int64_t row = (i < kInputs ? i : a.x.count) * a.x.sizes.channels + channel;
  a.partial[row * gridDim.x + blockIdx.x] = sum;
}

// grad_weights[i] = sum over channels of rstd_i * totals[i]; a block for each input.
// Bytes: inputs * channels * (8 or 16).
template <class T>
__global__ void __launch_bounds__(kThreads)
    weight_sums_kernel(const NormalizedMixedSumBackward<T> a) {
  using A = Accumulate<T>;
  const int64_t channels = a.x.sizes.channels;
  A sum[1] = {};
  for (int64_t c = threadIdx.x; c < channels; c += kThreads)
    sum[0] += rstd_of(a.x, blockIdx.x, c) * a.totals[blockIdx.x * channels + c];
  const A total = block_sums(sum);
  if (threadIdx.x == 0) a.grad_weights[blockIdx.x] = total;
}

// grad_inputs[i] = weights[i] * rstd_i * (g - S0 / n - x_hat * S1 / n), where S0 = sum g and
// S1 = sum g * x_hat over the n values of a channel; without the sums where the statistics are
// given, and weights[i] * g where an input is not normalized.
//
// As normalized_mixed_sum_kernel, with four coefficients an input in shared memory. An input is
// read only where its own gradient takes it. blockIdx: part, channel. Bytes: (1 + normalized inputs
// + gradients) * size * sizeof(T).
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kResident)
    input_gradients_kernel(const NormalizedMixedSumBackward<T> a) {
  using A = Accumulate<T>;
  constexpr int kGroup = 4;
  ADARTS_SHARED(A, factors, kNormalizedInputs);
  ADARTS_SHARED(A, offsets, kNormalizedInputs);
  ADARTS_SHARED(A, slopes, kNormalizedInputs);
  ADARTS_SHARED(A, means, kNormalizedInputs);
  const int64_t channel = blockIdx.y, channels = a.x.sizes.channels;
  const int i = threadIdx.x;
  if (i < kNormalizedInputs) {
    const bool used = i < a.x.count, passes = used && a.training && a.x.norm[i] >= 0;
    const A rstd = used ? rstd_of(a.x, i, channel) : A(0);
    const A factor = used ? a.x.weights[i] * rstd : A(0);
    factors[i] = factor;
    means[i] = used ? mean_of(a.x, i, channel) : A(0);
    offsets[i] = passes ? a.totals[a.x.count * channels + channel] / A(a.x.sizes.values) : A(0);
    slopes[i] = passes
                    ? -factor * rstd * rstd * a.totals[i * channels + channel] / A(a.x.sizes.values)
                    : A(0);
  }
  __syncthreads();
  const int64_t step = int64_t(gridDim.x) * kThreads * N;
#pragma unroll 1
  for (int64_t at = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * N; at < a.x.sizes.values;
       at += step) {
    const int64_t from = place(a.x.sizes, channel, at);
    const Pack<T, N> grad = load<N>(a.grad + from);
#pragma unroll 1
    for (int first = 0; first < a.x.count; first += kGroup) {
      Pack<T, N> values[kGroup] = {};
#pragma unroll
      for (int j = 0; j < kGroup; ++j)
        if (first + j < a.x.count && a.grad_inputs[first + j] != nullptr && a.training &&
            a.x.norm[first + j] >= 0)
          values[j] = load<N>(a.x.inputs[first + j] + from);
#pragma unroll
      for (int j = 0; j < kGroup; ++j) {
        if (first + j >= a.x.count || a.grad_inputs[first + j] == nullptr) continue;
        const A factor = factors[first + j];
        const A offset = offsets[first + j];
        const A slope = slopes[first + j];
        const A mean = means[first + j];
        Pack<T, N> result;
        for (int e = 0; e < N; ++e)
          result[e] = T(factor * (A(grad[e]) - offset) + slope * (A(values[j][e]) - mean));
        store(a.grad_inputs[first + j] + from, result);
      }
    }
  }
}

template <class Kernel>
Kernel for_inputs(int count, Kernel four, Kernel eight, Kernel sixteen) {
  return count <= 4 ? four : count <= 8 ? eight : sixteen;
}

}  // namespace

template <class T>
int64_t product_parts(const ChannelSizes& sizes) {
  return channel_parts<T>(sizes);
}

template <class T>
cudaError_t normalized_mixed_sum_backward(const NormalizedMixedSumBackward<T>& args,
                                          cudaStream_t stream) {
  constexpr int N = kPack<T>;
  const ChannelSizes& sizes = args.x.sizes;
  const int count = args.x.count;
  const dim3 grid(product_parts<T>(sizes), sizes.channels);
  const bool packs =
      packs_of<T>(sizes, args.x.inputs, count, args.grad) && all_aligned(args.grad_inputs, count);
  cudaError_t error = cudaSuccess;
  if (args.totals != nullptr) {
    NormalizedMixedSumBackward<T> filled = args;
    std::fill(filled.x.inputs + count, filled.x.inputs + kNormalizedInputs, args.grad);
    const auto kernel = packs ? for_inputs(count, products_kernel<T, N, 4>,
                                           products_kernel<T, N, 8>, products_kernel<T, N, 16>)
                              : for_inputs(count, products_kernel<T, 1, 4>,
                                           products_kernel<T, 1, 8>, products_kernel<T, 1, 16>);
    error = launch(kernel, grid, dim3(kThreads), 0, stream, filled);
    if (error != cudaSuccess) return error;
    error = sum_parts(args.partial, (count + 1) * sizes.channels, grid.x, args.totals, stream);
  }
  if (error == cudaSuccess && args.grad_weights != nullptr)
    error = launch(weight_sums_kernel<T>, dim3(count), dim3(kThreads), 0, stream, args);
  const bool needed = std::any_of(args.grad_inputs, args.grad_inputs + count,
                                  [](const T* p) { return p != nullptr; });
  if (error != cudaSuccess || !needed || sizes.values == 0) return error;
  return launch(packs ? input_gradients_kernel<T, N> : input_gradients_kernel<T, 1>, grid,
                dim3(kThreads), 0, stream, args);
}

#define ADARTS_INSTANTIATE(T)                                                                 \
  template int64_t product_parts<T>(const ChannelSizes&);                                     \
  template cudaError_t normalized_mixed_sum_backward<T>(const NormalizedMixedSumBackward<T>&, \
                                                        cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)
ADARTS_INSTANTIATE(c10::Half)

}  // namespace adarts::cuda
