// out[:, index] = update, the rest is scale * x, through a 2x2 max pool at stride 2: one launch.
//
// A row of threads takes a plane of the result (planar memory), or threads run along its channels
// (interleaved). Each value of the result is written once, from whichever source it has; what is
// replaced is not read. There is hardly any arithmetic: bytes are the time.
#include "device/places.cuh"
#include "device/tile.cuh"
#include "device/window.cuh"
#include "scatter_channels.cuh"

namespace adarts::cuda {

namespace {

// out[n, c] = update[n, j] where index[j] is c, else scale[n, c] * x[n, c], pooled at stride 2.
// Planar memory, or any memory if N is 1.
//
// A row of threads takes one plane, finds its place in the index, and copies packs of either
// source; at stride 2 a thread reads the four packs that the windows of one pack of results cover.
// Bytes: batch * pixels * (2 * channels, + 3 * (channels - k) at stride 2) * sizeof(T), with the
// pixels of the result; the planes of x that are replaced are not read.
template <class T, int N, int kStride>
__global__ void __launch_bounds__(kThreads, kResident)
    scatter_planes(const ScatterChannels<T> args) {
  using A = Accumulate<T>;
  const ScatterShape& shape = args.shape;
  const int64_t n = blockIdx.x;
  const int64_t c = int64_t(blockIdx.y) * blockDim.y + threadIdx.y;
  const int64_t pixels = shape.height * shape.width;
  const Places place = find_places_of_row(args.index, shape.k, shape.channels, c);
  if (c >= shape.channels) return;
  ADARTS_ASSERT(place.first >= place.last);
  T* to = args.out.at(n, c, 0);
  const A factor = place.any() ? A(1) : scale_of(args.scale, n * shape.channels + c);
  if (kStride == 1 || place.any()) {
    const Map<const T>& source = place.any() ? args.update : args.x;
    copy_plane<N>(to, args.out.pixel, source.at(n, place.any() ? place.last : c, 0), source.pixel,
                  factor, pixels);
    return;
  }
  const int64_t step = int64_t(gridDim.z) * blockDim.x * N;
#pragma unroll 1
  for (int64_t p = (int64_t(blockIdx.z) * blockDim.x + threadIdx.x) * N; p < pixels; p += step) {
    Pack<T, N> windows[4], result;
    read_windows<N, true>(args.x.at(n, c, window_of(p, shape.width)), args.x.pixel,
                          2 * shape.width * args.x.pixel, windows);
    for (int e = 0; e < N; ++e) result[e] = T(winner_of(windows, e, factor).scaled);
    store(to + p * args.out.pixel, result);
  }
}

// The same for interleaved memory.
//
// A thread takes N neighbouring channels and finds their places once, for all its pixels; it reads
// packs of x, single elements of `update`, and writes packs.
// Bytes: as above, but all of x is read.
template <class T, int N, int kStride>
__global__ void __launch_bounds__(kThreads, kResident)
    scatter_pixels(const ScatterChannels<T> args) {
  using A = Accumulate<T>;
  const ScatterShape& shape = args.shape;
  const int64_t n = blockIdx.x;
  const int64_t c = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  const int64_t pixels = shape.height * shape.width;
  Places places[N];
  find_places_of_column(args.index, shape.k, shape.channels, c, places);
  if (c >= shape.channels) return;
  A factor[N];
  for (int i = 0; i < N; ++i) {
    ADARTS_ASSERT(places[i].first >= places[i].last);
    factor[i] = scale_of(args.scale, n * shape.channels + c + i);
  }
  const int64_t step = int64_t(gridDim.z) * blockDim.y;
#pragma unroll 1
  for (int64_t p = int64_t(blockIdx.z) * blockDim.y + threadIdx.y; p < pixels; p += step) {
    Pack<T, N> windows[4], result;
    if (kStride == 1) {
      windows[0] = load<N>(args.x.at(n, c, p));
    } else {
      read_windows<N, false>(args.x.at(n, c, window_of(p, shape.width)), args.x.pixel,
                             2 * shape.width * args.x.pixel, windows);
    }
    for (int i = 0; i < N; ++i) {
      if (places[i].any()) {
        result[i] = *args.update.at(n, places[i].last, p);
      } else if (kStride == 1) {
        result[i] = T(factor[i] * A(windows[0][i]));
      } else {
        result[i] = T(winner_of(windows, i, factor[i]).scaled);
      }
    }
    store(args.out.at(n, c, p), result);
  }
}

template <class T>
Tiling<T> tiling_of(const ScatterChannels<T>& args) {
  const ScatterShape& shape = args.shape;
  const bool interleaved = args.x.interleaved() && args.out.interleaved();
  const bool rows = shape.stride == 1 || shape.width % kPack<T> == 0;
  const bool packs = interleaved ? args.x.packs_of_channels(shape.channels) &&
                                       args.out.packs_of_channels(shape.channels)
                                 : rows && args.x.packs_of_pixels(shape.x_pixels()) &&
                                       args.update.packs_of_pixels(shape.pixels()) &&
                                       args.out.packs_of_pixels(shape.pixels());
  return Tiling<T>(interleaved, packs, shape.batch, shape.channels, shape.pixels(), kManyBlocks);
}

template <class T, int kStride>
cudaError_t run(const ScatterChannels<T>& args, cudaStream_t stream) {
  constexpr int N = kPack<T>;
  const Tiling<T> tiling = tiling_of(args);
  const auto kernel = choose(tiling, scatter_planes<T, N, kStride>, scatter_planes<T, 1, kStride>,
                             scatter_pixels<T, N, kStride>, scatter_pixels<T, 1, kStride>);
  return launch(kernel, tiling.grid, tiling.block, 0, stream, args);
}

}  // namespace

template <class T>
cudaError_t scatter_channels(const ScatterChannels<T>& args, cudaStream_t stream) {
  return args.shape.stride == 1 ? run<T, 1>(args, stream) : run<T, 2>(args, stream);
}

#define ADARTS_INSTANTIATE(T) \
  template cudaError_t scatter_channels<T>(const ScatterChannels<T>&, cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)
ADARTS_INSTANTIATE(c10::Half)

}  // namespace adarts::cuda
