// Gradients of the preprocessings of a cell's inputs, h = (u - mean) * rstd, u = W relu(in):
// du = factor * (g - offset) + slope * h, d in = W^T du where in > 0, dW = du relu(in)^T.
//
// All inputs share a launch. A block takes a part of the pixels, a thread some channels of a quad
// of images; du is made from g and h where it is used and never reaches memory. Bytes: each kernel
// says its own.
#include <algorithm>

#include "backward.cuh"
#include "groups.cuh"
#include "preprocess.cuh"
#include "sums.cuh"

namespace adarts::cuda {

namespace {

constexpr int kInputs = 4;         // channels of a thread
constexpr int kBlockInputs = 128;  // and of a thread block

// The coefficients of du = factor * (g - offset) + slope * h of `count` output channels from
// `first` on, made by all threads: each block adds up the parts of the sums it needs, which takes
// less time than a launch that does it for all. h is its own u_hat, of mean 0 and rstd 1; the true
// rstd stands in front.
template <class T, class Totals, class Coefficients>
__device__ __forceinline__ void find_gradients(const Preprocess<T>& a, int parts, int first,
                                               int count, Totals totals,
                                               Coefficients coefficients) {
  using A = Accumulate<T>;
  const int c = int(a.channels);
  for (int row = threadIdx.x; row < 2 * count; row += kCellThreads) {
    const int column = row < count ? first + row : c + first + row - count;
    totals[row] = sum_apart<8>(a.partial + column, 2 * c, parts);
  }
  __syncthreads();
  for (int o = threadIdx.x; o < count; o += kCellThreads) {
    const double sum = totals[o], product = totals[count + o];
    const A rstd = a.norms[kRstd * c + first + o];
    coefficients[o] = norm_gradient(rstd, A(0), A(1), sum, product, a.count(), a.training);
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

// Pixels of a thread block, a power of two.
__host__ __device__ constexpr int input_run(int outs) {
  int pixels = 1;
  while (2 * pixels * outs <= kRun / kQuads) pixels *= 2;
  return pixels;
}

// Thread blocks of preprocess_input_kernel on a multiprocessor, for whose registers it has room: on
// sm_120 the compiler takes more of them.
template <class T>
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
constexpr int kInputBlocks = sizeof(T) == 8 ? 1 : 3;
#else
constexpr int kInputBlocks = sizeof(T) == 8   ? 1
                             : sizeof(T) == 2 ? 3
                                              : 4;
#endif

// A thread's places in a run, every kCellThreads-th, without a division for each.
struct Places {
  int quads;  // of a channel
  int channel, quad;
  int channels_on, quads_on;  // to the next place

  __device__ __forceinline__ explicit Places(int quads)
      : quads(quads),
        channel(int(threadIdx.x) / quads),
        quad(int(threadIdx.x) % quads),
        channels_on(kCellThreads / quads),
        quads_on(kCellThreads % quads) {}
  __device__ __forceinline__ void next() {
    channel += channels_on;
    quad += quads_on;
    if (quad >= quads) {
      quad -= quads;
      ++channel;
    }
  }
};

// d in = W^T du where in > 0.
//
// A thread block takes a run of pixels of a block of images (blockIdx.x), 128 channels of `in` (y)
// and one of the stride's convolutions of an input of the cell (z): it leaves du of all output
// channels in shared memory, then a thread makes four input channels of a pixel's quad from them,
// with weights that lie side by side. At stride 2 a thread also writes the zero that lies beside
// its pixel in a row: the convolutions look at one pixel each of a row's pairs, and at no other.
// Bytes: reads g and h once for every 128 channels of `in`, `in` once, writes d in once.
template <class T>
__global__ void __launch_bounds__(kCellThreads, kInputBlocks<T>)
    preprocess_input_kernel(const Preprocessings<T> inputs, const int parts) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Q = Quad<A>;
  using C = Gradient<A>;
  ADARTS_SHARED(Q, run, kRun);
  constexpr int kAtOnce = 2;  // output channels whose weights are waited for
  ADARTS_SHARED(C, coefficients, kMostSelected);
  ADARTS_SHARED(double, totals, 2 * kMostSelected);
  const Preprocess<T>& a = inputs.input[blockIdx.z / 2];
  const bool odd = blockIdx.z % 2 == 1;
  const int outs = outputs_of(a), ins = int(a.in_channels), pixels = int(a.pixels());
  const int begin = int(blockIdx.y) * kBlockInputs;
  const int end = ins - begin < kBlockInputs ? ins : begin + kBlockInputs;
  const int long_run = input_run(outs), runs = (pixels + long_run - 1) / long_run;
  const int block = int(blockIdx.x) / runs, first = int(blockIdx.x) % runs * long_run;
  if (a.grad_in == nullptr || begin >= ins || (odd && a.stride == 1) || block >= a.blocks) return;
  ADARTS_ASSERT(outs <= kMostSelected);
  const int first_out = odd ? outs : 0;
  const int quads = (pixels - first < long_run ? pixels - first : long_run) * kQuads;
  find_gradients(a, parts, first_out, outs, totals, coefficients);
  Places places(quads);
#pragma unroll 2
  for (int at = threadIdx.x; at < outs * quads; at += kCellThreads, places.next()) {
    const int o = places.channel, quad = places.quad;
    run[at] = du_of(a, block, first_out + o, first + quad / kQuads, quad % kQuads, coefficients, o);
  }
  __syncthreads();
  const Grouping grouping(divide_up(end - begin, kInputs));
  const int step = pixels * (a.stride * a.stride) * kLanes;
#pragma unroll 1
  for (int i = begin + grouping.group() * kInputs; i < end; i += grouping.groups * kInputs) {
#pragma unroll 1
    for (int at = grouping.slot(); at < quads; at += grouping.slots) {
      const int64_t place = int64_t(i) * step +
                            a.source(unsigned(first + at / kQuads), odd) * kLanes +
                            at % kQuads * kQuad;
      const T* in = a.in + block * a.in_block + place;
      Q values[kInputs], sum[kInputs] = {};
      for (int k = 0; k < kInputs; ++k)
        values[k] = load_quad(in + int64_t(i + k < end ? k : 0) * step);
      const A* w = a.weights + (first_out * ins + i);
      int o = 0;
#pragma unroll 1
      for (; ins % kQuad == 0 && o + kAtOnce <= outs; o += kAtOnce) {
        Q du[kAtOnce], weights[kAtOnce];
        for (int j = 0; j < kAtOnce; ++j, w += ins) weights[j] = load_quad(w);
        for (int j = 0; j < kAtOnce; ++j) du[j] = run[(o + j) * quads + at];
        for (int j = 0; j < kAtOnce; ++j)
          for (int k = 0; k < kInputs; ++k) sum[k].add(weights[j][k], du[j]);
      }
#pragma unroll 1
      for (; o < outs; ++o, w += ins) {
        const Q du = run[o * quads + at];
#pragma unroll
        for (int k = 0; k < kInputs; ++k) sum[k].add(w[i + k < end ? k : 0], du);
      }
      T* to = a.grad_in + block * ins * step + place;
#pragma unroll
      for (int k = 0; k < kInputs; ++k) {
        if (i + k >= end) continue;
        for (int lane = 0; lane < kQuad; ++lane)
          sum[k][lane] = values[k][lane] > 0 ? sum[k][lane] : A(0);
        store_quad(to + int64_t(k) * step, sum[k]);
        if (a.stride == 2) store_quad(to + int64_t(k) * step + (odd ? -kLanes : kLanes), Q{});
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

// Of an input's thread blocks: the tiles of output channels of all its convolutions, and those of
// the channels of `in`.
template <class T>
__host__ __device__ __forceinline__ int out_tiles(const Preprocess<T>& a) {
  return int(divide_up(outputs_of(a), kTileOuts)) * a.stride;
}
template <class T>
__host__ __device__ __forceinline__ int in_tiles(const Preprocess<T>& a) {
  return int(divide_up(a.in_channels, kTileIns));
}

template <class T>
int64_t weight_tiles(const Preprocessings<T>& inputs) {
  int64_t blocks = 0;
  for (int i = 0; i < inputs.count; ++i) {
    const Preprocess<T>& a = inputs.input[i];
    blocks += a.blocks * in_tiles(a) * out_tiles(a);
  }
  return std::clamp<int64_t>(256 / blocks, 1, divide_up(inputs.input[0].pixels(), 16));
}

// d W[o, i] = sum over images and pixels of du[o] * relu(in[i]).
//
// A thread block takes 16 x 64 weights of an input of the cell (blockIdx.y and z, numbered through
// all inputs; with FactorizedReduce of one of its halves) and the pixels of one part (x), a few of
// them at a time: it leaves du and relu(in) of its channels in shared memory, from where a thread
// takes 4 + 4 quads for 64 products. Four neighbouring threads share the positions of 4 x 4
// weights; their sums meet in shuffles. Bytes: reads g and h for every 64 input channels and `in`
// for every 16 output channels once.
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    preprocess_weights_kernel(const Preprocessings<T> inputs, const int sum_parts) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Q = Quad<A>;
  using C = Gradient<A>;
  constexpr int kIns = kTileOuts * kPitch<A>;          // where the inputs begin
  constexpr int kRows = kCellThreads / kPositions<A>;  // that are loaded at a time
  constexpr int kLoads = kTileIns / kRows;             // of `in`, by a thread
  ADARTS_SHARED(Q, run, (kTileOuts + kTileIns) * kPitch<A>);
  ADARTS_SHARED(C, coefficients, kTileOuts);
  ADARTS_SHARED(double, totals, 2 * kTileOuts);
  const int first_tiles = out_tiles(inputs.input[0]);
  const int input = int(blockIdx.z) < first_tiles ? 0 : 1;
  const Preprocess<T>& a = inputs.input[input];
  const int out_tile = int(blockIdx.z) - input * first_tiles, halves = out_tiles(a) / a.stride;
  if (int(blockIdx.y) >= in_tiles(a)) return;
  const int64_t part = blockIdx.x, tiles = gridDim.x / a.blocks, block = part / tiles;
  const int64_t tile = part % tiles, pixels = a.pixels();
  const int begin = int(pixels * tile / tiles), end = int(pixels * (tile + 1) / tiles);
  const int outs = outputs_of(a), ins = int(a.in_channels), thread = threadIdx.x;
  const bool odd = out_tile >= halves;
  const int first_out = out_tile % halves * kTileOuts;  // in its half
  const int out_count = outs - first_out < kTileOuts ? outs - first_out : kTileOuts;
  const int out = first_out + (odd ? outs : 0);
  const int first_in = int(blockIdx.y) * kTileIns;
  const int in_count = ins - first_in < kTileIns ? ins - first_in : kTileIns;
  const int64_t step = pixels * (a.stride * a.stride) * kLanes;
  find_gradients(a, sum_parts, out, out_count, totals, coefficients);
  // A thread loads one place of a row of du and of some rows of `in`; rows beyond the last are as
  // the last, and nobody asks for their products.
  const int row = thread / kPositions<A>, place = thread % kPositions<A>, quad = place % kQuads;
  const int du_row = row < out_count ? row : out_count - 1;
  const bool has_du = row < kTileOuts;
  const T* g = a.grad + block * a.grad_block + (out + du_row) * pixels * kLanes + quad * kQuad;
  const T* h = a.h + (block * a.channels + out + du_row) * pixels * kLanes + quad * kQuad;
  const T* in = a.in + block * a.in_block + first_in * step + quad * kQuad;
  const int lanes = int(a.lanes(block));
  const int slice = thread % kSlices, own = thread / kSlices;
  const int o = own / (kTileIns / kTile), i = own % (kTileIns / kTile);  // i, i + 16, ...
  A sums[kTile][kTile] = {};
#pragma unroll 1
  for (int first = begin; first < end; first += kPositions<A> / kQuads) {
    const bool here = first + place / kQuads < end;
    const int pixel = here ? first + place / kQuads : end - 1;
    const int64_t source = a.source(unsigned(pixel), odd) * kLanes;
    Q gradients{}, outputs{}, values[kLoads];
    if (has_du) {
      gradients = load_quad(g + pixel * kLanes);
      outputs = load_quad(h + pixel * kLanes);
    }
    for (int n = 0; n < kLoads; ++n) {
      const int in_row = row + n * kRows;
      values[n] = load_quad(in + (in_row < in_count ? in_row : in_count - 1) * step + source);
    }
    if (has_du) {
      const C gradient = coefficients[du_row];
      const Q du = combine(gradient, gradients, outputs, real_lanes<A>(lanes, quad));
      run[row * kPitch<A> + place] = here ? du : Q{};
    }
    for (int n = 0; n < kLoads; ++n)
      run[kIns + (row + n * kRows) * kPitch<A> + place] = relu(values[n]);
    __syncthreads();
#pragma unroll
    for (int at = slice; at < kPositions<A>; at += kSlices) {
      Q values[kTile];
      for (int k = 0; k < kTile; ++k)
        values[k] = run[kIns + (i + k * (kTileIns / kTile)) * kPitch<A> + at];
      for (int m = 0; m < kTile; ++m) {
        const Q du = run[(o * kTile + m) * kPitch<A> + at];
        for (int k = 0; k < kTile; ++k)
          for (int lane = 0; lane < kQuad; ++lane) sums[m][k] += du[lane] * values[k][lane];
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
int64_t preprocess_weight_parts(const Preprocessings<T>& inputs) {
  return inputs.input[0].blocks * weight_tiles(inputs);
}

template <class T>
cudaError_t preprocess_backward(const Preprocessings<T>& inputs, cudaStream_t stream) {
  const int sum_parts = int(preprocess_sum_parts(inputs));
  int64_t runs = 0, in_blocks = 0, most_in_tiles = 0, all_out_tiles = 0;
  for (int i = 0; i < inputs.count; ++i) {
    const Preprocess<T>& a = inputs.input[i];
    most_in_tiles = std::max<int64_t>(most_in_tiles, in_tiles(a));
    all_out_tiles += out_tiles(a);
    if (a.grad_in == nullptr) continue;
    runs = std::max(runs, a.blocks * divide_up(a.pixels(), input_run(outputs_of(a))));
    in_blocks = std::max(in_blocks, divide_up(a.in_channels, kBlockInputs));
  }
  const dim3 grid(runs, in_blocks, 2 * inputs.count);
  const cudaError_t error = launch_dependent(preprocess_input_kernel<T>, grid, dim3(kCellThreads),
                                             0, stream, inputs, sum_parts);
  if (error != cudaSuccess || inputs.input[0].grad_weights == nullptr) return error;
  const dim3 weights(preprocess_weight_parts(inputs), most_in_tiles, all_out_tiles);
  return launch_dependent(preprocess_weights_kernel<T>, weights, dim3(kCellThreads), 0, stream,
                          inputs, sum_parts);
}

#define ADARTS_INSTANTIATE(T)                                         \
  template int64_t preprocess_weight_parts(const Preprocessings<T>&); \
  template cudaError_t preprocess_backward(const Preprocessings<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)

}  // namespace adarts::cuda
