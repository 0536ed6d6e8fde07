// The choice of channels for all edges that leave a state, the K-th part of largest sums of scores,
// and the maps between channels that follow from it.
#include <limits>

#include "launchers.cuh"
#include "sums.cuh"

namespace adarts::cuda {

namespace {

constexpr int kSharers = 4;  // threads of a channel

// Of every channel its place among the chosen, or -1: its rank by falling sum of the scores, ties
// to the lower index. Not-a-number comes first.
template <class Sums, class Places>
__device__ __forceinline__ void rank(const Sizes& z, Sums sums, Places places) {
  const auto sum_of = [&](int i) {
    const double sum = sums[i];
    return sum == sum ? sum : std::numeric_limits<double>::infinity();
  };
  const int channels = int(z.channels), share = int(threadIdx.x) % kSharers;
  for (int first = 0; first < channels; first += kCellThreads / kSharers) {
    const int i = first + int(threadIdx.x) / kSharers;
    int ahead = 0;
    if (i < channels) {
      const double own = sum_of(i);
#pragma unroll 8
      for (int other = share; other < channels; other += kSharers) {
        const double value = sum_of(other);
        ahead += value > own || (value == own && other < i);
      }
    }
    ahead = group_sum(ahead, kSharers);
    if (i < channels && share == 0) places[i] = ahead < z.selected ? ahead : -1;
  }
}

// The places of channels that were given, each of which must be there once.
template <class Places>
__device__ __forceinline__ void check(const Sizes& z, const int64_t* index, Places places) {
  for (int r = threadIdx.x; r < z.channels; r += kCellThreads) places[r] = -1;
  __syncthreads();
  for (int a = threadIdx.x; a < z.selected; a += kCellThreads) {
    const int64_t r = index[a];
    ADARTS_ASSERT(r >= 0 && r < z.channels);
    places[r] = a;
  }
  __syncthreads();
  for (int a = threadIdx.x; a < z.selected; a += kCellThreads) {
    const int place = places[index[a]];
    ADARTS_ASSERT(place == a);  // no channel twice
  }
}

// A thread block takes an edge: it adds up the parts of the scores' sums, ranks the channels, four
// threads to each, and writes the maps. Bytes: 8 * parts for every channel.
template <class T>
__global__ void __launch_bounds__(kCellThreads)
    choose_kernel(const Selection<T> selection, const int64_t parts) {
  wait_for_preceding_grid();
  ADARTS_SHARED(double, sums, kMostChoices);
  ADARTS_SHARED(int, places, kMostChoices);
  const Sizes& z = selection.group.sizes;
  const int64_t e = blockIdx.x;
  const int channels = int(z.channels), selected = int(z.selected);
  const Edge<T>& edge = selection.group.edge[e];
  int64_t* index = selection.index[e];
  ADARTS_ASSERT(channels <= kMostChoices);
  if (selection.given) {
    check(z, index, places);
  } else {
    total_rows(selection.sums + e * parts * channels, parts, channels, 0, channels, sums);
    rank(z, sums, places);
  }
  __syncthreads();
  for (int r = threadIdx.x; r < channels; r += kCellThreads) {
    const int q = selection.shuffle ? r % selected * (channels / selected) + r / selected : r;
    const int a = places[r];
    edge.target[r] = a < 0 ? -1 - q : a;
    edge.source[q] = a < 0 ? -1 - r : a;
    if (a < 0) continue;
    edge.selected[a] = r;
    edge.output[a] = q;
    if (!selection.given) index[a] = r;
  }
}

}  // namespace

template <class T>
cudaError_t choose(const Selection<T>& selection, cudaStream_t stream) {
  return launch_dependent(choose_kernel<T>, dim3(selection.group.edges), dim3(kCellThreads), 0,
                          stream, selection, score_parts(selection.group.sizes));
}

template cudaError_t choose(const Selection<float>&, cudaStream_t);
template cudaError_t choose(const Selection<double>&, cudaStream_t);
template cudaError_t choose(const Selection<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
