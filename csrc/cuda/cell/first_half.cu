// The first halves of the candidates of the edges that enter a node: u = W depthwise(relu(x)).
//
// first_half_kernel makes the first (of dilated convolutions the only) convolution of all four
// convolutional candidates and the pools' sums. A thread has a quad of images, of two pixels in the
// depthwise convolutions and then of one output channel of a pixel; a block keeps the sums of u and
// u^2 of its part, so that the statistics cost no further reading. Depthwise outputs never reach
// memory.
#include <algorithm>

#include "groups.cuh"
#include "launchers.cuh"
#include "pairs.cuh"
#include "pools.cuh"

namespace adarts::cuda {

namespace {

constexpr int kMoments = 4;                    // that group_sums makes at once
constexpr int kMostTwins = kMostSelected / 2;  // channels of two convolutions in shared memory

// The pixels of a run.
__host__ __device__ constexpr int run_pixels(int64_t channels) {
  return int(channels < kMostSelected ? kMostSelected / channels : 1);
}

// Where one pointwise convolution has its weights (outs, selected), its first plane of outputs, and
// the first row of its sums. In shared memory these cost a thread no registers, and places, other
// than pointers, are known to be global.
struct Forward {
  int64_t w, u, moments;
};

template <class T>
__device__ __forceinline__ Forward forward_of(const Edge<T>& edge, const Sizes& z, const Part& part,
                                              int norm, int kernel) {
  return {
      z.weights(edge.active).pointwise(norm, kernel),
      (edge.active.stored_place(norm) * z.blocks + part.block) * z.selected * z.pixels() * kLanes,
      norm * 2 * z.selected};
}

// The rows of the sums of an edge's part, or null where nobody asks for them.
template <class T>
__device__ __forceinline__ double* moments_of(const Group<T>& group, int64_t e, int64_t part) {
  if (group.partial == nullptr) return nullptr;
  return group.partial + (e * group.parts + part) * moment_rows(group.sizes.selected);
}

// u = pointwise convolutions, one or two, of what fill(first, count) leaves in `run` of their
// inputs' channels, for the pixels of a part, run by run. A thread makes one channel of a pixel's
// quad at a time: the sums of one channel cost a quarter of the shuffles of four, and where a part
// has few pixels all threads have work. More than 64 channels take as many times the whole way.
template <class T, class Fill, class Forwards, class Run, class Partial>
__device__ __forceinline__ void convolve_part(const Edge<T>& edge, const Sizes& z, const Part& part,
                                              const Fill& fill, Forwards forwards, int convolutions,
                                              int outs, double* rows, Run run, Partial partial) {
  using A = Accumulate<T>;
  using Q = Quad<A>;
  const int c = int(z.selected), step = run_pixels(c * convolutions);
  const Grouping grouping(outs);
  const int real = real_images(z.lanes(part.block), int(threadIdx.x) % kQuads);
#pragma unroll 1
  for (int begin = 0; begin < outs; begin += grouping.groups) {
    const int out = begin + grouping.group();
    Shifted<A, 2> moments;
#pragma unroll 1
    for (int first = part.first; first < part.last; first += step) {
      const int count = std::min(step, part.last - first), quads = count * kQuads;
      fill(first, count);
      __syncthreads();
#pragma unroll 1
      for (int at = grouping.slot(); at < quads && out < outs; at += grouping.slots) {
        const int64_t place = (out * z.pixels() + first) * kLanes + at * kQuad;
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          if (k == convolutions) break;
          const Forward of = forwards[k];
          const A* w = edge.weights + of.w + out * c;
          Q sum{};
#pragma unroll 4
          for (int i = 0; i < c; ++i) sum.add(w[i], run[(k * c + i) * quads + at]);
          store_quad(edge.u + of.u + place, sum);
          moments.add(k, sum, real);
        }
        ++moments.quads;
      }
      __syncthreads();
    }
    if (rows == nullptr) continue;
    double sums[kMoments];  // sum u of both, then sum u^2
    moments.totals(real, sums);
    group_sums(grouping, sums, partial, [&](int group, int i, double sum) {
      const int k = i % 2;
      if (k == convolutions || begin + group >= outs) return;
      const Forward to = forwards[k];
      rows[to.moments + begin + group + i / 2 * c] = sum;
    });
  }
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
enum FirstWork { kWorkDilated, kWorkSeparable, kWorkPools, kWorkEven, kWorkOdd };

__host__ __device__ __forceinline__ bool is_active(const Active& active, int work) {
  if (work == kWorkPools) return active.pools > 0;
  return work > kWorkPools ? active.has_norm(kNormSkip)
                           : kernels_of(active, work == kWorkDilated) != 0;
}

// x = M * h[selected]; u = pointwise(depthwise(relu(x))) of four convolutions, at stride 2 also of
// the two of FactorizedReduce, and the sums of u, u^2 and of both pools.
//
// A thread block takes the pixels of one part (blockIdx.x) of one edge (y) and one of the works
// (z). A thread makes depthwise outputs of two pixels' four images, of the 3x3 and the 5x5
// convolution of a kind from the same 30 or 35 loads of 16 bytes (pairs.cuh), which its neighbours
// in the row and the column load as well, so that all but the first come from L1; gather, M and
// ReLU cost no pass of their own. The outputs of all channels meet in shared memory, where the
// pointwise convolutions find them. Bytes: each work reads the selected channels once, c * pixels *
// 64 bytes a block of images in float32, and writes as many for each convolution, the two of
// FactorizedReduce a half each; at stride 2 the pools and the separable convolutions read four
// times as many, the others every second row and column. A second reading would come from L2. The
// works are separate blocks, although they read the same, because a cell has too few pixels to fill
// a GPU otherwise.
template <class T>
__global__ void __launch_bounds__(kCellThreads, sizeof(T) == 8 ? 1 : 2)
    first_half_kernel(const Group<T> group) {
  wait_for_preceding_grid();
  using A = Accumulate<T>;
  using Q = Quad<A>;
  ADARTS_SHARED(Q, run, kRun);
  ADARTS_SHARED(double, partial, group_sums_size(kMoments));
  ADARTS_SHARED(Forward, forwards, 2);
  const Sizes& z = group.sizes;
  const int64_t e = blockIdx.y;
  const Edge<T>& edge = group.edge[e];
  const int work = blockIdx.z;
  if (!is_active(edge.active, work)) return;
  const Part part = part_of(z, blockIdx.x);
  const ChosenPlanes<T> chosen(edge, z, part.block, int(threadIdx.x) % kQuads);
  const int c = int(z.selected);
  double* rows = moments_of(group, e, blockIdx.x);
  if (work == kWorkPools) {
    if (rows != nullptr && z.training) pool_moments(z, part, chosen, rows, partial);
    return;
  }
  const EdgeWeights at = z.weights(edge.active);
  const bool dilated = work == kWorkDilated, half = work > kWorkPools;
  const int odd = work == kWorkOdd, outs = half ? c / 2 : c;
  const int norm_three = half ? kNormSkip : dilated ? kNormDil3 : kNormSep3First;
  const int norm_five = dilated ? kNormDil5 : kNormSep5First;
  for (int left = half ? int(kThree) : kernels_of(edge.active, dilated); left != 0;) {
    const int kernels = left == kBoth && c > kMostTwins ? int(kFive) : left;
    left -= kernels;
    if (threadIdx.x < 2) {
      const bool five = threadIdx.x == 0 ? kernels != kThree : kernels == kFive;
      Forward to = forward_of(edge, z, part, five ? norm_five : norm_three, five ? 5 : 3);
      if (half)
        to = {at.skip() + odd * outs * c, to.u + odd * outs * z.pixels() * kLanes,
              to.moments + odd * outs};
      forwards[threadIdx.x] = to;
    }
    const auto fill = [&](int first, int count) {
      const Pairs pairs(first, count, int(z.width), edge.stride);
      if (half)
        pairs.template each<1>(
            c, run, [&](int a, int y, int x) { return every_second(chosen, a, y, x, odd); });
      else
        convolve_pairs(pairs, chosen, dilated, kernels, c, edge.weights,
                       int(at.depthwise(norm_five)), int(at.depthwise(norm_three)), run);
    };
    convolve_part(edge, z, part, fill, forwards, kernels == kBoth ? 2 : 1, outs, rows, run,
                  partial);
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
  return launch_dependent(first_half_kernel<T>, grid, dim3(kCellThreads), 0, stream, group);
}

template cudaError_t first_half(const Group<float>&, cudaStream_t);
template cudaError_t first_half(const Group<double>&, cudaStream_t);
template cudaError_t first_half(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
