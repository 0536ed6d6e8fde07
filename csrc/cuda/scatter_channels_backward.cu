// Gradients of out[:, index] = update, the rest is scale * x, through a 2x2 max pool at stride 2.
//
// A row of threads takes a plane (planar memory), or threads run along the channels (interleaved).
// All three gradients come from one reading of the result's gradient and, where it is needed, of x;
// sum_parts_kernel joins the parts of the scale's gradient. The winners of the windows are found
// again from x: cheaper than positions that would have to be kept.
#include "device/places.cuh"
#include "device/tile.cuh"
#include "device/window.cuh"
#include "scatter_channels.cuh"

namespace adarts::cuda {

namespace {

// For a channel c with index[j] == c: grad_update[n, j] = grad[n, c], grad_x[n, c] = 0 and
// grad_scale[n, c] = 0. For the others grad_x[n, c, p] = scale[n, c] * g and grad_scale[n, c] = sum
// over p of x[n, c, p] * g, where g is grad[n, c, p]; at stride 2 only for the pixel p that won its
// window, g being the gradient of the window, and grad_x is 0 elsewhere. Planar memory, or any
// memory if N is 1.
//
// A row of threads takes one plane, finds its place in the index, and passes packs on; at stride 2
// a thread finds the winners again from the four packs its windows cover, so that nothing but x is
// kept for the backward pass, and writes all of grad_x at once.
// Bytes: batch * pixels * (channels for grad, + k for grad_update, + s * channels for grad_x,
// + s * (channels - k) for x where it is read) * sizeof(T), s = stride * stride.
template <class T, int N, int kStride>
__global__ void __launch_bounds__(kThreads, kResident)
    scatter_planes_backward(const ScatterChannelsBackward<T> args) {
  using A = Accumulate<T>;
  const ScatterShape& shape = args.shape;
  const int64_t n = blockIdx.x;
  const int64_t c = int64_t(blockIdx.y) * blockDim.y + threadIdx.y;
  const int64_t pixels = shape.height * shape.width;
  const Places place = find_places_of_row(args.index, shape.k, shape.channels, c);
  const bool inside = c < shape.channels;
  ADARTS_ASSERT(!inside || place.first >= place.last);
  const bool writes = args.grad_x.data != nullptr, sums = args.grad_scale != nullptr;
  A dot = 0;
  if (inside && place.any()) {
    if (args.grad_update.data != nullptr)
      copy_plane<N>(args.grad_update.at(n, place.last, 0), args.grad_update.pixel,
                    args.grad.at(n, c, 0), args.grad.pixel, A(1), pixels);
    if (writes)
      clear_plane<N>(args.grad_x.at(n, c, 0), args.grad_x.pixel, kStride * kStride * pixels);
  } else if (inside && (writes || sums)) {
    const A factor = scale_of(args.scale, n * shape.channels + c);
    const int64_t step = int64_t(gridDim.z) * blockDim.x * N;
#pragma unroll 1
    for (int64_t p = (int64_t(blockIdx.z) * blockDim.x + threadIdx.x) * N; p < pixels; p += step) {
      const Pack<T, N> grad = load<N>(args.grad.at(n, c, p));
      if constexpr (kStride == 1) {
        Pack<T, N> x{}, result;
        if (sums) x = load<N>(args.x.at(n, c, p));
        for (int e = 0; e < N; ++e) {
          dot += A(grad[e]) * A(x[e]);
          result[e] = T(factor * A(grad[e]));
        }
        if (writes) store(args.grad_x.at(n, c, p), result);
      } else {
        Pack<T, N> windows[4];
        const int64_t first = window_of(p, shape.width);
        read_windows<N, true>(args.x.at(n, c, first), args.x.pixel, 2 * shape.width * args.x.pixel,
                              windows);
        for (int e = 0; e < N; ++e) {
          const Winner<A> winner = winner_of(windows, e, factor);
          dot += A(grad[e]) * winner.element;
          for (int i = 0; i < 4; ++i)
            windows[i][e] = i == winner.position ? T(factor * A(grad[e])) : T(0);
        }
        if (writes)
          write_windows<N, true>(args.grad_x.at(n, c, first), args.grad_x.pixel,
                                 2 * shape.width * args.grad_x.pixel, windows);
      }
    }
  }
  if (!sums) return;
  dot = sum_along(dot);
  if (threadIdx.x == 0 && inside)
    put_sum(args.grad_scale, args.partial, n * shape.channels + c, dot);
}

// The same for interleaved memory.
//
// A thread takes N neighbouring channels and finds their places once, for all its pixels; it reads
// packs of grad and x and writes packs of grad_x and single elements of grad_update.
// Bytes: as above, but all of x is read.
template <class T, int N, int kStride>
__global__ void __launch_bounds__(kThreads, kResident)
    scatter_pixels_backward(const ScatterChannelsBackward<T> args) {
  using A = Accumulate<T>;
  const ScatterShape& shape = args.shape;
  const int64_t n = blockIdx.x;
  const int64_t c = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  const int64_t pixels = shape.height * shape.width;
  Places places[N];
  find_places_of_column(args.index, shape.k, shape.channels, c, places);
  const bool writes = args.grad_x.data != nullptr, sums = args.grad_scale != nullptr;
  A dot[N] = {};
  if (c < shape.channels) {
    A factor[N];
    for (int i = 0; i < N; ++i) {
      ADARTS_ASSERT(places[i].first >= places[i].last);
      factor[i] = scale_of(args.scale, n * shape.channels + c + i);
    }
    const int64_t step = int64_t(gridDim.z) * blockDim.y;
#pragma unroll 1
    for (int64_t p = int64_t(blockIdx.z) * blockDim.y + threadIdx.y; p < pixels; p += step) {
      const Pack<T, N> grad = load<N>(args.grad.at(n, c, p));
      if (args.grad_update.data != nullptr)
        for (int i = 0; i < N; ++i)
          if (places[i].any()) *args.grad_update.at(n, places[i].last, p) = grad[i];
      if constexpr (kStride == 1) {
        Pack<T, N> x{}, result;
        if (sums) x = load<N>(args.x.at(n, c, p));
        for (int i = 0; i < N; ++i) {
          const bool passes = !places[i].any();
          if (passes) dot[i] += A(grad[i]) * A(x[i]);
          result[i] = passes ? T(factor[i] * A(grad[i])) : T(0);
        }
        if (writes) store(args.grad_x.at(n, c, p), result);
      } else if (writes || sums) {
        Pack<T, N> windows[4];
        const int64_t first = window_of(p, shape.width);
        read_windows<N, false>(args.x.at(n, c, first), args.x.pixel, 2 * shape.width * args.x.pixel,
                               windows);
        for (int e = 0; e < N; ++e) {
          const Winner<A> winner = winner_of(windows, e, factor[e]);
          const bool passes = !places[e].any();
          if (passes) dot[e] += A(grad[e]) * winner.element;
          for (int i = 0; i < 4; ++i)
            windows[i][e] = passes && i == winner.position ? T(factor[e] * A(grad[e])) : T(0);
        }
        if (writes)
          write_windows<N, false>(args.grad_x.at(n, c, first), args.grad_x.pixel,
                                  2 * shape.width * args.grad_x.pixel, windows);
      }
    }
  }
  if (!sums) return;
  sum_across(dot);
  if (threadIdx.y > 0 || c >= shape.channels) return;
  for (int i = 0; i < N; ++i)
    put_sum(args.grad_scale, args.partial, n * shape.channels + c + i, dot[i]);
}

template <class T>
Tiling<T> tiling_of(const ScatterChannelsBackward<T>& args) {
  const ScatterShape& shape = args.shape;
  const int64_t pixels = shape.pixels(), x_pixels = shape.x_pixels();
  const bool interleaved =
      args.grad.interleaved() && args.x.interleaved() && args.grad_x.interleaved();
  const bool rows = shape.stride == 1 || shape.width % kPack<T> == 0;
  const bool packs = interleaved ? args.grad.packs_of_channels(shape.channels) &&
                                       args.x.packs_of_channels(shape.channels) &&
                                       args.grad_x.packs_of_channels(shape.channels)
                                 : rows && args.grad.packs_of_pixels(pixels) &&
                                       args.x.packs_of_pixels(x_pixels) &&
                                       args.grad_x.packs_of_pixels(x_pixels) &&
                                       args.grad_update.packs_of_pixels(pixels);
  return Tiling<T>(interleaved, packs, shape.batch, shape.channels, pixels,
                   interleaved || args.grad_scale == nullptr ? kManyBlocks : kEnoughBlocks);
}

template <class T, int kStride>
cudaError_t run(const ScatterChannelsBackward<T>& args, const Tiling<T>& tiling,
                cudaStream_t stream) {
  constexpr int N = kPack<T>;
  const auto kernel =
      choose(tiling, scatter_planes_backward<T, N, kStride>, scatter_planes_backward<T, 1, kStride>,
             scatter_pixels_backward<T, N, kStride>, scatter_pixels_backward<T, 1, kStride>);
  return launch(kernel, tiling.grid, tiling.block, 0, stream, args);
}

}  // namespace

template <class T>
int64_t scatter_channels_parts(const ScatterChannelsBackward<T>& args) {
  return tiling_of(args).grid.z;
}

template <class T>
cudaError_t scatter_channels_backward(const ScatterChannelsBackward<T>& args, cudaStream_t stream) {
  const Tiling<T> tiling = tiling_of(args);
  const cudaError_t error =
      args.shape.stride == 1 ? run<T, 1>(args, tiling, stream) : run<T, 2>(args, tiling, stream);
  if (error != cudaSuccess || args.partial == nullptr) return error;
  return sum_parts(args.partial, args.shape.batch * args.shape.channels, tiling.grid.z,
                   args.grad_scale, stream);
}

#define ADARTS_INSTANTIATE(T)                                                          \
  template int64_t scatter_channels_parts<T>(const ScatterChannelsBackward<T>&);       \
  template cudaError_t scatter_channels_backward<T>(const ScatterChannelsBackward<T>&, \
                                                    cudaStream_t);

ADARTS_INSTANTIATE(float)
ADARTS_INSTANTIATE(double)
ADARTS_INSTANTIATE(c10::BFloat16)
ADARTS_INSTANTIATE(c10::Half)

}  // namespace adarts::cuda
