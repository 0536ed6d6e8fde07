// out = the k channels with the largest sum over n of scores[n, c], by falling sum; not-a-number
// comes first, as in torch.topk, and equal sums fall back to the lower index.
//
// Bytes: batch * channels * sizeof(T) read once, 8 * k written.
//
// One block does all: the scores are few (64 KiB for 256 images of 64 channels) and every channel
// must be compared with every other, so a second block would only add a launch. The time is that of
// a few dependent reads of memory and a dozen barriers, not that of the bytes.
//
// 1. Sums, in double, so that the order of summation hardly ever decides between channels (sums of
//    float scores between 2^-21 and 1 are exact for up to 256 images). The threads form rows of
//    `channels` threads; a row takes every rows-th image, so that a warp reads neighbouring
//    scores, and the rows are added in a tree. Reads batch * channels scores once.
// 2. Order. The sums become integers of the same order. Up to 256 channels, a group of lanes
//    counts for each channel those ahead of it: that number is its place. Beyond that, where
//    counting costs the square of the channels, a bitonic sort.
#include <bit>
#include <climits>

#include "device/access.cuh"
#include "device/reduce.cuh"
#include "select_channels.cuh"

namespace adarts::cuda {

namespace {

constexpr int kSelectThreads = 1024;
constexpr int kCountable = 256;  // channels
constexpr int kReads = 8;        // scores a thread waits for at once

// Integers that are ordered as the sums are. A sum is never -0: it starts from +0.
__device__ __forceinline__ long long order_of(double sum) {
  if (sum != sum) return LLONG_MAX;
  const long long bits = std::bit_cast<long long>(sum);
  return bits < 0 ? bits ^ LLONG_MAX : bits;
}

// The scores of one channel in every `step`-th image from `first` on.
template <class T>
__device__ __forceinline__ double sum_of_channel(const SelectChannels<T>& a, int channel, int first,
                                                 int step) {
  double sum = 0;
  for (int64_t n = first; n < a.batch; n += kReads * step) {
    double score[kReads];
    for (int i = 0; i < kReads; ++i) {
      const int64_t image = n + i * step;
      score[i] =
          image < a.batch ? double(Accumulate<T>(a.scores[image * a.channels + channel])) : 0.0;
    }
    for (int i = 0; i < kReads; ++i) sum += score[i];
  }
  return sum;
}

template <class T>
__global__ void __launch_bounds__(kSelectThreads, 1) select_kernel(SelectChannels<T> a) {
  ADARTS_SHARED(double, partial, kSelectThreads);
  ADARTS_SHARED(int64_t, order, kMostSelectable);
  ADARTS_SHARED(short, channel_at, kMostSelectable);
  const int thread = static_cast<int>(threadIdx.x), channels = a.channels;

  if (channels < kSelectThreads) {
    int rows = power_of_two(a.batch, kSelectThreads);
    while (rows * channels > kSelectThreads) rows /= 2;
    if (thread < rows * channels)
      partial[thread] = sum_of_channel(a, thread % channels, thread / channels, rows);
    __syncthreads();
    for (int half = rows / 2; half > 0; half /= 2) {
      if (thread < half * channels) partial[thread] += partial[thread + half * channels];
      __syncthreads();
    }
    if (thread < channels) order[thread] = order_of(partial[thread]);
  } else {
    for (int c = thread; c < channels; c += kSelectThreads)
      order[c] = order_of(sum_of_channel(a, c, 0, 1));
  }
  __syncthreads();

  if (channels <= kCountable) {
    int width = kWarp;
    while (width * channels > kSelectThreads) width /= 2;
    const int c = thread / width;
    int ahead = 0;
    if (c < channels) {
      const int64_t own = order[c];
      for (int other = thread % width; other < channels; other += width) {
        const int64_t value = order[other];
        ahead += value > own || (value == own && other < c);
      }
    }
    ahead = group_sum(ahead, width);
    if (c < channels && thread % width == 0 && ahead < a.k) a.out[ahead] = c;
    return;
  }

  const int size = power_of_two(channels, kMostSelectable);
  for (int c = thread; c < size; c += kSelectThreads) {
    channel_at[c] = static_cast<short>(c);
    if (c >= channels) order[c] = LLONG_MIN;  // behind all sums
  }
  __syncthreads();
  for (int run = 2; run <= size;
       run *= 2) {  // sorts runs of this length, every other one upside down
    for (int step = run / 2; step > 0; step /= 2) {
      for (int pair = thread; pair < size / 2; pair += kSelectThreads) {
        const int i = 2 * pair - (pair & (step - 1)), j = i + step;
        const int64_t order_i = order[i], order_j = order[j];
        const short channel_i = channel_at[i], channel_j = channel_at[j];
        const bool j_first = order_j > order_i || (order_j == order_i && channel_j < channel_i);
        if (j_first == ((i & run) == 0)) {
          order[i] = order_j;
          order[j] = order_i;
          channel_at[i] = channel_j;
          channel_at[j] = channel_i;
        }
      }
      __syncthreads();
    }
  }
  for (int i = thread; i < a.k; i += kSelectThreads) a.out[i] = channel_at[i];
}

}  // namespace

template <class T>
cudaError_t select_channels(const SelectChannels<T>& a, cudaStream_t stream) {
  return launch(select_kernel<T>, dim3(a.k > 0), dim3(kSelectThreads), 0, stream, a);
}

template cudaError_t select_channels(const SelectChannels<float>&, cudaStream_t);
template cudaError_t select_channels(const SelectChannels<double>&, cudaStream_t);
template cudaError_t select_channels(const SelectChannels<c10::BFloat16>&, cudaStream_t);
template cudaError_t select_channels(const SelectChannels<c10::Half>&, cudaStream_t);

}  // namespace adarts::cuda
