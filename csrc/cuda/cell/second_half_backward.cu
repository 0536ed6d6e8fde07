// The second halves of the separable convolutions, backward: du of their BatchNorms, dv = W^T du,
// then through the depthwise convolution and the ReLU to q, the gradient of the first half's norm.
//
// second_pointwise_kernel goes by parts of an edge's pixels, second_depthwise_kernel by planes; a
// thread holds a quad of images. Two launches, because a depthwise gradient reads its neighbours'
// dv. Bytes: each kernel says its own.
#include "launchers.cuh"
#include "pointwise_backward.cuh"

namespace adarts::cuda {

namespace {

__device__ __forceinline__ int kernel_of(int sep) { return sep == 0 ? 3 : 5; }
__device__ __forceinline__ Norm first_norm(int sep) {
  return sep == 0 ? kNormSep3First : kNormSep5First;
}
__device__ __forceinline__ Norm second_norm(int sep) { return sep == 0 ? kNormSep3 : kNormSep5; }

// dv = W^T du and dW = du v^T for both separable convolutions.
//
// blockIdx.x is a part, blockIdx.y the convolution (3x3, 5x5), blockIdx.z an edge. A block goes
// through its pixels run by run: its threads form du of all c channels from g and u, and the
// depthwise outputs v from the first half's u where weights' gradients are asked for, one quad of
// images of a pixel at a time, in shared memory; from there each thread makes four channels of dv.
// Bytes: per value of u2 it reads g and u2 and writes dv, and reads u1 through the first-level
// cache.
template <class T>
__global__ void __launch_bounds__(kCellThreads, kCellResident<T>)
    second_pointwise_kernel(const Group<T> group) {
  using A = Accumulate<T>;
  using Vector = Quad<A>;
  using Coefficients = Gradient<A>;
  ADARTS_SHARED(Vector, du, kPlaces<A>);
  ADARTS_SHARED(Vector, v, kPlaces<A>);
  ADARTS_SHARED(Coefficients, gradients, kMostChosen);
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.z];
  const Part part = part_of(z, blockIdx.x);
  const int sep = blockIdx.y, c = int(z.selected), width = int(z.width);
  if (!edge.active.has_norm(second_norm(sep))) return;
  const int quad = threadIdx.x % kQuads;
  const int64_t pixels = z.pixels(), lanes = quad * kQuad;
  ADARTS_ASSERT(c <= kMostChosen);
  for (int a = threadIdx.x; a < c; a += kCellThreads)
    gradients[a] = operation_gradient(edge, z, sep == 0 ? kSep3 : kSep5, a);
  __syncthreads();

  const Quad<A> real = real_lanes<A>(z.lanes(part.block), quad);
  const T* g = edge.grad + part.block * edge.grad_block + lanes;
  const T* u = stored_planes(edge, z, second_norm(sep), part.block) + lanes;
  const EdgeWeights at = z.weights(edge.active);
  const int64_t depthwise = at.depthwise(second_norm(sep));
  const int64_t pointwise = at.pointwise(second_norm(sep), kernel_of(sep));
  const A* taps = edge.weights + depthwise;
  A* dw = edge.grad_weights == nullptr
              ? nullptr
              : edge.grad_weights + blockIdx.x * at.count(edge.stride) + pointwise;
  const NormalisedPlanes<T> input(edge, z, first_norm(sep), part.block, quad);
  T* dv = edge.scratch + chosen_plane(z, edge.active.q_place(sep), part.block, 0);
  each_run<A>(part, c, [&](const Run& run) {
    each_quad(run, c, [&](int a, int p, int place) {
      const Coefficients gradient = gradients[a];
      du[place] = combine(gradient, load_quad(g + (edge.output[a] * pixels + p) * kLanes),
                          load_quad(u + (a * pixels + p) * kLanes), real);
      if (dw == nullptr) return;
      if (sep == 0)
        v[place] = input.template convolve<3>(a, p / width, p % width, 1, taps + a * 9);
      else
        v[place] = input.template convolve<5>(a, p / width, p % width, 1, taps + a * 25);
    });
    __syncthreads();
    put_dv(run, edge.weights + pointwise, c, c, du, dv, pixels);
    if (dw != nullptr) add_pointwise_weights(run, c, c, du, v, dw);
    __syncthreads();
  });
}

// q of one channel's pixels, its sums and the depthwise weights' gradient.
template <int K, bool kWeights, class T>
__device__ __forceinline__ void depthwise_backward(const Edge<T>& edge, const Sizes& z,
                                                   const Part& part, int sep, int a, int team,
                                                   double* sums, Accumulate<T>* grad_weights) {
  using A = Accumulate<T>;
  const int rank = threadIdx.x % team, quad = rank % kQuads, width = int(z.width);
  const int64_t c = z.selected, lanes = quad * kQuad;
  const int64_t at = z.weights(edge.active).depthwise(second_norm(sep));
  A moments[2] = {}, dw[K * K] = {};
  if (a < c) {
    const NormalisedPlanes<T> input(edge, z, first_norm(sep), part.block, quad);
    const T* u = input.plane(a);
    const A rstd = input.rstd(a);
    const Quad<A> mean = input.mean(a);
    const int64_t map = chosen_plane(z, edge.active.q_place(sep), part.block, a) + lanes;
    const T* dv = edge.scratch + map;
    T* q = edge.q + map;
    const A* taps = edge.weights + at + a * K * K;
#pragma unroll 1
    for (int p = part.first + rank / kQuads; p < part.last; p += team / kQuads) {
      const Quad<A> from = load_quad(u + int64_t(p) * kLanes);
      const Quad<A> in[1] = {input.value(rstd, mean, from)};
      Quad<A> dx[1] = {};
      transposed<K, 1, 1, 0, kWeights>(dv, int(z.height), width, p / width, p % width, taps, in, dx,
                                       dw);
      for (int i = 0; i < kQuad; ++i) dx[0][i] = in[0][i] > 0 ? dx[0][i] : A(0);
      store_quad(q + int64_t(p) * kLanes, dx[0]);
      moments[0] += dx[0].sum();
      for (int i = 0; i < kQuad; ++i) moments[1] += dx[0][i] * (from[i] - mean[i]);
    }
  }
  join_warps(spread_sums(moments), team, 2, [&](int i, double sum) {
    if (a < c) sums[(2 * sep + i) * c + a] = sum;
  });
  if (!kWeights) return;
  join_warps(spread_sums(dw), team, K * K, [&](int tap, double sum) {
    if (a < c) grad_weights[at + a * K * K + tap] += A(sum);
  });
}

// q = d L / d(first half's BatchNorm output) = [relu's input > 0] * (dv through the reversed taps),
// sums of q and of q * (u - mean), and the gradient of the taps.
//
// blockIdx.x is a part, blockIdx.y a convolution and a group of channels, blockIdx.z an edge. A
// team of threads takes a channel, a thread one quad of images of a pixel at a time; what it loads
// of dv serves q and the taps alike, whose sums it keeps in registers.
// Bytes: reads dv (K * K times, through the first-level cache) and u1 and writes q.
template <bool kWeights, class T>
__global__ void __launch_bounds__(kTeamThreads, kTeamResident<T>)
    second_depthwise_kernel(const Group<T> group) {
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.z];
  const Part part = part_of(z, blockIdx.x);
  const int team = team_of(z), sep = blockIdx.y % 2;
  if (!edge.active.has_norm(second_norm(sep))) return;
  const int a = int(blockIdx.y) / 2 * (kTeamThreads / team) + int(threadIdx.x) / team;
  double* sums = group.partial + (blockIdx.z * group.parts + blockIdx.x) * first_rows(z.selected);
  Accumulate<T>* dw =
      kWeights ? edge.grad_weights + blockIdx.x * z.weights(edge.active).count(edge.stride)
               : nullptr;
  if (sep == 0)
    depthwise_backward<3, kWeights>(edge, z, part, sep, a, team, sums, dw);
  else
    depthwise_backward<5, kWeights>(edge, z, part, sep, a, team, sums, dw);
}

}  // namespace

template <class T>
cudaError_t second_half_backward(const Group<T>& group, cudaStream_t stream) {
  const cudaError_t error = launch(second_pointwise_kernel<T>, dim3(group.parts, 2, group.edges),
                                   dim3(kCellThreads), 0, stream, group);
  if (error != cudaSuccess) return error;
  const bool weights = group.edge[0].grad_weights != nullptr;  // of all edges, or of none
  return launch(weights ? second_depthwise_kernel<true, T> : second_depthwise_kernel<false, T>,
                dim3(group.parts, 2 * team_groups(group.sizes), group.edges), dim3(kTeamThreads), 0,
                stream, group);
}

template cudaError_t second_half_backward(const Group<float>&, cudaStream_t);
template cudaError_t second_half_backward(const Group<double>&, cudaStream_t);
template cudaError_t second_half_backward(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
