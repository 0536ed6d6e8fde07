// Gradients of a cell's preprocessing h = (u - mean) * rstd, u = W relu(in):
// du = factor * (g - offset) + slope * h, d in = W^T du where in > 0, dW = du relu(in)^T.
//
// A block takes a part of the pixels, a thread some channels of a quad of images; du is made from g
// and h where it is used and never reaches memory. Bytes: each kernel says its own.
#include <algorithm>

#include "backward.cuh"
#include "groups.cuh"
#include "launchers.cuh"
#include "sums.cuh"

namespace adarts::cuda {

namespace {

constexpr int kInputs = 4;  // channels of a thread

template <class T>
__host__ __device__ __forceinline__ int outputs_of(const Preprocess<T>& a) {
  return int(a.channels) / a.stride;
}

// The coefficients of du = factor * (g - offset) + slope * h of `count` output channels from
// `first` on, made by all threads: each block adds up the parts of the sums it needs, which takes
// less time than a launch that does it for all. h is its own u_hat, of mean 0 and rstd 1; the true
// rstd stands in front.
template <class T, class Totals, class Coefficients>
__device__ __forceinline__ void find_gradients(const Preprocess<T>& a, int first, int count,
                                               Totals totals, Coefficients coefficients) {
  using A = Accumulate<T>;
  const int64_t parts = a.blocks * kBands, rows = 2 * a.channels;
  const int thread = threadIdx.x;
  total_rows(a.partial, parts, rows, first, count, totals);
  double sum = 0;
  if (thread < count) sum = totals[thread];
  __syncthreads();
  total_rows(a.partial, parts, rows, a.channels + first, count, totals);
  if (thread < count) {
    const A rstd = a.norms[kRstd * a.channels + first + thread];
    const double product = totals[thread];
    coefficients[thread] = norm_gradient(rstd, A(0), A(1), sum, product, a.count(), a.training);
  }
  __syncthreads();
}

// du of a pixel's quad of output channel o, whose coefficients lie at `at` of shared memory.
template <class T, class Coefficients>
__device__ __forceinline__ Quad<Accumulate<T>> du_of(const Preprocess<T>& a, int64_t block,
                                                     int64_t o, int64_t pixel, int quad,
                                                     Coefficients coefficients, int at) {
  using A = Accumulate<T>;
  const int64_t place = (o * a.pixels() + pixel) * kLanes + quad * kQuad;
  const Gradient<A> c = coefficients[at];
  const Quad<A> g = load_quad(a.grad + block * a.grad_block + place);
  const Quad<A> h = load_quad(a.h + block * a.channels * a.pixels() * kLanes + place);
  return combine(c, g, h, real_lanes<A>(a.lanes(block), quad));
}

// sum[k] = sum over the output channels o of w[o * ins + k] * du[o] for kInputs inputs, of which
// `left` exist: the others are as the last. `run` has du, `quads` of a channel, `at` its place.
template <class A, class Run>
__device__ __forceinline__ void transposed_pointwise(const A* __restrict__ w, int ins, int left,
                                                     int outs, Run run, int at, int quads,
                                                     Quad<A> (&sum)[kInputs]) {
  const A* column[kInputs];
#pragma unroll
  for (int k = 0; k < kInputs; ++k) {
    column[k] = w + (k < left ? k : left - 1);
    sum[k] = Quad<A>{};
  }
#pragma unroll 2
  for (int o = 0; o < outs; ++o) {
    const Quad<A> du = run[at + o * quads];
#pragma unroll
    for (int k = 0; k < kInputs; ++k) sum[k].add(column[k][o * ins], du);
  }
}

__host__ __device__ constexpr int input_run(int outs) { return outs < 128 ? 128 / outs : 1; }

// d in = W^T du where in > 0.
//
// A thread block takes a run of pixels (blockIdx.x) of a block of images (y) for one of the
// stride's convolutions (z): it leaves du of all output channels in shared memory, then a thread
// makes four input channels of a pixel's quad from them. Bytes: reads g and h once, `in` once,
// writes d in once (at stride 2 a quarter of it twice).
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 2 : 4)
    preprocess_input_kernel(const Preprocess<T> a) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Q = Quad<A>;
  using C = Gradient<A>;
  ADARTS_SHARED(Q, run, kRun);
  ADARTS_SHARED(C, coefficients, kMostSelected);
  ADARTS_SHARED(double, totals, kMostSelected);
  const int outs = outputs_of(a), ins = int(a.in_channels), thread = threadIdx.x;
  const int64_t block = blockIdx.y, pixels = a.pixels();
  const bool odd = blockIdx.z == 1;
  const int first_out = odd ? outs : 0, first = int(blockIdx.x) * input_run(outs);
  const int quads = int(std::min(int64_t(input_run(outs)), pixels - first)) * kQuads;
  ADARTS_ASSERT(outs <= kMostSelected);
  find_gradients(a, first_out, outs, totals, coefficients);
  for (int at = thread; at < outs * quads; at += kCellThreads) {
    const int o = at / quads, pixel = first + at % quads / kQuads;
    run[at] = du_of(a, block, first_out + o, pixel, at % kQuads, coefficients, o);
  }
  __syncthreads();
  const Grouping grouping(divide_up(ins, kInputs));
  const int64_t step = pixels * (a.stride * a.stride) * kLanes;
  for (int i = grouping.group() * kInputs; i < ins; i += grouping.groups * kInputs) {
    const A* w = a.weights + int64_t(first_out) * ins + i;
#pragma unroll 1
    for (int at = grouping.slot(); at < quads; at += grouping.slots) {
      Q sum[kInputs];
      transposed_pointwise(w, ins, ins - i, outs, run, at, quads, sum);
      const int64_t place =
          i * step + a.source(first + at / kQuads, odd) * kLanes + at % kQuads * kQuad;
      for (int k = 0; k < kInputs && i + k < ins; ++k) {
        const Q in = load_quad(a.in + block * a.in_block + place + k * step);
        for (int lane = 0; lane < kQuad; ++lane) sum[k][lane] = in[lane] > 0 ? sum[k][lane] : A(0);
        store_quad(a.grad_in + block * ins * step + place + k * step, sum[k]);
      }
    }
  }
}

constexpr int kTileOuts = 16, kTileIns = 64;  // weights of a thread block
constexpr int kTile = 4;                      // times 4 of a thread
constexpr int kSlices = 4;                    // threads that share the positions

// Quads of a channel in shared memory, and how far channels lie apart: eight neighbouring threads,
// four of one channel and four of the next, then read different banks.
template <class A>
constexpr int kPositions = sizeof(A) == 8 ? 8 : 16;
template <class A>
constexpr int kPitch = kPositions<A> + kSlices;

template <class T>
int64_t out_tiles(const Preprocess<T>& a) {
  return divide_up(outputs_of(a), kTileOuts);
}

template <class T>
int64_t weight_tiles(const Preprocess<T>& a) {
  const int64_t blocks = a.blocks * divide_up(a.in_channels, kTileIns) * out_tiles(a) * a.stride;
  return std::clamp<int64_t>(256 / blocks, 1, divide_up(a.pixels(), 16));
}

// d W[o, i] = sum over images and pixels of du[o] * relu(in[i]).
//
// A thread block takes 16 x 64 weights (blockIdx.z, y; with FactorizedReduce of one of its halves)
// and the pixels of one part (x), a few of them at a time: it leaves du and relu(in) of its
// channels in shared memory, from where a thread takes 4 + 4 quads for 64 products. Four
// neighbouring threads share the positions of 4 x 4 weights; their sums meet in shuffles. Bytes:
// reads g and h for every 64 input channels and `in` for every 16 output channels once.
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    preprocess_weights_kernel(const Preprocess<T> a) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Q = Quad<A>;
  using C = Gradient<A>;
  constexpr int kIns = kTileOuts * kPitch<A>;  // where the inputs begin
  ADARTS_SHARED(Q, run, (kTileOuts + kTileIns) * kPitch<A>);
  ADARTS_SHARED(C, coefficients, kTileOuts);
  ADARTS_SHARED(double, totals, kTileOuts);
  const int64_t part = blockIdx.x, tiles = gridDim.x / a.blocks, block = part / tiles;
  const int64_t tile = part % tiles, pixels = a.pixels();
  const int begin = int(pixels * tile / tiles), end = int(pixels * (tile + 1) / tiles);
  const int outs = outputs_of(a), ins = int(a.in_channels), thread = threadIdx.x;
  const int out_tiles = int(gridDim.z) / a.stride;
  const bool odd = int(blockIdx.z) / out_tiles == 1;
  const int first_out = int(blockIdx.z) % out_tiles * kTileOuts;  // in its half
  const int out_count = outs - first_out < kTileOuts ? outs - first_out : kTileOuts;
  const int out = first_out + (odd ? outs : 0);
  const int first_in = int(blockIdx.y) * kTileIns;
  const int in_count = ins - first_in < kTileIns ? ins - first_in : kTileIns;
  const int64_t step = pixels * (a.stride * a.stride) * kLanes;
  find_gradients(a, out, out_count, totals, coefficients);
  const int slice = thread % kSlices, own = thread / kSlices;
  const int o = own / (kTileIns / kTile), i = own % (kTileIns / kTile);  // i, i + 16, ...
  A sums[kTile][kTile] = {};
#pragma unroll 1
  for (int first = begin; first < end; first += kPositions<A> / kQuads) {
    for (int at = thread; at < (kTileOuts + kTileIns) * kPositions<A>; at += kCellThreads) {
      const int row = at / kPositions<A>, place = at % kPositions<A>, quad = place % kQuads;
      const int64_t pixel = first + place / kQuads;
      Q value{};
      if (pixel < end) {
        if (row < out_count) {
          value = du_of(a, block, out + row, pixel, quad, coefficients, row);
        } else if (row >= kTileOuts && row - kTileOuts < in_count) {
          value = relu(load_quad(a.in + block * a.in_block + (first_in + row - kTileOuts) * step +
                                 a.source(pixel, odd) * kLanes + quad * kQuad));
        }
      }
      run[row * kPitch<A> + place] = value;
    }
    __syncthreads();
#pragma unroll
    for (int place = slice; place < kPositions<A>; place += kSlices) {
      Q in[kTile];
      for (int k = 0; k < kTile; ++k)
        in[k] = run[kIns + (i + k * (kTileIns / kTile)) * kPitch<A> + place];
      for (int m = 0; m < kTile; ++m) {
        const Q du = run[(o * kTile + m) * kPitch<A> + place];
        for (int k = 0; k < kTile; ++k)
          for (int lane = 0; lane < kQuad; ++lane) sums[m][k] += du[lane] * in[k][lane];
      }
    }
    __syncthreads();
  }
  A* to = a.grad_weights + (part * a.channels + out) * ins + first_in;
  for (int m = 0; m < kTile; ++m)
    for (int k = 0; k < kTile; ++k) {
      const A sum = group_sum(sums[m][k], kSlices);
      const int row = o * kTile + m, column = i + k * (kTileIns / kTile);
      if (k == slice && row < out_count && column < in_count) to[int64_t(row) * ins + column] = sum;
    }
}

}  // namespace

template <class T>
int64_t preprocess_weight_parts(const Preprocess<T>& a) {
  return a.blocks * weight_tiles(a);
}

template <class T>
cudaError_t preprocess_backward(const Preprocess<T>& a, cudaStream_t stream) {
  if (a.grad_in != nullptr) {
    const dim3 grid(divide_up(a.pixels(), input_run(outputs_of(a))), a.blocks, a.stride);
    const cudaError_t error =
        launch_dependent(preprocess_input_kernel<T>, grid, dim3(kCellThreads), 0, stream, a);
    if (error != cudaSuccess) return error;
  }
  if (a.grad_weights == nullptr) return cudaSuccess;
  const dim3 grid(preprocess_weight_parts(a), divide_up(a.in_channels, kTileIns),
                  out_tiles(a) * a.stride);
  return launch_dependent(preprocess_weights_kernel<T>, grid, dim3(kCellThreads), 0, stream, a);
}

#define ADARTS_INSTANTIATE(T)                                     \
  template int64_t preprocess_weight_parts(const Preprocess<T>&); \
  template cudaError_t preprocess_backward(const Preprocess<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)

}  // namespace adarts::cuda
