// A cell's preprocessing, h = (u - mean) * rstd with u = W relu(in), and two sums of its backward.
//
// A thread makes four output channels of a quad of images of a pixel; sums go by parts, and whoever
// needs a total adds up the parts itself, which takes less time than a launch. u is normalized in
// place: of the two only h is kept for backward. Bytes: each kernel says its own.
#include <algorithm>
#include <cmath>

#include "groups.cuh"
#include "launchers.cuh"

namespace adarts::cuda {

namespace {

constexpr int kForwardThreads = 128;  // the fewer, the more blocks where planes are small
constexpr int kOutputs = 4;           // channels of a thread

// Output channels of one of the stride's convolutions.
template <class T>
__host__ __device__ __forceinline__ int outputs_of(const Preprocess<T>& a) {
  return int(a.channels) / a.stride;
}

template <class T>
int64_t forward_tiles(const Preprocess<T>& a) {
  const int groups = power_of_two(divide_up(outputs_of(a), kOutputs), kForwardThreads / kQuads);
  const int64_t pixels = kForwardThreads / groups / kQuads;  // at once
  return std::clamp<int64_t>(1024 / a.blocks, 1, divide_up(a.pixels(), pixels));
}

template <class T>
__device__ __forceinline__ const T* in_plane(const Preprocess<T>& a, int64_t block, int64_t i) {
  return a.in + block * a.in_block + i * a.pixels() * (a.stride * a.stride) * kLanes;
}

// u = W relu(in), left in h, and the sums of u and u^2.
//
// A thread block takes the pixels of a part (blockIdx.x) and one of the stride's convolutions (y).
// A thread makes four channels of a pixel's quad; the threads that make the others of this pixel
// read the same inputs at about the same time, from L1. There is no shared memory to wait for.
// Bytes: reads in_channels and writes `channels` planes once, in float32 64 bytes a pixel and
// block.
template <class T>
__global__ void __launch_bounds__(kForwardThreads, sizeof(T) == 8 ? 2 : 4)
    preprocess_kernel(const Preprocess<T> a) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Q = Quad<A>;
  [[maybe_unused]] constexpr int kAtOnce = sizeof(A) == 8 ? 4 : 8;  // inputs that are waited for
  ADARTS_SHARED(double, partial, group_sums_size(2 * kOutputs));
  const int64_t part = blockIdx.x, tiles = gridDim.x / a.blocks, block = part / tiles;
  const int64_t tile = part % tiles, pixels = a.pixels();
  const int begin = int(pixels * tile / tiles), end = int(pixels * (tile + 1) / tiles);
  const bool odd = blockIdx.y == 1;
  const int outs = outputs_of(a), ins = int(a.in_channels), first = odd ? outs : 0;
  const int64_t in_step = pixels * (a.stride * a.stride) * kLanes;
  const Grouping grouping(divide_up(outs, kOutputs), kForwardThreads);
  const int real = real_images(a.lanes(block), int(threadIdx.x) % kQuads);
  for (int base = 0; base < outs; base += grouping.groups * kOutputs) {
    const int o = base + grouping.group() * kOutputs;
    const int count = outs - o < kOutputs ? outs - o : kOutputs;
    const A* __restrict__ w = a.weights + int64_t(first + o) * ins;
    Shifted<A, kOutputs> moments;
#pragma unroll 1
    for (int at = grouping.slot(); at < (end - begin) * kQuads && count > 0; at += grouping.slots) {
      const int64_t pixel = begin + at / kQuads;
      const T* from = in_plane(a, block, 0) + a.source(pixel, odd) * kLanes + at % kQuads * kQuad;
      Q u[kOutputs] = {};
#pragma unroll kAtOnce
      for (int i = 0; i < ins; ++i) {
        const Q in = relu(load_quad(from + i * in_step));
#pragma unroll
        for (int k = 0; k < kOutputs; ++k) u[k].add(k < count ? w[k * ins + i] : A(0), in);
      }
      T* to =
          a.h + ((block * a.channels + first + o) * pixels + pixel) * kLanes + at % kQuads * kQuad;
      for (int k = 0; k < kOutputs; ++k) {
        if (k < count) store_quad(to + k * pixels * kLanes, u[k]);
        moments.add(k, u[k], real);
      }
      ++moments.quads;
    }
    double sums[2 * kOutputs];
    moments.totals(real, sums);
    group_sums(grouping, sums, partial, [&](int group, int i, double sum) {
      const int out = base + group * kOutputs + i % kOutputs;
      if (out < outs) a.partial[(part * 2 + i / kOutputs) * a.channels + first + out] = sum;
    });
  }
}

constexpr int kNormalised = 256;  // pixels of a thread block

// h = (u - mean) * rstd in place.
//
// A thread block takes 256 pixels (blockIdx.x) of a channel (y) of a block of images (z). Each adds
// up the parts of its channel's statistics itself, which takes less time than a launch that does it
// for all; the first of a channel leaves the result.
// Bytes: h once in each direction.
template <class T>
__global__ void __launch_bounds__(kCellThreads, 4)
    preprocess_normalise_kernel(const Preprocess<T> a, const int64_t parts, const double eps) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  ADARTS_SHARED(double, moments, 2);
  const int thread = threadIdx.x;
  const int64_t c = a.channels, channel = blockIdx.y, block = blockIdx.z;
  A mean, rstd;
  if (a.training) {
    double sums[2] = {};
    for (int64_t part = thread; part < parts; part += kCellThreads)
      for (int i = 0; i < 2; ++i) sums[i] += a.partial[(part * 2 + i) * c + channel];
    const double sum = block_sums(sums);
    if (thread < 2) moments[thread] = sum;
    __syncthreads();
    const double total = moments[0], square = moments[1];
    const Moments statistic(total, square, a.count());
    mean = A(statistic.mean);
    rstd = A(1 / std::sqrt(statistic.variance + eps));
    if (blockIdx.x == 0 && block == 0 && thread == 0) {
      a.norms[kMean * c + channel] = mean;
      a.norms[kRstd * c + channel] = rstd;
      a.norms[kVariance * c + channel] = A(statistic.unbiased);
    }
  } else {
    mean = a.norms[kMean * c + channel];
    rstd = a.norms[kRstd * c + channel];
  }
  const int quad = thread % kQuads, first = int(blockIdx.x) * kNormalised;
  const Quad<A> mean_of_lanes = mean * real_lanes<A>(a.lanes(block), quad);
  T* h = a.h + (block * c + channel) * a.pixels() * kLanes + quad * kQuad;
  const int64_t last = std::min(a.pixels(), int64_t(first + kNormalised));
#pragma unroll 4
  for (int64_t p = first + thread / kQuads; p < last; p += kCellThreads / kQuads) {
    store_quad(h + p * kLanes, rstd * (load_quad(h + p * kLanes) - mean_of_lanes));
  }
}

// Sums of g and g * h of one channel (blockIdx.y) over one band of a block of images (x).
// Bytes: g and h once.
template <class T>
__global__ void __launch_bounds__(kCellThreads, 4) preprocess_sums_kernel(const Preprocess<T> a) {
  wait_for_preceding_grid();
  const int64_t block = blockIdx.x / kBands, band = blockIdx.x % kBands, channel = blockIdx.y;
  const int quad = int(threadIdx.x) % kQuads;
  const T* h = a.h + (block * a.channels + channel) * a.pixels() * kLanes + quad * kQuad;
  const T* g = a.grad + block * a.grad_block + channel * a.pixels() * kLanes + quad * kQuad;
  double sums[2] = {};
#pragma unroll 4
  for (int64_t p = a.band_begin(band) + threadIdx.x / kQuads; p < a.band_begin(band + 1);
       p += kCellThreads / kQuads) {
    const auto gradient = load_quad(g + p * kLanes), value = load_quad(h + p * kLanes);
    sums[0] += double(gradient.sum());
    sums[1] += double((gradient * value).sum());
  }
  const double sum = block_sums(sums);
  if (threadIdx.x < 2)
    a.partial[(int64_t(blockIdx.x) * 2 + threadIdx.x) * a.channels + channel] = sum;
}

}  // namespace

template <class T>
int64_t preprocess_parts(const Preprocess<T>& a) {
  return a.blocks * forward_tiles(a);
}

template <class T>
cudaError_t preprocess(const Preprocess<T>& a, cudaStream_t stream) {
  return launch_dependent(preprocess_kernel<T>, dim3(preprocess_parts(a), a.stride),
                          dim3(kForwardThreads), 0, stream, a);
}

template <class T>
cudaError_t preprocess_normalise(const Preprocess<T>& a, double eps, cudaStream_t stream) {
  const dim3 grid(divide_up(a.pixels(), kNormalised), a.channels, a.blocks);
  return launch_dependent(preprocess_normalise_kernel<T>, grid, dim3(kCellThreads), 0, stream, a,
                          preprocess_parts(a), eps);
}

template <class T>
cudaError_t preprocess_sums(const Preprocess<T>& a, cudaStream_t stream) {
  return launch_dependent(preprocess_sums_kernel<T>, dim3(a.blocks * kBands, a.channels),
                          dim3(kCellThreads), 0, stream, a);
}

#define ADARTS_INSTANTIATE(T)                                                            \
  template int64_t preprocess_parts(const Preprocess<T>&);                               \
  template cudaError_t preprocess(const Preprocess<T>&, cudaStream_t);                   \
  template cudaError_t preprocess_normalise(const Preprocess<T>&, double, cudaStream_t); \
  template cudaError_t preprocess_sums(const Preprocess<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)

}  // namespace adarts::cuda
