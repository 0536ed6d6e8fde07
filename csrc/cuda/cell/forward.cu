// The first halves of the candidates of the edges that enter a node: u = W depthwise(relu(x)).
//
// first_half_kernel makes the first (of dilated convolutions the only) convolution of all four
// convolutional candidates and the pools' sums. A thread holds a quad of images of a pixel and
// makes some of its output channels; a block keeps the sums of u and u^2 of its part, so that the
// statistics cost no further reading. Depthwise outputs never reach memory.
#include <algorithm>

#include "convolve.cuh"
#include "groups.cuh"
#include "launchers.cuh"
#include "pools.cuh"

namespace adarts::cuda {

namespace {

constexpr int kOutputs = 4;  // channels of a thread

// Where a convolution's outputs and their sums go.
template <class T>
struct Keep {
  T* u;             // planes of the outputs, of the block of images
  double* moments;  // rows of its part: sum u, and `selected` further sum u^2; or null
  int64_t selected;
};

template <class T>
__device__ __forceinline__ double* moments_of(const Group<T>& group, int64_t e, int64_t part,
                                              int norm) {
  const int64_t c = group.sizes.selected;
  if (group.partial == nullptr) return nullptr;
  return group.partial + (e * group.parts + part) * moment_rows(c) + norm * 2 * c;
}

template <class T>
__device__ __forceinline__ Keep<T> keep_of(const Group<T>& group, const Edge<T>& edge, int64_t e,
                                           int64_t part, int64_t block, int norm) {
  return {stored_planes(edge, group.sizes, norm, block), moments_of(group, e, part, norm),
          group.sizes.selected};
}

// u = pointwise convolution of what input(channel, y, x, quad) gives, for the pixels of a part, run
// by run. First a thread makes every 256th input of the run and leaves it in shared memory; then it
// makes kOutputs channels of a pixel's quad from all inputs of the pixel. `w` is (outs, selected).
template <class T, class Input, class Run, class Partial>
__device__ __forceinline__ void convolve_part(const Sizes& z, const Part& part, const Input& input,
                                              const Accumulate<T>* __restrict__ w, int outs,
                                              const Keep<T>& keep, Run run, Partial partial) {
  using A = Accumulate<T>;
  using Q = Quad<A>;
  const int c = int(z.selected), width = int(z.width), step = run_pixels(c);
  ADARTS_ASSERT(c <= kMostSelected);
  const Grouping grouping(divide_up(outs, kOutputs));
  const int first_out = grouping.group() * kOutputs;
  Shifted<A, kOutputs> moments;
  const int real = real_images(z.lanes(part.block), int(threadIdx.x) % kQuads);
  for (int first = part.first; first < part.last; first += step) {
    const int count = std::min(step, part.last - first), quads = count * kQuads;
    Places places(quads);
    int pixel = first + places.quad / kQuads, y = pixel / width;
#pragma unroll 1
    for (int at = threadIdx.x; at < c * quads; at += kCellThreads) {
      run[at] = input(places.channel, y, pixel - y * width);
      if (places.next()) {
        pixel = first + places.quad / kQuads;
        y = pixel / width;
      }
    }
    __syncthreads();
#pragma unroll 1
    for (int at = grouping.slot(); at < quads && first_out < outs; at += grouping.slots) {
      Q u[kOutputs];
      pointwise(w + first_out * c, c, 1, outs - first_out, c, run, at, quads, u);
      T* to =
          keep.u + (first_out * z.pixels() + first + at / kQuads) * kLanes + at % kQuads * kQuad;
      for (int k = 0; k < kOutputs; ++k) {
        if (first_out + k < outs) store_quad(to + k * z.pixels() * kLanes, u[k]);
        moments.add(k, u[k], real);
      }
      ++moments.quads;
    }
    __syncthreads();
  }
  if (keep.moments == nullptr) return;
  double sums[2 * kOutputs];
  moments.totals(real, sums);
  group_sums(grouping, sums, partial, [&](int group, int i, double sum) {
    const int out = group * kOutputs + i % kOutputs;
    if (out < outs) keep.moments[out + (i < kOutputs ? 0 : keep.selected)] = sum;
  });
}

// Sums of the two pools: no output is kept, the node makes them again.
template <class T, class Partial>
__device__ __forceinline__ void pool_moments(const Sizes& z, const Part& part,
                                             const ChosenPlanes<T>& chosen, double* moments,
                                             Partial partial) {
  using A = Accumulate<T>;
  const int c = int(z.selected), width = int(z.width), quads = (part.last - part.first) * kQuads;
  const Grouping grouping(c);
  const int real = real_images(z.lanes(part.block), int(threadIdx.x) % kQuads);
  for (int base = 0; base < c; base += grouping.groups) {
    const int a = base + grouping.group();
    Shifted<A, 2> both;  // maximum and average
#pragma unroll 1
    for (int at = grouping.slot(); at < quads && a < c; at += grouping.slots) {
      const int pixel = part.first + at / kQuads;
      const Pools<A> pools = pools_at(chosen.plane(a), chosen.height, chosen.width, chosen.stride,
                                      pixel / width, pixel % width);
      const Quad<A> scale = chosen.factor(a);
      const Quad<A> maximum = scale * pools.maximum, average = scale * pools.average;
      both.add(0, maximum, real);
      both.add(1, average, real);
      ++both.quads;
    }
    double sums[4];  // sum of both, then squares of both
    both.totals(real, sums);
    group_sums(grouping, sums, partial, [&](int group, int i, double sum) {
      static_assert(kNormMax == 0 && kNormAvg == 1);  // rows (norm, sum or square, channel)
      if (base + group < c) moments[(i % 2 * 2 + i / 2) * c + base + group] = sum;
    });
  }
}

// The works of first_half, the longest first.
enum FirstWork { kWorkDil5, kWorkSep5, kWorkDil3, kWorkSep3, kWorkPools, kWorkEven, kWorkOdd };

// A switch: a table would lie in local memory.
__host__ __device__ __forceinline__ bool is_active(const Active& active, int work) {
  switch (work) {
    case kWorkDil5:
      return active.has(kDil5);
    case kWorkSep5:
      return active.has(kSep5);
    case kWorkDil3:
      return active.has(kDil3);
    case kWorkSep3:
      return active.has(kSep3);
    case kWorkPools:
      return active.pools > 0;
    default:
      return active.has_norm(kNormSkip);
  }
}

// x = M * h[selected]; u = pointwise(depthwise(relu(x))) of four convolutions, at stride 2 also of
// the two of FactorizedReduce, and the sums of u, u^2 and of both pools.
//
// A thread block takes the pixels of one part (blockIdx.x) of one edge (y) and one of the works
// (z). A thread makes depthwise outputs of a pixel's four images from 9 or 25 loads of 16 bytes,
// which its neighbours in the row and the column load as well, so that all but the first come from
// L1; gather, M and ReLU cost no pass of their own. The outputs of all channels meet in shared
// memory, where the pointwise convolution finds them. Bytes: each work reads the selected channels
// once, c * pixels * 64 bytes a block of images in float32, and writes as many, but the pools
// nothing and the two of FactorizedReduce a half each; at stride 2 the pools and the separable
// convolutions read four times as many, the others every second row and column. A second reading
// would come from L2. The works are separate blocks, although they read the same, because a cell
// has too few pixels to fill a GPU otherwise.
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    first_half_kernel(const Group<T> group) {
  using A = Accumulate<T>;
  using Q = Quad<A>;
  ADARTS_SHARED(Q, run, kRun);
  ADARTS_SHARED(double, partial, group_sums_size(2 * kOutputs));
  const Sizes& z = group.sizes;
  const int64_t e = blockIdx.y;
  const Edge<T>& edge = group.edge[e];
  const int work = blockIdx.z;
  if (!is_active(edge.active, work)) return;
  const Part part = part_of(z, blockIdx.x);
  const ChosenPlanes<T> chosen(edge, z, part.block, int(threadIdx.x) % kQuads);
  const EdgeWeights at = z.weights(edge.active);
  const int c = int(z.selected);
  const auto keep = [&](int norm) { return keep_of(group, edge, e, blockIdx.x, part.block, norm); };
  const auto convolve = [&]<int K>(int norm, int dilation) {
    const A* w = edge.weights + at.depthwise(norm);
    convolve_part<T>(
        z, part,
        [&](int a, int y, int x) {
          return chosen.template convolve<K>(a, y, x, dilation, w + a * K * K);
        },
        w + c * K * K, c, keep(norm), run, partial);
  };
  if (work == kWorkPools) {
    double* moments = moments_of(group, e, blockIdx.x, kNormMax);
    if (moments != nullptr && z.training) pool_moments(z, part, chosen, moments, partial);
  } else if (work == kWorkDil5 || work == kWorkSep5) {
    convolve.template operator()<5>(work == kWorkDil5 ? kNormDil5 : kNormSep5First,
                                    work == kWorkDil5 ? 2 : 1);
  } else if (work == kWorkDil3 || work == kWorkSep3) {
    convolve.template operator()<3>(work == kWorkDil3 ? kNormDil3 : kNormSep3First,
                                    work == kWorkDil3 ? 2 : 1);
  } else {
    const int odd = work == kWorkOdd, half = c / 2;
    Keep<T> to = keep(kNormSkip);
    to.u += odd * half * z.pixels() * kLanes;
    if (to.moments != nullptr) to.moments += odd * half;
    convolve_part<T>(
        z, part,
        [&](int a, int y, int x) {
          const int64_t pixel = (2 * y + odd) * chosen.width + 2 * x + odd;
          return chosen.factor(a) * relu(load_quad(chosen.plane(a) + pixel * kLanes));
        },
        edge.weights + at.skip() + odd * half * c, half, to, run, partial);
  }
}

}  // namespace

int64_t parts(const Sizes& sizes) { return sizes.blocks * tiles_of(sizes); }

template <class T>
cudaError_t first_half(const Group<T>& group, cudaStream_t stream) {
  int works = 0;  // up to the last one that an edge has
  for (int e = 0; e < group.edges; ++e)
    for (int work = works; work <= kWorkOdd; ++work)
      if (is_active(group.edge[e].active, work)) works = work + 1;
  if (works == 0) return cudaSuccess;
  const dim3 grid(group.parts, group.edges, works);
  return launch(first_half_kernel<T>, grid, dim3(kCellThreads), 0, stream, group);
}

template cudaError_t first_half(const Group<float>&, cudaStream_t);
template cudaError_t first_half(const Group<double>&, cudaStream_t);
template cudaError_t first_half(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
