// out = sum_i weights[i] * y_i with y_i = (x_i - mean_i) * rstd_i, or x_i itself: the BatchNorms
// that end the candidates, taken into their weighted sum. Forward, in three launches.
//
// 1. channel_moments_kernel: a block holds a part of a channel in registers, reads it once.
// 2. finish_moments_kernel: lanes of a warp join the parts of a channel, in double.
// 3. normalized_mixed_sum_kernel: a block stays in a channel, a thread takes a pack of all inputs.
//
// Bytes: every input twice and the result once. BatchNorms and a sum of their results move at least
// twice as many, and keep the normalized inputs for backward.
#include <cmath>

#include "normalized_inputs.cuh"

namespace adarts::cuda {

namespace {

constexpr int kMoments = 3;  // of a part: its rounded mean, sums of distances and of squares

template <class T>
int64_t values_of_part() {
  return int64_t(kThreads) * kLoads * kPack<T>;
}

// For every part of a channel of an input: mean, sum of (x - mean), sum of (x - mean)^2.
//
// A block takes one part, which its threads hold in registers: read once, summed for the mean, then
// summed around it. The mean is rounded, so the distances from it do not quite cancel; their sum
// makes good what the mean misses. blockIdx: part, channel, input.
// Bytes: inputs * channels * values * sizeof(T) read once.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kResident)
    channel_moments_kernel(const ChannelMoments<T> a, int length) {
  using A = Accumulate<T>;
  ADARTS_SHARED(A, mean_of_block, 1);
  constexpr int kHeld = kLoads * kPack<T> / N;  // packs of a thread
  const T* x = a.inputs[blockIdx.z];
  const int64_t first = int64_t(blockIdx.x) * length + threadIdx.x * N;
  const int64_t left = a.sizes.values - int64_t(blockIdx.x) * length;
  const A count = A(left < length ? left : length);
  Pack<T, N> packs[kHeld];
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t at = first + k * kThreads * N;
    if (at < a.sizes.values) packs[k] = load<N>(x + place(a.sizes, blockIdx.y, at));
  }
  A sum[1] = {};
#pragma unroll
  for (int k = 0; k < kHeld; ++k)
    if (first + k * kThreads * N < a.sizes.values)
      for (int e = 0; e < N; ++e) sum[0] += A(packs[k][e]);
  const A total = block_sums(sum);
  if (threadIdx.x == 0) mean_of_block[0] = total / count;
  __syncthreads();
  const A mean = mean_of_block[0];
  A moments[2] = {};
#pragma unroll
  for (int k = 0; k < kHeld; ++k)
    if (first + k * kThreads * N < a.sizes.values)
      for (int e = 0; e < N; ++e) {
        const A apart = A(packs[k][e]) - mean;
        moments[0] += apart;
        moments[1] += apart * apart;
      }
  const A moment = block_sums(moments);
  const int64_t row = blockIdx.z * a.sizes.channels + blockIdx.y;
  A* to = a.partial + (row * gridDim.x + blockIdx.x) * kMoments;
  if (threadIdx.x == 0) to[0] = mean;
  if (threadIdx.x < 2) to[1 + threadIdx.x] = moment;
}

// The statistics of a channel from its parts: the mean first, then the squares around it.
//
// A row of lanes of one warp takes one channel of one input. Sums are made in double: there is one
// term for thousands of values.
// Bytes: inputs * channels * parts * kMoments * (4 or 8), the parts of the kernel before.
template <class T>
__global__ void __launch_bounds__(kThreads)
    finish_moments_kernel(const ChannelMoments<T> a, int parts, int length) {
  using A = Accumulate<T>;
  const int lanes = blockDim.x;
  const int64_t row = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
  const int mine = row < a.count * a.sizes.channels ? parts : 0;
  const A* partial = a.partial + row * parts * kMoments;
  const auto count_of = [&](int part) {
    const int64_t left = a.sizes.values - int64_t(part) * length;
    return double(left < length ? left : length);
  };
  double sum = 0, squares = 0;
  for (int part = threadIdx.x; part < mine; part += lanes)
    sum += double(partial[part * kMoments]) * count_of(part) + partial[part * kMoments + 1];
  const double mean = group_sum(sum, lanes) / a.sizes.values;
  for (int part = threadIdx.x; part < mine; part += lanes) {
    const double rest = partial[part * kMoments + 1] / count_of(part);
    const double apart = partial[part * kMoments] + rest - mean;
    squares += partial[part * kMoments + 2] + (apart * apart - rest * rest) * count_of(part);
  }
  squares = group_sum(squares, lanes);
  if (mine == 0 || threadIdx.x > 0) return;
  const int64_t channels = a.sizes.channels;
  A* norm = a.norms + row / channels * kStatistics * channels + row % channels;
  norm[0] = A(mean);
  norm[channels] = A(1 / std::sqrt(squares / a.sizes.values + a.eps));
  norm[2 * channels] = A(squares / (a.sizes.values > 1 ? a.sizes.values - 1 : 1));
}

// out = sum_i weights[i] * rstd_i * (x_i - mean_i).
//
// A block stays in one channel, so that it finds factors and means once, into shared memory. A
// thread loads one pack of four inputs at once, adds them in the order of the inputs and stores one
// pack; it goes on a grid further. blockIdx: part, channel.
// Bytes: (inputs + 1) * size * sizeof(T), each tensor once.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kResident)
    normalized_mixed_sum_kernel(const NormalizedMixedSum<T> a) {
  using A = Accumulate<T>;
  constexpr int kGroup = 4;
  ADARTS_SHARED(A, factors, kNormalizedInputs);
  ADARTS_SHARED(A, means, kNormalizedInputs);
  const int64_t channel = blockIdx.y;
  const int i = threadIdx.x;
  if (i < kNormalizedInputs) {
    factors[i] = i < a.x.count ? a.x.weights[i] * rstd_of(a.x, i, channel) : A(0);
    means[i] = i < a.x.count ? mean_of(a.x, i, channel) : A(0);
  }
  __syncthreads();
  const int64_t step = int64_t(gridDim.x) * kThreads * N;
#pragma unroll 1
  for (int64_t at = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * N; at < a.x.sizes.values;
       at += step) {
    const int64_t from = place(a.x.sizes, channel, at);
    A sum[N] = {};
    begin_sum(a.before, from, sum);
#pragma unroll 1
    for (int first = 0; first < a.x.count; first += kGroup) {
      Pack<T, N> values[kGroup];
#pragma unroll
      for (int j = 0; j < kGroup; ++j)
        if (first + j < a.x.count) values[j] = load<N>(a.x.inputs[first + j] + from);
#pragma unroll
      for (int j = 0; j < kGroup; ++j) {
        if (first + j >= a.x.count) break;
        const A factor = factors[first + j];
        const A mean = means[first + j];
        for (int e = 0; e < N; ++e) sum[e] += factor * (A(values[j][e]) - mean);
      }
    }
    end_sum(sum, a.after, a.out, from);
  }
}

}  // namespace

template <class T>
int64_t moment_parts(const ChannelSizes& sizes) {
  return divide_up(sizes.values, values_of_part<T>());
}

template <class T>
cudaError_t channel_moments(const ChannelMoments<T>& args, cudaStream_t stream) {
  constexpr int N = kPack<T>;
  const bool packs = packs_of<T>(args.sizes, args.inputs, args.count, nullptr);
  const int64_t parts = moment_parts<T>(args.sizes), rows = args.count * args.sizes.channels;
  const int length = static_cast<int>(values_of_part<T>());
  const cudaError_t error =
      launch(packs ? channel_moments_kernel<T, N> : channel_moments_kernel<T, 1>,
             dim3(parts, args.sizes.channels, args.count), dim3(kThreads), 0, stream, args, length);
  if (error != cudaSuccess) return error;
  const int lanes = power_of_two(parts, kWarp);
  return launch(finish_moments_kernel<T>, dim3(divide_up(rows, kThreads / lanes)),
                dim3(lanes, kThreads / lanes), 0, stream, args, int(parts), length);
}

template <class T>
cudaError_t normalized_mixed_sum(const NormalizedMixedSum<T>& args, cudaStream_t stream) {
  const ChannelSizes& sizes = args.x.sizes;
  if (sizes.values == 0) return cudaSuccess;
  const bool packs = packs_of<T>(sizes, args.x.inputs, args.x.count, args.out);
  return launch(
      packs ? normalized_mixed_sum_kernel<T, kPack<T>> : normalized_mixed_sum_kernel<T, 1>,
      dim3(channel_parts<T>(sizes), sizes.channels), dim3(kThreads), 0, stream, args);
}

#define ADARTS_INSTANTIATE(T)                                                      \
  template int64_t moment_parts<T>(const ChannelSizes&);                           \
  template cudaError_t channel_moments<T>(const ChannelMoments<T>&, cudaStream_t); \
  template cudaError_t normalized_mixed_sum<T>(const NormalizedMixedSum<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)
ADARTS_INSTANTIATE(c10::Half)

}  // namespace adarts::cuda
