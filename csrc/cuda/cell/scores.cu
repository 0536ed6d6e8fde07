// Scores of all channels, for all edges that leave a state or the inputs: M = sigmoid(w2 (relu(w1
// average) + relu(w1 maximum))), or M = sigmoid(taps * average) (ECA, arXiv 1910.03151).
//
// Few bytes and few products: the launch and its chain of reads are the time. So a thread block
// takes only four images of one edge, for which it needs every weight once, and the card as many
// blocks as it can get; choose.cu makes the choice, which needs the whole batch.
#include <cmath>

#include "attention.cuh"
#include "plane_pools.cuh"

namespace adarts::cuda {

namespace {

constexpr int kScoreThreads = 512;

template <class A>
__device__ __forceinline__ A sigmoid(A logit) {
  return A(1) / (A(1) + std::exp(-logit));
}

// pools[at + i] = the average of channel i, of a quad of images of a block, and after all averages
// the maxima, joined from the parts that `node` left; blocks of the first edge write them down as
// well. Up to eight threads share a channel's image, and the four images of a quad are neighbours.
template <class T, class Pools>
__device__ __forceinline__ void join_parts(const State<T>& state, const Sizes& z, int64_t block,
                                           int quad, Pools pools, int at) {
  using A = Accumulate<T>;
  const int lane = int(threadIdx.x) % kWarp, image = lane % kQuad, channels = int(z.channels);
  const int parts = parts_of_plane(z), step = int(z.blocks * z.channels) * kLanes;
  const int sharers = power_of_two(parts, kWarp / kQuad), of_channel = sharers * kQuad;
  const A share = A(1) / A(z.pixels());
  for (int base = int(threadIdx.x) - lane; base < channels * of_channel; base += kScoreThreads) {
    const bool exists = base + lane < channels * of_channel;
    const int i = exists ? (base + lane) / of_channel : 0;
    const int to = (int(block) * channels + i) * kLanes + quad * kQuad + image;
    double sum = 0;
    Peak<A> peak = no_peak<A>();
#pragma unroll 4
    for (int part = lane % of_channel / kQuad; part < parts; part += sharers) {
      const int64_t from = int64_t(part) * step + to;
      sum += double(state.part_sums[from]);
      peak.take(Peak<A>{state.part_maxima[from], state.part_positions[from]});
    }
    for (int offset = kQuad; offset < of_channel; offset *= 2) {
      sum += __shfl_xor_sync(kAllLanes, sum, offset);
      peak.take(exchanged(peak, offset));
    }
    const A mean = A(sum * double(share));
    const bool first = exists && lane % of_channel < kQuad;
    if (first && blockIdx.y == 0) {
      state.average[to] = mean;
      state.maximum[to] = peak.value;
      state.position[to] = peak.position;
    }
    Quad<A> averages, maxima;
    for (int k = 0; k < kQuad; ++k) {
      const int from = lane / kQuad * kQuad + k;
      averages[k] = __shfl_sync(kAllLanes, mean, from);
      maxima[k] = __shfl_sync(kAllLanes, peak.value, from);
    }
    if (!first || image > 0) continue;
    pools[at + i] = averages;
    pools[at + channels + i] = maxima;
  }
}

// A thread block takes an edge (blockIdx.y) and a quad of images (x), and lays their pools into
// shared memory. Eight lanes share a hidden unit, then a channel: each takes every eighth weight,
// four at a time, and what goes with it. The units meet in shared memory, too. Of a channel's
// scores one thread leaves the sum. Bytes (float32): the weights, 8 * hidden * C, the pools, 32 * C
// (48 * C of each part, where they are in parts), and the scores, 16 * C.
template <class T>
__global__ void __launch_bounds__(kScoreThreads, 1) score_kernel(const Selection<T> selection) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Vector = Quad<A>;
  ADARTS_DYNAMIC_SHARED(Vector, units);  // and then the pools
  const Sizes& z = selection.group.sizes;
  const int64_t e = blockIdx.y, part = blockIdx.x, block = part / kQuads;
  const Edge<T>& edge = selection.group.edge[e];
  const int channels = int(z.channels), hidden = int(z.hidden), taps = int(z.taps);
  const int quad = int(part % kQuads), real = real_images(z.lanes(block), quad);
  const int64_t first = block * channels * kLanes + quad * kQuad;
  if (selection.state.part_sums != nullptr) {
    join_parts(selection.state, z, block, quad, units, hidden);
  } else {
    for (int i = threadIdx.x; i < 2 * channels; i += kScoreThreads) {
      const int64_t plane = i < channels ? i : z.blocks * channels + i - channels;
      units[hidden + i] = load_quad(edge.pools + first + plane * kLanes);
    }
  }
  __syncthreads();
  const auto put = [&](int i, const Vector& scores) {
    store_quad(edge.scale + first + i * kLanes, scores);
    if (selection.sums == nullptr) return;
    double sum = 0;
    for (int image = 0; image < kQuad; ++image) sum += image < real ? double(scores[image]) : 0;
    selection.sums[(e * gridDim.x + part) * channels + i] = sum;
  };
  if (taps > 0) {
    for (int i = threadIdx.x; i < channels; i += kScoreThreads) {
      Vector scores{};
      for (int t = 0; t < taps; ++t) {
        const int from = i + t - taps / 2;
        if (from < 0 || from >= channels) continue;
        const Vector average = units[hidden + from];
        scores.add(edge.weights[t], average);
      }
      for (A& one : scores.value) one = sigmoid(one);
      put(i, scores);
    }
    return;
  }
  const EdgeWeights layout = z.weights(edge.active);
  const A *w1 = edge.weights + layout.w1(), *w2 = edge.weights + layout.w2();
  each_shared(hidden, [&](int j, bool exists) {
    A unit = shared_sum<2, A>(channels, [&](int i) {
      const Vector average = units[hidden + i], maximum = units[hidden + channels + i];
      return Product<A, 2>{w1[j * channels + i], {average, maximum}};
    });
    unit = larger(unit, A(0));                            // keeps not-a-number
    unit += __shfl_xor_sync(kAllLanes, unit, kWarp / 2);  // of the other pool
    put_shared<1>(unit, exists, [&](int, const Vector& both) { units[j] = both; });
  });
  __syncthreads();
  each_shared(channels, [&](int i, bool exists) {
    const A logit = shared_sum<1, A>(hidden, [&](int j) {
      const Vector unit = units[j];
      return Product<A, 1>{w2[i * hidden + j], {unit}};
    });
    put_shared<1>(sigmoid(logit), exists, [&](int, const Vector& scores) { put(i, scores); });
  });
}

}  // namespace

int64_t score_parts(const Sizes& sizes) { return sizes.blocks * kQuads; }

template <class T>
cudaError_t score(const Selection<T>& selection, cudaStream_t stream) {
  const Sizes& z = selection.group.sizes;
  const size_t bytes = (z.hidden + 2 * z.channels) * sizeof(Quad<Accumulate<T>>);
  const cudaError_t error = ask(score_kernel<T>, bytes);
  if (error != cudaSuccess) return error;
  return launch_dependent(score_kernel<T>, dim3(score_parts(z), selection.group.edges),
                          dim3(kScoreThreads), bytes, stream, selection);
}

template cudaError_t score(const Selection<float>&, cudaStream_t);
template cudaError_t score(const Selection<double>&, cudaStream_t);
template cudaError_t score(const Selection<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
