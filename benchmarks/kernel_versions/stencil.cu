// A stencil in versions, from the obvious one to the library's (docs/kernels.md):
//
//   u[n, c, y, x] = sum over i, j < 5 of w[c, i, j] * relu(h[n, c, y + 2i - 4, x + 2j - 4])
//
// with zeros outside of the plane: the depthwise part of dil_conv_5x5, on blocks of 16 images that
// lie side by side, (N / 16, C, height, width, 16). All versions are float32, with 256 threads a
// block.
#include "../../csrc/cuda/cell/pairs.cuh"

namespace adarts::cuda {

namespace {

constexpr int kSize = 5, kDilation = 2, kPad = kDilation * (kSize / 2);

struct Stencil {
  const float* h;
  const float* w;  // (channels, 5, 5)
  float* u;
  int planes, channels, height, width;  // planes = N / 16 * channels

  __device__ __forceinline__ const float* taps(int plane) const {
    return w + plane % channels * (kSize * kSize);
  }
  // Where a pixel's first image lies.
  __device__ __forceinline__ int64_t at(int plane, int y, int x) const {
    return ((int64_t(plane) * height + y) * width + x) * kLanes;
  }
};

// 1. A thread makes one number.
__global__ void __launch_bounds__(kCellThreads) number_kernel(const Stencil s) {
  const int number = blockIdx.x * kCellThreads + threadIdx.x;
  const int image = number % kLanes, x = number / kLanes % s.width;
  const int y = number / kLanes / s.width % s.height, plane = number / kLanes / s.width / s.height;
  if (plane >= s.planes) return;
  float sum = 0;
  for (int i = 0; i < kSize; ++i)
    for (int j = 0; j < kSize; ++j) {
      const int from_y = y + i * kDilation - kPad, from_x = x + j * kDilation - kPad;
      if (from_y < 0 || from_y >= s.height || from_x < 0 || from_x >= s.width) continue;
      const float value = s.h[s.at(plane, from_y, from_x) + image];
      sum += s.taps(plane)[i * kSize + j] * (value < 0 ? 0 : value);
    }
  s.u[s.at(plane, y, x) + image] = sum;
}

// 2. As 1, but the channel's taps are found once.
__global__ void __launch_bounds__(kCellThreads) taps_kernel(const Stencil s) {
  const int number = blockIdx.x * kCellThreads + threadIdx.x;
  const int image = number % kLanes, x = number / kLanes % s.width;
  const int y = number / kLanes / s.width % s.height, plane = number / kLanes / s.width / s.height;
  if (plane >= s.planes) return;
  const float* w = s.taps(plane);
  float sum = 0;
  for (int i = 0; i < kSize; ++i)
    for (int j = 0; j < kSize; ++j) {
      const int from_y = y + i * kDilation - kPad, from_x = x + j * kDilation - kPad;
      if (from_y < 0 || from_y >= s.height || from_x < 0 || from_x >= s.width) continue;
      const float value = s.h[s.at(plane, from_y, from_x) + image];
      sum += w[i * kSize + j] * (value < 0 ? 0 : value);
    }
  s.u[s.at(plane, y, x) + image] = sum;
}

// 3. A thread makes a quad, four images of a pixel; blockIdx.y is the plane.
__global__ void __launch_bounds__(kCellThreads) quad_kernel(const Stencil s) {
  const int at = blockIdx.x * kCellThreads + threadIdx.x;
  const int image = at % kQuads * kQuad, pixel = at / kQuads;
  const int y = pixel / s.width, x = pixel % s.width, plane = blockIdx.y;
  if (y >= s.height) return;
  const float* w = s.taps(plane);
  Quad<float> sum{};
  for (int i = 0; i < kSize; ++i)
    for (int j = 0; j < kSize; ++j) {
      const int from_y = y + i * kDilation - kPad, from_x = x + j * kDilation - kPad;
      if (from_y < 0 || from_y >= s.height || from_x < 0 || from_x >= s.width) continue;
      const Quad<float> value = load_quad(s.h + s.at(plane, from_y, from_x) + image);
      sum.add(w[i * kSize + j], relu(value));
    }
  store_quad(s.u + s.at(plane, y, x) + image, sum);
}

// 4. As 3, a row of taps at a time: loaded before any of it is used, at constant distances. Which
// columns are inside is asked once for all rows.
__global__ void __launch_bounds__(kCellThreads) row_kernel(const Stencil s) {
  const int at = blockIdx.x * kCellThreads + threadIdx.x;
  const int image = at % kQuads * kQuad, pixel = at / kQuads;
  const int y = pixel / s.width, x = pixel % s.width, plane = blockIdx.y;
  if (y >= s.height) return;
  const float* w = s.taps(plane);
  const float* from = s.h + s.at(plane, 0, 0) + image;
  bool inside[kSize];
#pragma unroll
  for (int j = 0; j < kSize; ++j)
    inside[j] = unsigned(x + j * kDilation - kPad) < unsigned(s.width);
  Quad<float> sum{};
#pragma unroll 1
  for (int i = 0; i < kSize; ++i) {
    const int from_y = y + i * kDilation - kPad;
    if (unsigned(from_y) >= unsigned(s.height)) continue;
    const float* row = from + int64_t(from_y * s.width + x - kPad) * kLanes;
    Quad<float> in[kSize] = {};
#pragma unroll
    for (int j = 0; j < kSize; ++j)
      if (inside[j]) in[j] = load_quad(row + j * (kDilation * kLanes));
#pragma unroll
    for (int j = 0; j < kSize; ++j)
      if (inside[j]) sum.add(w[i * kSize + j], relu(in[j]));
  }
  store_quad(s.u + s.at(plane, y, x) + image, sum);
}

// 5. A block makes a tile of 16 x 16 pixels. It lays them and what is around them into shared
// memory, past the ReLU, with zeros outside; then every tap is a load without a question.
constexpr int kTile = 16, kAround = kTile + 2 * kPad;  // pixels of a side

__global__ void __launch_bounds__(kCellThreads) tile_kernel(const Stencil s) {
  using Q = Quad<float>;
  ADARTS_SHARED(Q, tile, kAround * kAround * kQuads);
  const int tiles = divide_up(s.width, kTile), plane = blockIdx.y;
  const int top = int(blockIdx.x) / tiles * kTile, left = int(blockIdx.x) % tiles * kTile;
  for (int at = threadIdx.x; at < kAround * kAround * kQuads; at += kCellThreads) {
    const int pixel = at / kQuads;
    const int y = top + pixel / kAround - kPad, x = left + pixel % kAround - kPad;
    const bool inside = unsigned(y) < unsigned(s.height) && unsigned(x) < unsigned(s.width);
    Q value{};
    if (inside) value = relu(load_quad(s.h + s.at(plane, y, x) + at % kQuads * kQuad));
    tile[at] = value;
  }
  float w[kSize * kSize];
#pragma unroll
  for (int tap = 0; tap < kSize * kSize; ++tap) w[tap] = s.taps(plane)[tap];
  __syncthreads();
  const int quad = threadIdx.x % kQuads, x = threadIdx.x / kQuads % kTile;
#pragma unroll 1
  for (int y = threadIdx.x / (kQuads * kTile); y < kTile; y += kCellThreads / (kQuads * kTile)) {
    Q sum{};
#pragma unroll
    for (int tap = 0; tap < kSize * kSize; ++tap) {
      const int around = (y + tap / kSize * kDilation) * kAround + x + tap % kSize * kDilation;
      const Q value = tile[around * kQuads + quad];
      sum.add(w[tap], value);
    }
    if (top + y < s.height && left + x < s.width)
      store_quad(s.u + s.at(plane, top + y, left + x) + quad * kQuad, sum);
  }
}

// 6. A thread makes four pixels of a row that lie kDilation apart: of each row of taps they share
// all but the ends, 8 loads in place of 20.
constexpr int kOuts = 4, kIns = kOuts + kSize - 1;

__global__ void __launch_bounds__(kCellThreads) columns_kernel(const Stencil s) {
  const int at = blockIdx.x * kCellThreads + threadIdx.x;
  const int image = at % kQuads * kQuad, item = at / kQuads;
  const int items = divide_up(s.width, kOuts * kDilation) * kDilation;  // of a row
  const int y = item / items, plane = blockIdx.y;
  const int first = item % items / kDilation * (kOuts * kDilation) + item % kDilation;
  if (y >= s.height) return;
  const float* w = s.taps(plane);
  bool inside[kIns];
#pragma unroll
  for (int i = 0; i < kIns; ++i)
    inside[i] = unsigned(first + i * kDilation - kPad) < unsigned(s.width);
  Quad<float> sum[kOuts] = {};
#pragma unroll 1
  for (int i = 0; i < kSize; ++i) {
    const int from_y = y + i * kDilation - kPad;
    if (unsigned(from_y) >= unsigned(s.height)) continue;
    const float* row = s.h + s.at(plane, from_y, first) - kPad * kLanes + image;
    Quad<float> in[kIns] = {};
#pragma unroll
    for (int j = 0; j < kIns; ++j)
      if (inside[j]) in[j] = load_quad(row + j * (kDilation * kLanes));
#pragma unroll
    for (int j = 0; j < kIns; ++j) in[j] = relu(in[j]);
#pragma unroll
    for (int out = 0; out < kOuts; ++out)
#pragma unroll
      for (int j = 0; j < kSize; ++j) sum[out].add(w[i * kSize + j], in[out + j]);
  }
#pragma unroll
  for (int out = 0; out < kOuts; ++out)
    if (first + out * kDilation < s.width)
      store_quad(s.u + s.at(plane, y, first + out * kDilation) + image, sum[out]);
}

// 7. As 6 with two pixels, by the library's own code, which makes the 3x3 convolution of the same
// input on the way where there is one. Pairs lie as 6's threads do: a warp loads whole lines.
__global__ void __launch_bounds__(kCellThreads) pairs_kernel(const Stencil s) {
  const int at = blockIdx.x * kCellThreads + threadIdx.x;
  const int image = at % kQuads * kQuad, plane = blockIdx.y;
  const Pairs pairs(0, s.height * s.width, s.width, 1);
  if (at / kQuads >= pairs.pairs) return;
  const Pairs::Pixel of = pairs.pixel(at / kQuads);
  const auto sum =
      depthwise_pair<kFive, kDilation>(s.h + s.at(plane, 0, 0) + image, s.height, s.width,
                                       of.y - kPad, of.x - kPad, s.taps(plane), 0, 0);
#pragma unroll
  for (int i = 0; i < 2; ++i)
    if (const int pixel = pairs.place(of, i); pixel >= 0)
      store_quad(s.u + s.at(plane, 0, pixel) + image, sum.quad[0][i]);
}

}  // namespace

// For Python, by ctypes. Returns whether there is such a version.
extern "C" __attribute__((visibility("default"))) bool stencil(int version, const float* h,
                                                               const float* w, float* u, int planes,
                                                               int channels, int height,
                                                               int width) {
  const Stencil s{h, w, u, planes, channels, height, width};
  const auto run = [&](auto kernel, int64_t threads, int many) {
    launch(kernel, dim3(divide_up(threads, kCellThreads), many), dim3(kCellThreads), 0, nullptr, s);
  };
  const int64_t quads = int64_t(height) * width * kQuads;
  const int64_t tiles = divide_up(height, kTile) * divide_up(width, kTile);
  switch (version) {
    case 1:
      run(number_kernel, quads * kQuad * planes, 1);
      return true;
    case 2:
      run(taps_kernel, quads * kQuad * planes, 1);
      return true;
    case 3:
      run(quad_kernel, quads, planes);
      return true;
    case 4:
      run(row_kernel, quads, planes);
      return true;
    case 5:
      run(tile_kernel, tiles * kCellThreads, planes);
      return true;
    case 6:
      run(columns_kernel, divide_up(width, kOuts * kDilation) * kDilation * height * kQuads,
          planes);
      return true;
    case 7:
      run(pairs_kernel, divide_up(width, 2 * kDilation) * kDilation * height * kQuads, planes);
      return true;
    default:
      return false;
  }
}

}  // namespace adarts::cuda
