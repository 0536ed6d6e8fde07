// scores = sigmoid(w2 (relu(w1 average) + relu(w1 maximum))), forward, in two launches.
//
// 1. pool_*_kernel: average and maximum of every plane; lanes of one warp share a plane, or, in
//    interleaved memory, threads run along the channels. All of x is read once: this is the time.
// 2. attention_kernel: a block an image, a group of lanes a row of a weight.
//
// Two launches, because the second needs all planes of an image; one reading of x for both pools,
// where plain torch reads it twice.
#include <climits>
#include <cmath>
#include <limits>

#include "channel_attention.cuh"
#include "device/layers.cuh"
#include "device/planes.cuh"

namespace adarts::cuda {

namespace {

// A peak that loses against every other, if `position` is not below that one's.
template <class A>
__device__ __forceinline__ Peak<A> no_peak(int position) {
  return {-std::numeric_limits<A>::infinity(), position};
}

// sums[plane] = sum over p of x[plane, p]; maxima[plane] = max over p of x[plane, p], where
// positions[plane] is the first p that has it. Planar memory; with N > 1 the pixels lie side by
// side.
//
// A plane, or a part of one, belongs to the blockDim.x lanes of a group; a block has as many groups
// as channels. A thread keeps kLoads loads of N elements in flight, sums each of the N for itself
// (short sums, short chains of dependent additions), and counts positions from the start of the
// part in 32 bits. The group then joins its results by shuffles: no shared memory, no barrier.
// Bytes: images * channels * pixels * sizeof(T) read once, 16 or 24 written for every plane.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) pool_planar_kernel(PoolPlanes<T> a, int length) {
  using A = Accumulate<T>;
  const int lane = threadIdx.x, lanes = blockDim.x;
  const int64_t channel = int64_t(blockIdx.y) * blockDim.y + threadIdx.y;
  const int64_t first = int64_t(blockIdx.z) * length;
  const int64_t left = channel < a.channels ? a.pixels / N - first : 0;
  const int count = static_cast<int>(left < length ? left : length);
  const T* part = a.x.at(blockIdx.x, channel, first * N);
  const int64_t step = N > 1 ? N : a.x.pixel;
  A sums[N] = {};
  Peak<A> peak = no_peak<A>(lane * N);
  for (int i = lane; i < count; i += kLoads * lanes) {
    Pack<T, N> packs[kLoads];
    for (int k = 0; k < kLoads; ++k)
      if (i + k * lanes < count) packs[k] = load<N>(part + (i + k * lanes) * step);
    for (int k = 0; k < kLoads; ++k) {
      if (i + k * lanes >= count) break;
      for (int e = 0; e < N; ++e) {
        const A value = packs[k][e];
        sums[e] += value;
        peak.take(value, (i + k * lanes) * N + e);
      }
    }
  }
  A sum = 0;
  for (int e = 0; e < N; ++e) sum += sums[e];
  sum = group_sum(sum, lanes);
  peak = group_peak(peak, lanes);
  if (lane > 0 || channel >= a.channels) return;
  const int64_t out = (blockIdx.x * a.channels + channel) * gridDim.z + blockIdx.z;
  a.sums[out] = sum;
  a.maxima[out] = peak.value;
  a.positions[out] = first * N + peak.position;
}

// The same for interleaved memory.
//
// threadIdx.x runs along the channels, N of them a thread, so that a warp reads whole lines, and
// threadIdx.y along the pixels of the block's part of an image. A thread keeps N sums and N peaks;
// the block lays them into shared memory, element by element so that no two lanes meet in a bank,
// and adjacent lanes then join the rows of one channel.
// Bytes: images * channels * pixels * sizeof(T) read once, 16 or 24 written for every part.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) pool_interleaved_kernel(PoolPlanes<T> a, int length) {
  using A = Accumulate<T>;
  ADARTS_SHARED(A, sums, kThreads * N);
  ADARTS_SHARED(A, values, kThreads * N);
  ADARTS_SHARED(int, positions, kThreads* N);
  const int lanes = blockDim.x, row = threadIdx.y, rows = blockDim.y, thread = thread_of_block();
  const int64_t first_channel = int64_t(blockIdx.y) * lanes * N;
  const int64_t channel = first_channel + threadIdx.x * N;
  const int64_t first = int64_t(blockIdx.z) * length;
  const int64_t left = channel < a.channels ? a.pixels - first : 0;
  const int count = static_cast<int>(left < length ? left : length);
  const T* part = a.x.at(blockIdx.x, channel, first);
  A sum[N] = {};
  Peak<A> peak[N];
  for (int e = 0; e < N; ++e) peak[e] = no_peak<A>(row);
  for (int p = row; p < count; p += kLoads * rows) {
    Pack<T, N> packs[kLoads];
    for (int k = 0; k < kLoads; ++k)
      if (p + k * rows < count) packs[k] = load<N>(part + (p + k * rows) * a.x.pixel);
    for (int k = 0; k < kLoads; ++k) {
      if (p + k * rows >= count) break;
      for (int e = 0; e < N; ++e) {
        const A value = packs[k][e];
        sum[e] += value;
        peak[e].take(value, p + k * rows);
      }
    }
  }
  for (int e = 0; e < N; ++e) {
    sums[e * kThreads + thread] = sum[e];
    values[e * kThreads + thread] = peak[e].value;
    positions[e * kThreads + thread] = peak[e].position;
  }
  __syncthreads();
  const int columns = lanes * N;
  const int width = power_of_two(kThreads / columns);
  for (int base = 0; base < columns; base += kThreads / width) {
    const int column = base + thread / width;
    const int e = column / lanes, lane = column % lanes;
    A total = 0;
    Peak<A> best = no_peak<A>(INT_MAX);
    if (column < columns) {
      for (int r = thread % width; r < rows; r += width) {
        const int at = e * kThreads + r * lanes + lane;
        total += sums[at];
        best.take(Peak<A>{values[at], positions[at]});
      }
    }
    total = group_sum(total, width);
    best = group_peak(best, width);
    const int64_t c = first_channel + lane * N + e;
    if (thread % width > 0 || column >= columns || c >= a.channels) continue;
    const int64_t out = (blockIdx.x * a.channels + c) * gridDim.z + blockIdx.z;
    a.sums[out] = total;
    a.maxima[out] = best.value;
    a.positions[out] = first + best.position;
  }
}

// hidden_average = relu(w1 average), hidden_maximum = relu(w1 maximum),
// scores = sigmoid(w2 (hidden_average + hidden_maximum)).
//
// A block scores one image. First it joins the parts pooling left; then a group of lanes takes one
// row of a weight at a time and joins its sums by shuffles, for both pools in one reading of w1.
// Bytes: images * (channels * ((parts + 1) * (16 or 24) + sizeof(T)) + hidden * (8 or 16)), and the
// weights, 2 * hidden * channels * sizeof(T), once from memory and for every image from L2.
template <class T>
__global__ void __launch_bounds__(kMostThreads, 1) attention_kernel(ChannelAttention<T> a) {
  using A = Accumulate<T>;
  ADARTS_DYNAMIC_SHARED(A, vectors);  // average, maximum, sum of the hidden units
  const int thread = threadIdx.x, threads = blockDim.x;
  const int64_t first_plane = int64_t(blockIdx.x) * a.channels;
  const int64_t first_unit = int64_t(blockIdx.x) * a.hidden;

  int width = power_of_two(a.parts);
  for (int base = 0; base < a.channels; base += threads / width) {
    const int c = base + thread / width;
    const int64_t plane = first_plane + c;
    A sum = 0;
    Peak<A> peak = no_peak<A>(INT_MAX);
    if (c < a.channels) {
      for (int part = thread % width; part < a.parts; part += width) {
        sum += a.sums[plane * a.parts + part];
        peak.take(Peak<A>{a.maxima[plane * a.parts + part], part});
      }
    }
    sum = group_sum(sum, width);
    peak = group_peak(peak, width);
    if (c >= a.channels || thread % width > 0) continue;
    const A average = sum / A(a.pixels);
    vectors[c] = average;
    vectors[a.channels + c] = peak.value;
    a.average[plane] = average;
    a.maximum[plane] = peak.value;
    a.position[plane] = a.positions[plane * a.parts + peak.position];
  }
  __syncthreads();

  width = power_of_two(a.channels);
  for (int base = 0; base < a.hidden; base += threads / width) {
    const int r = base + thread / width;
    A units[2] = {};
    dot_row(a.w1 + int64_t(r) * a.channels, r < a.hidden ? a.channels : 0, vectors, 0, width,
            units);
    if (r >= a.hidden || thread % width > 0) continue;
    for (A& unit : units) unit = unit < 0 ? A(0) : unit;  // keeps not-a-number
    vectors[2 * a.channels + r] = units[0] + units[1];
    a.hidden_average[first_unit + r] = units[0];
    a.hidden_maximum[first_unit + r] = units[1];
  }
  __syncthreads();

  width = power_of_two(a.hidden);
  for (int base = 0; base < a.channels; base += threads / width) {
    const int c = base + thread / width;
    A logit[1] = {};
    dot_row(a.w2 + int64_t(c) * a.hidden, c < a.channels ? a.hidden : 0, vectors, 2 * a.channels,
            width, logit);
    if (c < a.channels && thread % width == 0)
      a.scores[first_plane + c] = T(A(1) / (A(1) + std::exp(-logit[0])));
  }
}

template <class T>
Tiling<const T> pool_tiling(const PoolPlanes<T>& a) {
  return plane_tiling(a.x, a.images, a.channels, a.pixels, 2 * kEnoughBlocks);
}

}  // namespace

template <class T>
int pool_parts(const PoolPlanes<T>& a) {
  return static_cast<int>(pool_tiling(a).grid.z);
}

template <class T>
cudaError_t pool_planes(const PoolPlanes<T>& a, cudaStream_t stream) {
  const auto tiling = pool_tiling(a);
  constexpr int N = kPack<T>;
  const auto kernel = choose(tiling, pool_planar_kernel<T, N>, pool_planar_kernel<T, 1>,
                             pool_interleaved_kernel<T, N>, pool_interleaved_kernel<T, 1>);
  return launch(kernel, tiling.grid, tiling.block, 0, stream, a, part_length(tiling, a.pixels));
}

template <class T>
cudaError_t channel_attention(const ChannelAttention<T>& a, cudaStream_t stream) {
  const int64_t busy = std::max({int64_t(a.channels) * power_of_two(a.parts),
                                 int64_t(a.hidden) * power_of_two(a.channels),
                                 int64_t(a.channels) * power_of_two(a.hidden), int64_t(64)});
  return launch_images<Accumulate<T>>(attention_kernel<T>, a.images,
                                      power_of_two(busy, kMostThreads), 2 * a.channels + a.hidden,
                                      stream, a);
}

#define ADARTS_INSTANTIATE(T)                                           \
  template int pool_parts(const PoolPlanes<T>&);                        \
  template cudaError_t pool_planes(const PoolPlanes<T>&, cudaStream_t); \
  template cudaError_t channel_attention(const ChannelAttention<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)
ADARTS_INSTANTIATE(c10::Half)

}  // namespace adarts::cuda
