// The preprocessings of a cell's inputs, h = (u - mean) * rstd with u = W relu(in), and two sums of
// their backward.
//
// All inputs share a launch. Sums go by parts, and whoever needs a total adds up the parts itself,
// which takes less time than a launch. u is normalized in place: of the two only h is kept for
// backward. Bytes: each kernel says its own.
#include <algorithm>
#include <cmath>

#include "groups.cuh"
#include "preprocess.cuh"

namespace adarts::cuda {

namespace {

constexpr int kOutputs = 4;        // channels of a thread
constexpr int kBlockOutputs = 32;  // and of a thread block
constexpr int kSliceInputs = 64;   // channels of `in` of a thread, in up to kOutputs slices

template <class T>
int64_t forward_tiles(const Preprocessings<T>& inputs) {
  const Preprocess<T>& a = inputs.input[0];
  return std::clamp<int64_t>(128 / a.blocks, 1, divide_up(a.pixels(), 4));
}

// u = W relu(in), left in h, and the sums of u and u^2.
//
// A thread block takes the pixels of a part (blockIdx.x), 32 output channels of one of the stride's
// convolutions (y) and an input of the cell (z). A thread makes four channels of a pixel's quad
// from a slice of `in`, 64 channels of it: a thread that took all 256 of a deep cell would be what
// the launch waits for. It reads inputs and weights by fours, and the next fours of inputs before
// it needs them. The slices are added in shared memory, after which each of their threads has a
// share of the four channels. The threads that make other channels of the pixel read the same
// inputs at about the same time, from L1.
// Bytes: reads in_channels for every 32 output channels, and writes `channels` planes once, in
// float32 64 bytes a pixel and block.
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    preprocess_kernel(const Preprocessings<T> inputs) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Q = Quad<A>;
  constexpr int kAhead = sizeof(T) == 2 ? 1 : 2;  // fours of inputs that are waited for
  ADARTS_SHARED(Q, shares, kOutputs * kCellThreads);
  ADARTS_SHARED(double, partial, group_sums_size(2 * kOutputs));
  const Preprocess<T>& a = inputs.input[blockIdx.z];
  const int outs = outputs_of(a), ins = int(a.in_channels);
  const int out_tiles = int(divide_up(outs, kBlockOutputs));
  const bool odd = int(blockIdx.y) >= out_tiles;
  if (int(blockIdx.y) >= out_tiles * a.stride) return;
  const int64_t part = blockIdx.x, tiles = gridDim.x / a.blocks, block = part / tiles;
  const int64_t tile = part % tiles, pixels = a.pixels();
  const int begin = int(pixels * tile / tiles), end = int(pixels * (tile + 1) / tiles);
  const int in_tile = int(blockIdx.y) % out_tiles * kBlockOutputs;
  const int count = outs - in_tile < kBlockOutputs ? outs - in_tile : kBlockOutputs;
  const int first = (odd ? outs : 0) + in_tile;
  const int slices = power_of_two(divide_up(ins, kSliceInputs), kOutputs), own = kOutputs / slices;
  const Grouping grouping(power_of_two(divide_up(count, kOutputs)) * slices);
  const int slice = grouping.group() % slices, o = grouping.group() / slices * kOutputs;
  const int length = int(divide_up(divide_up(ins, slices), kQuad)) * kQuad;
  const int last = (slice + 1) * length < ins ? (slice + 1) * length : ins;
  const int64_t step = pixels * (a.stride * a.stride) * kLanes;
  const int whole = ins % kQuad == 0 ? last : slice * length;             // up to here by fours
  const A* row = a.weights + int64_t(first + (o < count ? o : 0)) * ins;  // of a real output
  const int rows = o < count ? count - o : 0;  // of the four there are so many
  const int real = real_images(a.lanes(block), int(threadIdx.x) % kQuads);
  Shifted<A, kOutputs> moments;
#pragma unroll 1
  for (int places = begin * kQuads; places < end * kQuads; places += grouping.slots) {
    const bool here = places + grouping.slot() < end * kQuads;
    const int at = here ? places + grouping.slot() : end * kQuads - 1;
    const T* from = a.in + block * a.in_block + slice * length * step +
                    a.source(unsigned(at / kQuads), odd) * kLanes + at % kQuads * kQuad;
    Q u[kOutputs] = {};
    Pack<T, kQuad> in[kAhead][kQuad];
    const auto load_four = [&](int n) {
      for (int j = 0; j < kQuad; ++j, from += step) in[n][j] = load<kQuad>(from);
    };
    int i = slice * length;
#pragma unroll
    for (int n = 0; n < kAhead; ++n)
      if (i + n * kQuad < whole) load_four(n);
#pragma unroll 1
    while (i < whole) {
#pragma unroll
      for (int n = 0; n < kAhead && i < whole; ++n, i += kQuad) {
        Q values[kQuad];
        for (int j = 0; j < kQuad; ++j) values[j] = relu(quad_of<T>(in[n][j]));
        if (i + kAhead * kQuad < whole) load_four(n);
        for (int k = 0; k < kOutputs; ++k) {
          const Q w = load_quad(row + (k < rows ? k : 0) * ins + i);
          for (int j = 0; j < kQuad; ++j) u[k].add(w[j], values[j]);
        }
      }
    }
#pragma unroll 1
    for (; i < last; ++i, from += step) {
      const Q value = relu(load_quad(from));
      for (int k = 0; k < kOutputs; ++k) u[k].add(row[(k < rows ? k : 0) * ins + i], value);
    }
    for (int k = 0; k < kOutputs; ++k) shares[k * kCellThreads + threadIdx.x] = u[k];
    __syncthreads();
    T* to = a.h + (block * a.channels + first) * pixels * kLanes + at * kQuad;
    for (int k = 0; k < kOutputs; ++k) {
      const int out = slice * own + k;  // of the group's four
      if (k >= own || !here || o + out >= count) continue;
      const int share = out * kCellThreads + int(threadIdx.x) - slice * grouping.slots;
      Q sum = shares[share];
      for (int other = 1; other < slices; ++other) {
        const Q more = shares[share + other * grouping.slots];
        sum += more;
      }
      store_quad(to + (o + out) * pixels * kLanes, sum);
      moments.add(k, sum, real);
    }
    moments.quads += here;
    __syncthreads();
  }
  double sums[2 * kOutputs];
  moments.totals(real, sums);
  group_sums(grouping, sums, partial, [&](int group, int i, double sum) {
    const int k = i % kOutputs, out = group / slices * kOutputs + group % slices * own + k;
    if (k < own && out < count)
      a.partial[(part * 2 + i / kOutputs) * a.channels + first + out] = sum;
  });
}

constexpr int kNormalised = 256;  // pixels of a thread block

// h = (u - mean) * rstd in place.
//
// A thread block takes 256 pixels (blockIdx.x) of a channel (y) of a block of images of an input
// (z). Each adds up the parts of its channel's statistics itself, which takes less time than a
// launch that does it for all; the first of a channel leaves the result.
// Bytes: h once in each direction.
template <class T>
__global__ void __launch_bounds__(kCellThreads, 4)
    preprocess_normalise_kernel(const Preprocessings<T> inputs, const int64_t parts,
                                const double eps) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  ADARTS_SHARED(double, moments, 2);
  const int thread = threadIdx.x, blocks = int(gridDim.z) / inputs.count;
  const Preprocess<T>& a = inputs.input[int(blockIdx.z) / blocks];
  const int64_t c = a.channels, channel = blockIdx.y, block = int(blockIdx.z) % blocks;
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

// Sums of g and g * h of one channel (blockIdx.y) of an input (z) over a part of the pixels of all
// blocks of images (x). There are few parts, since each block of the kernels that follow reads
// them. Bytes: g and h once.
template <class T>
__global__ void __launch_bounds__(kCellThreads, 4)
    preprocess_sums_kernel(const Preprocessings<T> inputs) {
  wait_for_preceding_grid();
  const Preprocess<T>& a = inputs.input[blockIdx.z];
  const int64_t channel = blockIdx.y;
  const unsigned pixels = unsigned(a.pixels()), all = unsigned(a.blocks) * pixels;
  const unsigned first = unsigned(int64_t(all) * blockIdx.x / gridDim.x);
  const unsigned last = unsigned(int64_t(all) * (blockIdx.x + 1) / gridDim.x);
  const int64_t place = channel * pixels * kLanes + threadIdx.x % kQuads * kQuad;
  double sums[2] = {};
#pragma unroll 4
  for (unsigned at = first + threadIdx.x / kQuads; at < last; at += kCellThreads / kQuads) {
    const int64_t block = at / pixels, pixel = place + int64_t(at % pixels) * kLanes;
    const auto gradient = load_quad(a.grad + block * a.grad_block + pixel);
    const auto value = load_quad(a.h + block * a.channels * pixels * kLanes + pixel);
    sums[0] += double(gradient.sum());
    sums[1] += double((gradient * value).sum());
  }
  const double sum = block_sums(sums);
  if (threadIdx.x < 2)
    a.partial[(int64_t(blockIdx.x) * 2 + threadIdx.x) * a.channels + channel] = sum;
}

}  // namespace

template <class T>
int64_t preprocess_parts(const Preprocessings<T>& inputs) {
  return inputs.input[0].blocks * forward_tiles(inputs);
}

template <class T>
int64_t preprocess_sum_parts(const Preprocessings<T>& inputs) {
  const Preprocess<T>& a = inputs.input[0];
  return std::clamp<int64_t>(a.blocks * a.pixels() / 512, 1, 16);
}

template <class T>
cudaError_t preprocess(const Preprocessings<T>& inputs, cudaStream_t stream) {
  int64_t tiles = 0;
  for (int i = 0; i < inputs.count; ++i) {
    const Preprocess<T>& a = inputs.input[i];
    tiles = std::max(tiles, divide_up(outputs_of(a), kBlockOutputs) * a.stride);
  }
  return launch_dependent(preprocess_kernel<T>, dim3(preprocess_parts(inputs), tiles, inputs.count),
                          dim3(kCellThreads), 0, stream, inputs);
}

template <class T>
cudaError_t preprocess_normalise(const Preprocessings<T>& inputs, double eps, cudaStream_t stream) {
  const Preprocess<T>& a = inputs.input[0];
  const dim3 grid(divide_up(a.pixels(), kNormalised), a.channels, a.blocks * inputs.count);
  return launch_dependent(preprocess_normalise_kernel<T>, grid, dim3(kCellThreads), 0, stream,
                          inputs, preprocess_parts(inputs), eps);
}

template <class T>
cudaError_t preprocess_sums(const Preprocessings<T>& inputs, cudaStream_t stream) {
  const dim3 grid(preprocess_sum_parts(inputs), inputs.input[0].channels, inputs.count);
  return launch_dependent(preprocess_sums_kernel<T>, grid, dim3(kCellThreads), 0, stream, inputs);
}

#define ADARTS_INSTANTIATE(T)                                                                \
  template int64_t preprocess_parts(const Preprocessings<T>&);                               \
  template int64_t preprocess_sum_parts(const Preprocessings<T>&);                           \
  template cudaError_t preprocess(const Preprocessings<T>&, cudaStream_t);                   \
  template cudaError_t preprocess_normalise(const Preprocessings<T>&, double, cudaStream_t); \
  template cudaError_t preprocess_sums(const Preprocessings<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)

}  // namespace adarts::cuda
