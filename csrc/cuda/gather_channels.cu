// out[n, j] = scale[n, index[j]] * x[n, index[j]], forward and backward, one launch each; backward
// adds a second small one for the scale's gradient.
//
// A row of threads takes a chosen plane (planar memory), or threads run along the chosen channels
// (interleaved). Only chosen planes are read; backward writes all of grad_x, zeros included, so
// that nothing has to be filled before. There is hardly any arithmetic: bytes are the time.
#include "device/places.cuh"
#include "device/tile.cuh"
#include "gather_channels.cuh"

namespace adarts::cuda {

namespace {

// out[n, j, p] = scale[n, index[j]] * x[n, index[j], p] for planar memory, or any memory if N is 1.
//
// A row of threads takes one chosen plane and copies packs of it, kLoads in flight.
// Bytes: 2 * batch * k * pixels * sizeof(T); the planes not chosen are not touched.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kResident) gather_planes(const GatherChannels<T> args) {
  const int64_t n = blockIdx.x;
  const int64_t j = int64_t(blockIdx.y) * blockDim.y + threadIdx.y;
  if (j >= args.k) return;
  const int64_t c = args.index[j];
  ADARTS_ASSERT(c >= 0 && c < args.channels);
  copy_plane<N>(args.out.at(n, j, 0), args.out.pixel, args.x.at(n, c, 0), args.x.pixel,
                scale_of(args.scale, n * args.channels + c), args.pixels);
}

// The same for interleaved memory.
//
// A thread makes N neighbouring channels of the result, of every gridDim.z * blockDim.y-th pixel,
// so that it reads index and scale once. The channels of a pixel lie within a few lines, so every
// line of x is fetched once, and nearly all of them are: channels / k as many as are used.
// Bytes: batch * pixels * (channels + k) * sizeof(T).
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kResident) gather_pixels(const GatherChannels<T> args) {
  using A = Accumulate<T>;
  const int64_t n = blockIdx.x;
  const int64_t j = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  if (j >= args.k) return;
  int64_t channel[N];
  A factor[N];
  for (int i = 0; i < N; ++i) {
    channel[i] = args.index[j + i];
    ADARTS_ASSERT(channel[i] >= 0 && channel[i] < args.channels);
    factor[i] = scale_of(args.scale, n * args.channels + channel[i]);
  }
  const int64_t step = int64_t(gridDim.z) * blockDim.y;
#pragma unroll 1
  for (int64_t p = int64_t(blockIdx.z) * blockDim.y + threadIdx.y; p < args.pixels; p += step) {
    Pack<T, N> pack;
    for (int i = 0; i < N; ++i) pack[i] = T(factor[i] * A(args.x.at(n, 0, p)[channel[i]]));
    store(args.out.at(n, j, p), pack);
  }
}

// grad_x[n, c, p] = scale[n, c] * g and grad_scale[n, c] = sum over p of x[n, c, p] * g, where g is
// the sum of grad[n, j, p] over the places j of c in the index, in rising order. Planar memory, or
// any memory if N is 1.
//
// A row of threads takes one plane: finds its places, reads the gradients there (most often one or
// none), stores packs of grad_x and sums the products for grad_scale.
// Bytes: batch * pixels * (k, + channels for grad_x, + k for grad_scale) * sizeof(T): where a
// channel was not chosen only the zeros are written.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kResident)
    gather_planes_backward(const GatherChannelsBackward<T> args) {
  using A = Accumulate<T>;
  const int64_t n = blockIdx.x;
  const int64_t c = int64_t(blockIdx.y) * blockDim.y + threadIdx.y;
  const Places place = find_places_of_row(args.index, args.k, args.channels, c);
  A dot = 0;
  if (c < args.channels) {
    const A factor = scale_of(args.scale, n * args.channels + c);
    const bool sums = args.grad_scale != nullptr && place.any();
    const int64_t step = int64_t(gridDim.z) * blockDim.x * N;
    int64_t p = (int64_t(blockIdx.z) * blockDim.x + threadIdx.x) * N;
#pragma unroll 1
    for (; p < args.pixels; p += step) {
      Pack<T, N> x{};
      if (sums) x = load<N>(args.x.at(n, c, p));
      A g[N] = {};
      for (int j = place.first; j <= place.last; j = place.next(args.index, c, j)) {
        const Pack<T, N> grad = load<N>(args.grad.at(n, j, p));
        for (int e = 0; e < N; ++e) g[e] += A(grad[e]);
      }
      if (sums)
        for (int e = 0; e < N; ++e) dot += g[e] * A(x[e]);
      if (args.grad_x.data == nullptr) continue;
      Pack<T, N> result;
      for (int e = 0; e < N; ++e) result[e] = T(factor * g[e]);
      store(args.grad_x.at(n, c, p), result);
    }
  }
  if (args.grad_scale == nullptr) return;
  dot = sum_along(dot);
  if (threadIdx.x == 0 && c < args.channels)
    put_sum(args.grad_scale, args.partial, n * args.channels + c, dot);
}

// The same for interleaved memory.
//
// A thread takes N neighbouring channels and finds their places once, for all its pixels; packs of
// x are read and packs of grad_x written, single elements of grad are read.
// Bytes: as above, but all of x is read for grad_scale.
template <class T, int N>
__global__ void __launch_bounds__(kThreads, kResident)
    gather_pixels_backward(const GatherChannelsBackward<T> args) {
  using A = Accumulate<T>;
  const int64_t n = blockIdx.x;
  const int64_t c = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  Places places[N];
  find_places_of_column(args.index, args.k, args.channels, c, places);
  A dot[N] = {};
  if (c < args.channels) {
    A factor[N];
    for (int i = 0; i < N; ++i) factor[i] = scale_of(args.scale, n * args.channels + c + i);
    const int64_t step = int64_t(gridDim.z) * blockDim.y;
#pragma unroll 1
    for (int64_t p = int64_t(blockIdx.z) * blockDim.y + threadIdx.y; p < args.pixels; p += step) {
      Pack<T, N> x{};
      if (args.grad_scale != nullptr) x = load<N>(args.x.at(n, c, p));
      Pack<T, N> result;
      for (int i = 0; i < N; ++i) {
        const Places place = places[i];
        A g = 0;
        for (int j = place.first; j <= place.last; j = place.next(args.index, c + i, j))
          g += A(*args.grad.at(n, j, p));
        if (place.any()) dot[i] += g * A(x[i]);
        result[i] = T(factor[i] * g);
      }
      if (args.grad_x.data != nullptr) store(args.grad_x.at(n, c, p), result);
    }
  }
  if (args.grad_scale == nullptr) return;
  sum_across(dot);
  if (threadIdx.y > 0 || c >= args.channels) return;
  for (int i = 0; i < N; ++i)
    put_sum(args.grad_scale, args.partial, n * args.channels + c + i, dot[i]);
}

template <class T>
Tiling<T> tiling_of(const GatherChannels<T>& args) {
  const bool interleaved = args.x.interleaved() && args.out.interleaved();
  const bool packs =
      interleaved ? args.out.packs_of_channels(args.k)
                  : args.x.packs_of_pixels(args.pixels) && args.out.packs_of_pixels(args.pixels);
  return Tiling<T>(interleaved, packs, args.batch, args.k, args.pixels, kManyBlocks);
}

template <class T>
Tiling<T> tiling_of(const GatherChannelsBackward<T>& args) {
  const bool interleaved =
      args.grad.interleaved() && args.x.interleaved() && args.grad_x.interleaved();
  const bool packs =
      interleaved
          ? args.x.packs_of_channels(args.channels) && args.grad_x.packs_of_channels(args.channels)
          : args.grad.packs_of_pixels(args.pixels) && args.x.packs_of_pixels(args.pixels) &&
                args.grad_x.packs_of_pixels(args.pixels);
  return Tiling<T>(interleaved, packs, args.batch, args.channels, args.pixels,
                   interleaved || args.grad_scale == nullptr ? kManyBlocks : kEnoughBlocks);
}

}  // namespace

template <class T>
cudaError_t gather_channels(const GatherChannels<T>& args, cudaStream_t stream) {
  constexpr int N = kPack<T>;
  const Tiling<T> tiling = tiling_of(args);
  const auto kernel = choose(tiling, gather_planes<T, N>, gather_planes<T, 1>, gather_pixels<T, N>,
                             gather_pixels<T, 1>);
  return launch(kernel, tiling.grid, tiling.block, 0, stream, args);
}

template <class T>
int64_t gather_channels_parts(const GatherChannelsBackward<T>& args) {
  return tiling_of(args).grid.z;
}

template <class T>
cudaError_t gather_channels_backward(const GatherChannelsBackward<T>& args, cudaStream_t stream) {
  constexpr int N = kPack<T>;
  const Tiling<T> tiling = tiling_of(args);
  const auto kernel = choose(tiling, gather_planes_backward<T, N>, gather_planes_backward<T, 1>,
                             gather_pixels_backward<T, N>, gather_pixels_backward<T, 1>);
  const cudaError_t error = launch(kernel, tiling.grid, tiling.block, 0, stream, args);
  if (error != cudaSuccess || args.partial == nullptr) return error;
  return sum_parts(args.partial, args.batch * args.channels, tiling.grid.z, args.grad_scale,
                   stream);
}

#define ADARTS_INSTANTIATE(T)                                                      \
  template cudaError_t gather_channels<T>(const GatherChannels<T>&, cudaStream_t); \
  template int64_t gather_channels_parts<T>(const GatherChannelsBackward<T>&);     \
  template cudaError_t gather_channels_backward<T>(const GatherChannelsBackward<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)
ADARTS_INSTANTIATE(c10::Half)

}  // namespace adarts::cuda
