// Gradients of scores = sigmoid(w2 (relu(w1 average) + relu(w1 maximum))), in three launches.
//
// 1. gradients_kernel: of the pooled values; a block an image.
// 2. weight_gradients_kernel: of w1 and w2, sums over the images in a fixed order.
// 3. unpool_*_kernel: of x, which is written once and never read: the average's share everywhere,
//    the maximum's at the position that forward kept. This is the time.
#include "channel_attention.cuh"
#include "device/layers.cuh"
#include "device/planes.cuh"

namespace adarts::cuda {

namespace {

constexpr int kWeightThreads = 512;

// grad_logits = grad_scores * scores * (1 - scores); g = w2^T grad_logits;
// grad_hidden_average = g where hidden_average > 0, grad_hidden_maximum likewise;
// grad_average = w1^T grad_hidden_average, grad_maximum = w1^T grad_hidden_maximum.
//
// A block works on one image and stops after the last thing somebody needs. The image's vectors and
// the partial sums lie in shared memory; both weights are read along their rows, w1 once for both
// pools.
// Bytes: images * (channels * (2 * sizeof(T) + 12 or 24) + hidden * (16 or 32)), and the weights,
// 2 * hidden * channels * sizeof(T), once from memory and for every image from L2.
template <class T>
__global__ void __launch_bounds__(kMostThreads, 1) gradients_kernel(ChannelAttentionBackward<T> a) {
  using A = Accumulate<T>;
  ADARTS_DYNAMIC_SHARED(A, vectors);  // logits, hidden units of both pools, partial sums
  const int channels = a.channels, hidden = a.hidden;
  const int units = channels, scratch = channels + 2 * hidden;
  const int64_t first_plane = int64_t(blockIdx.x) * channels;
  const int64_t first_unit = int64_t(blockIdx.x) * hidden;
  for (int c = threadIdx.x; c < channels; c += blockDim.x) {
    const A score = a.scores[first_plane + c];
    const A grad = A(a.grad_scores[first_plane + c]) * score * (A(1) - score);
    vectors[c] = grad;
    if (a.grad_logits != nullptr) a.grad_logits[first_plane + c] = grad;
  }
  if (a.grad_hidden_average == nullptr && a.grad_average == nullptr) return;
  __syncthreads();

  sum_columns<1, A>(a.w2, channels, hidden, vectors, 0, scratch, [&](int r, const A(&sum)[1]) {
    const A average = a.hidden_average[first_unit + r] > 0 ? sum[0] : A(0);
    const A maximum = a.hidden_maximum[first_unit + r] > 0 ? sum[0] : A(0);
    vectors[units + r] = average;
    vectors[units + hidden + r] = maximum;
    if (a.grad_hidden_average == nullptr) return;
    a.grad_hidden_average[first_unit + r] = average;
    a.grad_hidden_maximum[first_unit + r] = maximum;
  });
  if (a.grad_average == nullptr) return;

  sum_columns<2, A>(a.w1, hidden, channels, vectors, units, scratch, [&](int c, const A(&sums)[2]) {
    a.grad_average[first_plane + c] = sums[0];
    a.grad_maximum[first_plane + c] = sums[1];
  });
}

// out[row, column] = sum over n of a1[n, row] * b1[n, column] + a2[n, row] * b2[n, column], for one
// weight or both (blockIdx.y).
//
// A warp holds 32 neighbouring elements, so that b is read side by side and a by broadcast, and the
// warps of a block share the batch; the first one then adds their sums in order. One launch, as the
// batch is short: a second stage would cost more than it could win.
// Bytes, each once from memory: batch * (2 * rows + 2 * columns) * 4 or 8, rows * columns *
// sizeof(T) written.
template <class T>
__global__ void __launch_bounds__(kWeightThreads, 1) weight_gradients_kernel(WeightGradients<T> a) {
  using A = Accumulate<T>;
  ADARTS_SHARED(A, partial, kWeightThreads);
  const bool second = blockIdx.y == 1 || a.w1.out == nullptr;
  const WeightGradient<T> weight = second ? a.w2 : a.w1;
  const int slice = threadIdx.y, slices = blockDim.y;
  const int element = static_cast<int>(blockIdx.x) * kWarp + static_cast<int>(threadIdx.x);
  const bool inside = element < weight.rows * weight.columns;
  const int row = inside ? element / weight.columns : 0,
            column = inside ? element % weight.columns : 0;
  A sum = 0;
  for (int64_t first = slice; first < a.batch; first += kLoads * slices) {
    A a1[kLoads], b1[kLoads], a2[kLoads], b2[kLoads];
    for (int j = 0; j < kLoads; ++j) {
      const int64_t n = first + j * slices;
      const bool valid = n < a.batch;
      a1[j] = valid ? weight.a1[n * weight.rows + row] : A(0);
      b1[j] = valid ? weight.b1[n * weight.columns + column] : A(0);
      a2[j] = valid ? weight.a2[n * weight.rows + row] : A(0);
      b2[j] = valid ? weight.b2[n * weight.columns + column] : A(0);
    }
    for (int j = 0; j < kLoads; ++j) sum += a1[j] * b1[j] + a2[j] * b2[j];
  }
  partial[slice * kWarp + static_cast<int>(threadIdx.x)] = sum;
  __syncthreads();
  if (slice > 0 || !inside) return;
  for (int other = 1; other < slices; ++other)
    sum += partial[other * kWarp + static_cast<int>(threadIdx.x)];
  weight.out[element] = T(sum);
}

// The number, in a part of a plane, of the pixel that has its maximum; -1 where another part has
// it.
__device__ __forceinline__ int position_in_part(int64_t position, int64_t pixels, int64_t first,
                                                int64_t length) {
  ADARTS_ASSERT(position >= 0 && position < pixels);
  return position >= first && position - first < length ? static_cast<int>(position - first) : -1;
}

// grad_x[plane, p] = grad_average[plane] / pixels, + grad_maximum[plane] at position[plane].
// Planar memory; with N > 1 the pixels lie side by side.
//
// The same groups of lanes as in pooling; a group writes its plane or part of one, N elements a
// store, and compares every position with that of the maximum. The packs are indexed as such: from
// a pointer to single elements the compiler makes single stores.
// Bytes: images * channels * pixels * sizeof(T) written once, 16 or 24 read for every plane.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) unpool_planar_kernel(UnpoolPlanes<T> a, int length) {
  using A = Accumulate<T>;
  const int64_t channel = int64_t(blockIdx.y) * blockDim.y + threadIdx.y;
  if (channel >= a.channels) return;
  const int64_t plane = blockIdx.x * a.channels + channel;
  const int64_t first = int64_t(blockIdx.z) * length;
  const int64_t left = a.pixels / N - first;
  const int count = static_cast<int>(left < length ? left : length);
  const A average = a.grad_average[plane], maximum = a.grad_maximum[plane];
  const int position =
      position_in_part(a.position[plane], a.pixels, first * N, int64_t(length) * N);
  const A share = average / A(a.pixels);
  const T elsewhere = T(share), there = T(share + maximum);
  auto* part = reinterpret_cast<Pack<T, N>*>(a.grad_x.at(blockIdx.x, channel, first * N));
  const int64_t step = N > 1 ? 1 : a.grad_x.pixel;
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    Pack<T, N> pack;
    for (int e = 0; e < N; ++e) pack[e] = i * N + e == position ? there : elsewhere;
    part[i * step] = pack;
  }
}

// The same for interleaved memory: a thread keeps what belongs to its N channels and goes down the
// pixels of the block's part, so that a warp writes whole lines.
// Bytes: as above.
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    unpool_interleaved_kernel(UnpoolPlanes<T> a, int length) {
  using A = Accumulate<T>;
  const int64_t channel = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  if (channel >= a.channels) return;
  const int64_t plane = blockIdx.x * a.channels + channel;
  const int64_t first = int64_t(blockIdx.z) * length;
  const int64_t left = a.pixels - first;
  const int count = static_cast<int>(left < length ? left : length);
  A average[N], maximum[N];
  int64_t positions[N];
  for (int e = 0; e < N; ++e) {
    average[e] = a.grad_average[plane + e];
    maximum[e] = a.grad_maximum[plane + e];
    positions[e] = a.position[plane + e];
  }
  Pack<T, N> elsewhere, there;
  int position[N];
  for (int e = 0; e < N; ++e) {
    const A share = average[e] / A(a.pixels);
    elsewhere[e] = T(share);
    there[e] = T(share + maximum[e]);
    position[e] = position_in_part(positions[e], a.pixels, first, length);
  }
  auto* part = reinterpret_cast<Pack<T, N>*>(a.grad_x.at(blockIdx.x, channel, first));
  const int64_t step = a.grad_x.pixel / N;
  for (int p = threadIdx.y; p < count; p += blockDim.y) {
    Pack<T, N> pack;
    for (int e = 0; e < N; ++e) pack[e] = p == position[e] ? there[e] : elsewhere[e];
    part[p * step] = pack;
  }
}

}  // namespace

template <class T>
cudaError_t channel_attention_backward(const ChannelAttentionBackward<T>& a, cudaStream_t stream) {
  const int64_t work = std::max<int64_t>(int64_t(a.hidden) * a.channels / kLoads, 64);
  const int threads = power_of_two(work, kMostThreads);
  return launch_images<Accumulate<T>>(gradients_kernel<T>, a.images, threads,
                                      a.channels + 2 * a.hidden + 2 * threads, stream, a);
}

template <class T>
cudaError_t weight_gradients(const WeightGradients<T>& a, cudaStream_t stream) {
  const int needed = (a.w1.out != nullptr) + (a.w2.out != nullptr);
  const int slices = power_of_two(divide_up(a.batch, kLoads), kWeightThreads / kWarp);
  return launch(weight_gradients_kernel<T>,
                dim3(divide_up(int64_t(a.w1.rows) * a.w1.columns, kWarp), needed),
                dim3(kWarp, slices), 0, stream, a);
}

template <class T>
cudaError_t unpool_planes(const UnpoolPlanes<T>& a, cudaStream_t stream) {
  const auto tiling = plane_tiling(a.grad_x, a.images, a.channels, a.pixels, kManyBlocks);
  constexpr int N = kPack<T>;
  const auto kernel = choose(tiling, unpool_planar_kernel<T, N>, unpool_planar_kernel<T, 1>,
                             unpool_interleaved_kernel<T, N>, unpool_interleaved_kernel<T, 1>);
  return launch(kernel, tiling.grid, tiling.block, 0, stream, a, part_length(tiling, a.pixels));
}

#define ADARTS_INSTANTIATE(T)                                                         \
  template cudaError_t channel_attention_backward(const ChannelAttentionBackward<T>&, \
                                                  cudaStream_t);                      \
  template cudaError_t weight_gradients(const WeightGradients<T>&, cudaStream_t);     \
  template cudaError_t unpool_planes(const UnpoolPlanes<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)
ADARTS_INSTANTIATE(c10::Half)

}  // namespace adarts::cuda
