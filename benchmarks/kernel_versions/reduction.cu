// A reduction in versions, from the obvious one to the library's (docs/kernels.md): of every
// channel of x, (images, channels, pixels),
//
//   mean = 1/n sum x,   rstd = 1 / sqrt(1/n sum (x - mean)^2 + eps),   n = images * pixels,
//
// and the unbiased variance. All versions are float32, with 128 threads a block, and no sum depends
// on the order in which blocks run. They are given what the library's launcher is given.
#include <cmath>

#include "../../csrc/cuda/normalized_inputs.cuh"

namespace adarts::cuda {

namespace {

using Moments = ChannelMoments<float>;

__device__ __forceinline__ void put(const Moments& a, int channel, float mean, float squares) {
  const int64_t channels = a.sizes.channels;
  a.norms[channel] = mean;
  a.norms[channels + channel] = 1 / std::sqrt(squares / a.sizes.values + float(a.eps));
  a.norms[2 * channels + channel] = squares / (a.sizes.values - 1);
}

// 1. A thread takes a channel.
__global__ void __launch_bounds__(kThreads) channel_kernel(const Moments a) {
  const int channel = blockIdx.x * kThreads + threadIdx.x;
  if (channel >= a.sizes.channels) return;
  const float* x = a.inputs[0];
  float sum = 0;
  for (int at = 0; at < a.sizes.values; ++at) sum += x[place(a.sizes, channel, at)];
  const float mean = sum / a.sizes.values;
  float squares = 0;
  for (int at = 0; at < a.sizes.values; ++at) {
    const float apart = x[place(a.sizes, channel, at)] - mean;
    squares += apart * apart;
  }
  put(a, channel, mean, squares);
}

// The sum over a block, in all its threads, by halves in shared memory.
__device__ __forceinline__ float tree_sum(float value) {
  ADARTS_SHARED(float, shares, kThreads);
  const int thread = threadIdx.x;
  shares[thread] = value;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) {
      const float other = shares[thread + half];
      shares[thread] += other;
    }
    __syncthreads();
  }
  const float total = shares[0];
  __syncthreads();
  return total;
}

// 2. A block takes a channel, each thread every 128th value.
__global__ void __launch_bounds__(kThreads) tree_kernel(const Moments a) {
  const int channel = blockIdx.x;
  const float* x = a.inputs[0];
  float sum = 0;
  for (int at = threadIdx.x; at < a.sizes.values; at += kThreads)
    sum += x[place(a.sizes, channel, at)];
  const float mean = tree_sum(sum) / a.sizes.values;
  float squares = 0;
  for (int at = threadIdx.x; at < a.sizes.values; at += kThreads) {
    const float apart = x[place(a.sizes, channel, at)] - mean;
    squares += apart * apart;
  }
  squares = tree_sum(squares);
  if (threadIdx.x == 0) put(a, channel, mean, squares);
}

// 3. As 2, in one pass: sum (x - mean)^2 = sum x^2 - n mean^2. Wrong where the mean is large.
__global__ void __launch_bounds__(kThreads) one_pass_kernel(const Moments a) {
  const int channel = blockIdx.x;
  const float* x = a.inputs[0];
  float sum = 0, squares = 0;
  for (int at = threadIdx.x; at < a.sizes.values; at += kThreads) {
    const float value = x[place(a.sizes, channel, at)];
    sum += value;
    squares += value * value;
  }
  sum = tree_sum(sum);
  squares = tree_sum(squares);
  const float mean = sum / a.sizes.values;
  if (threadIdx.x == 0) put(a, channel, mean, squares - sum * mean);
}

// Sums around the first value of the channel: what is subtracted in the end is small then.
struct Pivoted {
  float pivot, sum = 0, squares = 0;

  __device__ __forceinline__ Pivoted(const Moments& a, int channel)
      : pivot(a.inputs[0][place(a.sizes, channel, 0)]) {}
  __device__ __forceinline__ void add(float value) {
    const float apart = value - pivot;
    sum += apart;
    squares += apart * apart;
  }
  __device__ __forceinline__ void put(const Moments& a, int channel) const {
    const float rest = sum / a.sizes.values;
    cuda::put(a, channel, pivot + rest, squares - sum * rest);
  }
};

// 4. As 3, around a pivot.
__global__ void __launch_bounds__(kThreads) pivot_kernel(const Moments a) {
  const int channel = blockIdx.x;
  Pivoted all(a, channel);
  for (int at = threadIdx.x; at < a.sizes.values; at += kThreads)
    all.add(a.inputs[0][place(a.sizes, channel, at)]);
  all.sum = tree_sum(all.sum);
  all.squares = tree_sum(all.squares);
  if (threadIdx.x == 0) all.put(a, channel);
}

// 5. As 4, in packs of four values, four loads at a time, joined by shuffles. A plane must be whole
// packs. The rounds of four loads ask nothing: a question would let the compiler keep the loads
// apart.
__global__ void __launch_bounds__(kThreads, kResident) packs_kernel(const Moments a) {
  constexpr int N = kPack<float>, kStep = kThreads * N;
  ADARTS_SHARED(float, totals, 2);
  const int channel = blockIdx.x;
  Pivoted all(a, channel);
  const auto pack = [&](int at) { return load<N>(a.inputs[0] + place(a.sizes, channel, at)); };
  const auto add = [&](const Pack<float, N>& values) {
    for (int e = 0; e < N; ++e) all.add(values[e]);
  };
  int at = threadIdx.x * N;
  for (; at + (kLoads - 1) * kStep < a.sizes.values; at += kLoads * kStep) {
    Pack<float, N> packs[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) packs[k] = pack(at + k * kStep);
#pragma unroll
    for (int k = 0; k < kLoads; ++k) add(packs[k]);
  }
  for (; at < a.sizes.values; at += kStep) add(pack(at));
  const float total = block_sums<float, 2>({all.sum, all.squares});
  if (threadIdx.x < 2) totals[threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.x > 0) return;
  all.sum = totals[0];
  all.squares = totals[1];
  all.put(a, channel);
}

}  // namespace

// For Python, by ctypes. Version 6 is the library's. Returns whether there is such a version;
// `partial` has room for (channels, values / 2048 rounded up, 3) numbers.
extern "C" __attribute__((visibility("default"))) bool reduction(int version, const float* x,
                                                                 float* partial, float* norms,
                                                                 int images, int channels,
                                                                 int pixels) {
  const Moments a{{x}, 1, {channels, images * pixels, pixels}, 1e-5, partial, norms};
  const auto run = [&](auto kernel, int blocks) {
    launch(kernel, dim3(blocks), dim3(kThreads), 0, nullptr, a);
  };
  switch (version) {
    case 1:
      run(channel_kernel, divide_up(channels, kThreads));
      return true;
    case 2:
      run(tree_kernel, channels);
      return true;
    case 3:
      run(one_pass_kernel, channels);
      return true;
    case 4:
      run(pivot_kernel, channels);
      return true;
    case 5:
      run(packs_kernel, channels);
      return true;
    case 6:
      channel_moments(a, nullptr);
      return true;
    default:
      return false;
  }
}

}  // namespace adarts::cuda
