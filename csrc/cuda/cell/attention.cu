// Scores and choice of channels for all edges that leave a state, and the attention's gradients:
// scores = sigmoid(w2 (relu(w1 average) + relu(w1 maximum))), the K-th part of largest sums.
//
// Vectors of a block of images lie in shared memory as [unit][lane]; a thread makes one lane of one
// unit, so that 16 threads read neighbouring lanes of a vector and the same weight. Bytes: 12 for
// every image and channel of the pools, and the weights: the launch is the time, hence one for all
// edges of a state.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../device/layers.cuh"
#include "attention.cuh"

namespace adarts::cuda {

namespace {

constexpr int kBackwardThreads = 512;

// The two hidden units, after their ReLU, of one lane, whose first averages and maxima are given.
template <class A, class Averages, class Maxima>
__device__ __forceinline__ void hidden_unit(const A* __restrict__ row, int channels,
                                            Averages averages, Maxima maxima, int64_t average,
                                            int64_t maximum, A (&unit)[2]) {
  unit[0] = unit[1] = 0;
#pragma unroll 8
  for (int i = 0; i < channels; ++i) {
    const A weight = row[i], a = averages[average + i * kLanes], m = maxima[maximum + i * kLanes];
    unit[0] += weight * a;
    unit[1] += weight * m;
  }
  for (A& one : unit) one = one < 0 ? A(0) : one;  // keeps not-a-number
}

// Scores of all images where the attention is a convolution over the channels' averages: M =
// sigmoid(taps * average) (ECA, arXiv 1910.03151).
template <class T>
__device__ __forceinline__ void score_by_taps(const State<T>& state, const Edge<T>& edge,
                                              const Sizes& z) {
  using A = Accumulate<T>;
  const int channels = int(z.channels), taps = int(z.taps);
  for (int64_t at = threadIdx.x; at < z.blocks * channels * kLanes; at += blockDim.x) {
    const int i = int(at / kLanes % channels);
    A logit = 0;
    for (int t = 0; t < taps; ++t) {
      const int from = i + t - taps / 2;
      if (from >= 0 && from < channels)
        logit += edge.weights[t] * state.average[at + (from - i) * kLanes];
    }
    edge.scale[at] = A(1) / (A(1) + std::exp(-logit));
  }
  __syncthreads();
}

// Scores of all images, `at_once` blocks of images at a time: M = sigmoid(w2 (relu(w1 average) +
// relu(w1 maximum))).
template <class T, class Units>
__device__ __forceinline__ void score(const State<T>& state, const Edge<T>& edge, const Sizes& z,
                                      int at_once, Units units) {
  using A = Accumulate<T>;
  if (z.taps > 0) return score_by_taps(state, edge, z);
  const int channels = int(z.channels), hidden = int(z.hidden);
  const EdgeWeights layout = z.weights(edge.active);
  const A *w1 = edge.weights + layout.w1(), *w2 = edge.weights + layout.w2();
  for (int64_t first = 0; first < z.blocks; first += at_once) {
    const int blocks = int(std::min(int64_t(at_once), z.blocks - first));
    for (int at = threadIdx.x; at < blocks * hidden * kLanes; at += int(blockDim.x)) {
      const int lane = at % kLanes, j = at / kLanes % hidden, block = at / kLanes / hidden;
      A unit[2];
      const int64_t from = (first + block) * channels * kLanes + lane;
      hidden_unit(w1 + j * channels, channels, state.average, state.maximum, from, from, unit);
      units[at] = unit[0] + unit[1];
    }
    __syncthreads();
    for (int at = threadIdx.x; at < blocks * channels * kLanes; at += int(blockDim.x)) {
      const int lane = at % kLanes, i = at / kLanes % channels, block = at / kLanes / channels;
      A logit = 0;
#pragma unroll 8
      for (int j = 0; j < hidden; ++j) {
        const A unit = units[(block * hidden + j) * kLanes + lane];
        logit += w2[i * hidden + j] * unit;
      }
      edge.scale[first * channels * kLanes + at] = A(1) / (A(1) + std::exp(-logit));
    }
    __syncthreads();
  }
}

// Calls put(i, sum) with the sum of each channel's scores over the batch, in double.
template <class T, class Put>
__device__ __forceinline__ void sum_scores(const Edge<T>& edge, const Sizes& z, const Put& put) {
  const int channels = int(z.channels), thread = threadIdx.x, lane = thread % kWarp;
  for (int i = thread / kWarp; i < channels; i += int(blockDim.x) / kWarp) {
    double sum = 0;
#pragma unroll 4
    for (int64_t n = lane; n < z.batch; n += kWarp)
      sum += double(edge.scale[(n / kLanes * channels + i) * kLanes + n % kLanes]);
    sum = group_sum(sum);
    if (lane == 0) put(i, sum);
  }
}

// Of every channel its place among the chosen, or -1: its rank by falling sum of the scores, ties
// to the lower index. Not-a-number comes first.
template <class T, class Sums, class Places>
__device__ __forceinline__ void choose(const Edge<T>& edge, const Sizes& z, const double* given,
                                       Sums sums, Places places) {
  const int channels = int(z.channels), thread = threadIdx.x;
  const auto put = [&](int i, double sum) {
    sums[i] = sum == sum ? sum : std::numeric_limits<double>::infinity();
  };
  if (given == nullptr) {
    sum_scores(edge, z, put);
  } else {
    for (int i = thread; i < channels; i += int(blockDim.x)) put(i, given[i]);
  }
  __syncthreads();
  for (int i = thread; i < channels; i += int(blockDim.x)) {
    const double own = sums[i];
    int ahead = 0;
    for (int other = 0; other < channels; ++other) {
      const double value = sums[other];
      ahead += value > own || (value == own && other < i);
    }
    places[i] = ahead < z.selected ? ahead : -1;
  }
  __syncthreads();
}

// Scores, selection and the maps between channels of one edge.
//
// One thread block takes an edge, because the choice needs the scores of the whole batch. The
// hidden units of a few blocks of images at a time lie in shared memory. Bytes: the pools, twice
// blocks * C * 64, and the weights, 8 * hidden * C; the scores are written and read again, blocks *
// C * 64 (float32).
template <class T>
__global__ void __launch_bounds__(kMostThreads, 1)
    score_and_select_kernel(const State<T> state, const Selection<T> selection, const int at_once) {
  using A = Accumulate<T>;
  ADARTS_DYNAMIC_SHARED(A, units);
  ADARTS_SHARED(double, sums, kMostChoices);
  ADARTS_SHARED(int, places, kMostChoices);  // of a channel among the chosen, or -1
  const Sizes& z = selection.group.sizes;
  const int e = blockIdx.x, thread = threadIdx.x, channels = int(z.channels);
  const int selected = int(z.selected);
  const Edge<T>& edge = selection.group.edge[e];
  int64_t* index = selection.index[e];
  ADARTS_ASSERT(channels <= kMostChoices);
  const double* given = selection.sums == nullptr ? nullptr : selection.sums + e * channels;
  if (z.attends() && given == nullptr) score(state, edge, z, at_once, units);
  if (selection.given) {
    for (int r = thread; r < channels; r += int(blockDim.x)) places[r] = -1;
    __syncthreads();
    for (int a = thread; a < selected; a += int(blockDim.x)) {
      const int64_t r = index[a];
      ADARTS_ASSERT(r >= 0 && r < channels);
      places[r] = a;
    }
    __syncthreads();
    for (int a = thread; a < selected; a += int(blockDim.x)) {
      const int place = places[index[a]];
      ADARTS_ASSERT(place == a);  // no channel twice
    }
  } else {
    choose(edge, z, given, sums, places);
  }
  for (int r = thread; r < channels; r += int(blockDim.x)) {
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

// Scores of one edge and their sums over the batch, which go to the other processes before anyone
// chooses; a thread block takes an edge, as above.
template <class T>
__global__ void __launch_bounds__(kMostThreads, 1)
    score_and_sum_kernel(const State<T> state, const Selection<T> selection, const int at_once) {
  using A = Accumulate<T>;
  ADARTS_DYNAMIC_SHARED(A, units);
  const Sizes& z = selection.group.sizes;
  const Edge<T>& edge = selection.group.edge[blockIdx.x];
  double* sums = selection.sums + int64_t(blockIdx.x) * z.channels;
  score(state, edge, z, at_once, units);
  sum_scores(edge, z, [&](int i, double sum) { sums[i] = sum; });
}

// Calls put(i * kLanes + lane, sum_j w[i * row + j * column] * vector j) for `rows` vectors, made
// from `columns` of them that begin at `at`.
template <class A, class Vectors, class Put>
__device__ __forceinline__ void multiply(const A* __restrict__ w, int row, int column, int rows,
                                         int columns, Vectors vectors, int at, const Put& put) {
  for (int i = threadIdx.x; i < rows * kLanes; i += int(blockDim.x)) {
    const int lane = i % kLanes;
    const A* from = w + i / kLanes * row;
    A sum = 0;
#pragma unroll 8
    for (int j = 0; j < columns; ++j) {
      const A value = vectors[at + j * kLanes + lane];
      sum += from[j * column] * value;
    }
    put(i, sum);
  }
}

// out[i * columns + j] += sum over the lanes and both pairs of a[i] * b[j], vectors at places of
// shared memory. A thread starts at a lane of its own, so that neighbours read different banks.
template <class A, class Vectors>
__device__ __forceinline__ void add_products(int rows, int columns, Vectors vectors,
                                             const int (&a)[2], const int (&b)[2], A* out) {
  for (int at = threadIdx.x; at < rows * columns; at += int(blockDim.x)) {
    const int i = at / columns, j = at % columns;
    A sum = 0;
#pragma unroll 4
    for (int k = 0; k < kLanes; ++k) {
      const int lane = (j + k) % kLanes;
      for (int pair = 0; pair < 2; ++pair) {
        const A left = vectors[a[pair] + i * kLanes + lane];
        const A right = vectors[b[pair] + j * kLanes + lane];
        sum += left * right;
      }
    }
    out[at] += sum;
  }
}

// Gradients of the attention's weights and pools, from those of the scores.
//
// A thread block takes one edge (blockIdx.y) and one block of images (x): it makes the hidden units
// again, then the gradients of the logits, of w2, of the units, of w1 and of the pools, each
// between two barriers. It adds to a part of the weights' gradients that is its alone. Bytes: reads
// average, maximum, score and d M of every channel, four vectors of C * 64 (float32), of a selected
// channel in place of d M its parts of 128 each, and the weights, 8 * hidden * C; writes two
// vectors and, where they are asked for, the weights' part.
template <class T>
__global__ void __launch_bounds__(kBackwardThreads, 2)
    attention_backward_kernel(const Attention<T> attention) {
  using A = Accumulate<T>;
  ADARTS_DYNAMIC_SHARED(A, vectors);  // average, maximum, logits, and two of the hidden units
  const Group<T>& group = attention.group;
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.y];
  const int channels = int(z.channels), hidden = int(z.hidden), size = channels * kLanes;
  const int average = 0, maximum = size, logits = 2 * size, from_average = 3 * size,
            from_maximum = from_average + hidden * kLanes;
  const int64_t block = blockIdx.x, first = block * size, plane = z.blocks * size;
  const EdgeWeights layout = z.weights(edge.active);
  const A *w1 = edge.weights + layout.w1(), *w2 = edge.weights + layout.w2();
  A* dw = edge.grad_weights == nullptr
              ? nullptr
              : edge.grad_weights + block * tiles_of(z) * layout.count(edge.stride);
  for (int at = threadIdx.x; at < size; at += kBackwardThreads) {
    const A score = edge.scale[first + at];
    vectors[average + at] = attention.state.average[first + at];
    vectors[maximum + at] = attention.state.maximum[first + at];
    vectors[logits + at] = scale_gradient(edge, z, block, at) * score * (A(1) - score);
  }
  __syncthreads();
  for (int at = threadIdx.x; at < hidden * kLanes; at += kBackwardThreads) {
    A unit[2];
    hidden_unit(w1 + at / kLanes * channels, channels, vectors, vectors, average + at % kLanes,
                maximum + at % kLanes, unit);
    vectors[from_average + at] = unit[0];
    vectors[from_maximum + at] = unit[1];
  }
  __syncthreads();
  if (dw != nullptr) {
    add_products(channels, hidden, vectors, {logits, logits}, {from_average, from_maximum},
                 dw + layout.w2());
    __syncthreads();
  }
  // the units give way to their gradients
  multiply(w2, 1, hidden, hidden, channels, vectors, logits, [&](int at, A gradient) {
    const A a = vectors[from_average + at], m = vectors[from_maximum + at];
    vectors[from_average + at] = a > 0 ? gradient : A(0);
    vectors[from_maximum + at] = m > 0 ? gradient : A(0);
  });
  __syncthreads();
  if (dw != nullptr)
    add_products(hidden, channels, vectors, {from_average, from_maximum}, {average, maximum},
                 dw + layout.w1());
  if (edge.grad_pools == nullptr) return;
  for (int pool = 0; pool < 2; ++pool)
    multiply(w1, 1, channels, channels, hidden, vectors, pool == 0 ? from_average : from_maximum,
             [&](int at, A sum) { edge.grad_pools[pool * plane + first + at] = sum; });
}

// Launches a kernel that scores, with a thread block for every edge and `fixed` bytes of shared
// memory beside the units.
template <class T, class Kernel>
cudaError_t launch_scores(Kernel kernel, size_t fixed, const State<T>& state,
                          const Selection<T>& selection, cudaStream_t stream) {
  const Sizes& z = selection.group.sizes;
  const int64_t vectors = std::max<int64_t>(z.hidden, 1) * kLanes;
  const int at_once = int(std::clamp<int64_t>(kMostThreads / vectors, 1, z.blocks));
  const size_t bytes = z.hidden > 0 ? at_once * vectors * sizeof(Accumulate<T>) : 0;
  const cudaError_t error = ask(kernel, bytes, fixed);
  if (error != cudaSuccess) return error;
  return launch(kernel, dim3(selection.group.edges), dim3(kMostThreads), bytes, stream, state,
                selection, at_once);
}

}  // namespace

template <class T>
cudaError_t score_and_sum(const State<T>& state, const Selection<T>& selection,
                          cudaStream_t stream) {
  return launch_scores(score_and_sum_kernel<T>, 0, state, selection, stream);
}

template <class T>
cudaError_t score_and_select(const State<T>& state, const Selection<T>& selection,
                             cudaStream_t stream) {
  const size_t fixed = kMostChoices * (sizeof(double) + sizeof(int));
  return launch_scores(score_and_select_kernel<T>, fixed, state, selection, stream);
}

template <class T>
cudaError_t attention_backward(const Attention<T>& attention, cudaStream_t stream) {
  const Sizes& z = attention.group.sizes;
  if (z.taps > 0) return taps_backward(attention, stream);
  const size_t bytes = (3 * z.channels + 2 * z.hidden) * kLanes * sizeof(Accumulate<T>);
  const cudaError_t error = ask(attention_backward_kernel<T>, bytes, 0);
  if (error != cudaSuccess) return error;
  return launch(attention_backward_kernel<T>, dim3(z.blocks, attention.group.edges),
                dim3(kBackwardThreads), bytes, stream, attention);
}

#define ADARTS_INSTANTIATE(T)                                                                \
  template cudaError_t score_and_sum(const State<T>&, const Selection<T>&, cudaStream_t);    \
  template cudaError_t score_and_select(const State<T>&, const Selection<T>&, cudaStream_t); \
  template cudaError_t attention_backward(const Attention<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)

}  // namespace adarts::cuda
