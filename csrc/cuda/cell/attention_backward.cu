// Gradients of the attention's weights and pools, for all edges that leave a state, from those of
// its scores: with d logit = d M * M * (1 - M) and, by pool, unit = w1 pool and
// d unit = [unit > 0] * (w2^T d logit),
//   d pool = w1^T d unit,   d w1 = sum d unit * pool,   d w2 = sum d logit * (relu of both units).
//
// As in scores.cu the launch and its chain of reads are the time, so the work is divided among many
// blocks, although each has to make for itself what it needs of the units again.
#include <algorithm>

#include "attention.cuh"

namespace adarts::cuda {

namespace {

constexpr int kRows = 8;  // hidden units of a thread block that makes weights' gradients

// Of an edge and a block of images: what both kinds of thread blocks read.
template <class T>
struct Inputs {
  using A = Accumulate<T>;
  const A *average, *maximum;  // of channel 0
  const A *w1, *w2;
  int channels, hidden;

  __device__ __forceinline__ Inputs(const Edge<T>& edge, const Sizes& z, int64_t block)
      : average(edge.pools + block * z.channels * kLanes),
        maximum(average + z.blocks * z.channels * kLanes),
        w1(edge.weights + z.weights(edge.active).w1()),
        w2(edge.weights + z.weights(edge.active).w2()),
        channels(int(z.channels)),
        hidden(int(z.hidden)) {}
};

// logits[i * quads + k] = d logit of channel i, quad first_quad + k of a block's images. Four
// threads make a quad.
template <class T, class Logits>
__device__ __forceinline__ void put_logits(const Edge<T>& edge, const Sizes& z, int64_t block,
                                           int first_quad, int quads, Logits logits) {
  using A = Accumulate<T>;
  const int lane = int(threadIdx.x) % kWarp, count = int(z.channels) * quads * kQuad;
  for (int base = int(threadIdx.x) - lane; base < count; base += kCellThreads) {
    const int item = (base + lane) / kQuad, image = lane % kQuad;
    A logit = 0;
    if (base + lane < count) {
      const int at = item / quads * kLanes + (first_quad + item % quads) * kQuad + image;
      const A score = edge.scale[block * z.channels * kLanes + at];
      logit = scale_gradient(edge, z, block, at) * score * (A(1) - score);
    }
    Quad<A> quad;
    for (int k = 0; k < kQuad; ++k)
      quad[k] = __shfl_sync(kAllLanes, logit, lane / kQuad * kQuad + k);
    if (image == 0 && base + lane < count) logits[item] = quad;
  }
}

// Share s of an item gets the hidden unit j of pool s / 4 and image s % 4 of a quad, before its
// ReLU, and its gradient; logits[i * step + at] is that quad's d logit of channel i.
template <class T, class Logits>
__device__ __forceinline__ void unit_gradient(const Inputs<T>& in, int j, int quad, Logits logits,
                                              int step, int at, Accumulate<T>& unit,
                                              Accumulate<T>& gradient) {
  using A = Accumulate<T>;
  unit = shared_sum<2, A>(in.channels, [&](int i) {
    const int from = i * kLanes + quad * kQuad;
    return Product<A, 2>{in.w1[j * in.channels + i],
                         {load_quad(in.average + from), load_quad(in.maximum + from)}};
  });
  gradient = shared_sum<1, A>(in.channels, [&](int i) {
    const Quad<A> logit = logits[i * step + at];
    return Product<A, 1>{in.w2[i * in.hidden + j], {logit}};
  });
  gradient = unit > 0 ? gradient : A(0);
}

// d pools of a quad of images: eight lanes share a hidden unit, then a channel.
template <class T, class Vectors>
__device__ __forceinline__ void pool_gradients(const Inputs<T>& in, const Edge<T>& edge,
                                               const Sizes& z, int64_t block, int quad,
                                               Vectors vectors) {
  using A = Accumulate<T>;
  const int of_units = in.channels;  // d units, by pool, after d logits
  put_logits(edge, z, block, quad, 1, vectors);
  __syncthreads();
  each_shared(in.hidden, [&](int j, bool exists) {
    A unit, gradient;
    unit_gradient(in, j, quad, vectors, 1, 0, unit, gradient);
    put_shared<2>(gradient, exists, [&](int pool, const Quad<A>& sums) {
      vectors[of_units + pool * in.hidden + j] = sums;
    });
  });
  __syncthreads();
  each_shared(in.channels, [&](int i, bool exists) {
    const A sum = shared_sum<2, A>(in.hidden, [&](int j) {
      const Quad<A> a = vectors[of_units + j], m = vectors[of_units + in.hidden + j];
      return Product<A, 2>{in.w1[j * in.channels + i], {a, m}};
    });
    put_shared<2>(sum, exists, [&](int pool, const Quad<A>& sums) {
      store_quad(
          edge.grad_pools + ((pool * z.blocks + block) * in.channels + i) * kLanes + quad * kQuad,
          sums);
    });
  });
}

// The gradients of the weights of kRows hidden units, from `first` on, by a block of images: their
// units and d units meet in shared memory, then a thread makes the products of one channel and one
// quad of images with all of them, and four add theirs up.
template <class T, class Vectors>
__device__ __forceinline__ void weight_gradients(const Inputs<T>& in, const Edge<T>& edge,
                                                 const Sizes& z, int64_t block, int first,
                                                 Vectors vectors) {
  using A = Accumulate<T>;
  const int of_units = in.channels * kQuads, of_gradients = of_units + kRows * kQuads;
  put_logits(edge, z, block, 0, kQuads, vectors);
  __syncthreads();
  each_shared(kRows * kQuads, [&](int item, bool) {
    const int j = std::min(first + item / kQuads, in.hidden - 1), quad = item % kQuads;
    A unit, gradient;
    unit_gradient(in, j, quad, vectors, kQuads, quad, unit, gradient);
    unit = larger(unit, A(0));                            // keeps not-a-number
    unit += __shfl_xor_sync(kAllLanes, unit, kWarp / 2);  // of the other pool
    put_shared<1>(unit, true, [&](int, const Quad<A>& both) { vectors[of_units + item] = both; });
    put_shared<2>(gradient, true, [&](int pool, const Quad<A>& sums) {
      vectors[of_gradients + pool * kRows * kQuads + item] = sums;
    });
  });
  __syncthreads();
  const EdgeWeights layout = z.weights(edge.active);
  A* dw = edge.grad_weights + block * tiles_of(z) * layout.count(edge.stride);
  const int lane = int(threadIdx.x) % kWarp, quad = lane % kQuads;
  for (int base = int(threadIdx.x) - lane; base < in.channels * kQuads; base += kCellThreads) {
    const int i = (base + lane) / kQuads;
    A sums[2 * kRows] = {};  // of w1, then of w2
    if (i < in.channels) {
      const Quad<A> average = load_quad(in.average + i * kLanes + quad * kQuad);
      const Quad<A> maximum = load_quad(in.maximum + i * kLanes + quad * kQuad);
      const Quad<A> logit = vectors[i * kQuads + quad];
#pragma unroll
      for (int row = 0; row < kRows; ++row) {
        const Quad<A> unit = vectors[of_units + row * kQuads + quad];
        const Quad<A> a = vectors[of_gradients + row * kQuads + quad];
        const Quad<A> m = vectors[of_gradients + (kRows + row) * kQuads + quad];
        sums[row] = (a * average).sum() + (m * maximum).sum();
        sums[kRows + row] = (unit * logit).sum();
      }
    }
#pragma unroll
    for (int four = 0; four < 2 * kRows; four += kQuads) {
      const A of_four[] = {sums[four], sums[four + 1], sums[four + 2], sums[four + 3]};
      const A sum = spread_sums<1, kQuads>(of_four);  // of a lane's own
      const int j = first + (four + quad) % kRows;
      if (i >= in.channels || j >= in.hidden) continue;
      dw[four < kRows ? layout.w1() + j * in.channels + i : layout.w2() + i * in.hidden + j] = sum;
    }
  }
}

// blockIdx.y is an edge. The first `pools` thread blocks (x) make the pools' gradients, each of a
// quad of images, the others, where those are asked for, the weights', each of eight hidden units
// and a block of images; it leaves them in a part that is its alone and held zeros.
// Bytes (float32): the first read the weights, 8 * hidden * C, and of a quad the pools, M and d M,
// 64 * C, of a selected channel in place of d M its parts of 32 each, and write 32 * C; the others
// 64 * C of weights and four times as much of the rest, and write 64 * C.
template <class T>
__global__ void __launch_bounds__(kCellThreads, 2)
    attention_backward_kernel(const Group<T> group, const int pools) {
  wait_for_preceding_grid();
  using Vector = Quad<Accumulate<T>>;
  ADARTS_DYNAMIC_SHARED(Vector, vectors);
  const Sizes& z = group.sizes;
  const Edge<T>& edge = group.edge[blockIdx.y];
  const int number = int(blockIdx.x) - pools, blocks = int(z.blocks);
  if (number >= 0) {
    const Inputs<T> in(edge, z, number % blocks);
    weight_gradients(in, edge, z, number % blocks, number / blocks * kRows, vectors);
  } else if (edge.grad_pools != nullptr) {
    const int block = int(blockIdx.x) / kQuads, quad = int(blockIdx.x) % kQuads;
    const Inputs<T> in(edge, z, block);
    pool_gradients(in, edge, z, block, quad, vectors);
  }
}

}  // namespace

template <class T>
cudaError_t attention_backward(const Group<T>& group, cudaStream_t stream) {
  const Sizes& z = group.sizes;
  if (z.taps > 0) return taps_backward(group, stream);
  int64_t pools = 0, weights = 0, vectors = 0;
  for (int e = 0; e < group.edges; ++e)
    if (group.edge[e].grad_pools != nullptr) pools = z.blocks * kQuads;
  if (pools > 0) vectors = z.channels + 2 * z.hidden;
  if (group.edge[0].grad_weights != nullptr) {  // of all edges, or of none
    weights = z.blocks * divide_up(z.hidden, kRows);
    vectors = std::max(vectors, z.channels * kQuads + 3 * kRows * kQuads);
  }
  const size_t bytes = vectors * sizeof(Quad<Accumulate<T>>);
  const cudaError_t error = ask(attention_backward_kernel<T>, bytes);
  if (error != cudaSuccess) return error;
  return launch_dependent(attention_backward_kernel<T>, dim3(pools + weights, group.edges),
                          dim3(kCellThreads), bytes, stream, group, int(pools));
}

template cudaError_t attention_backward(const Group<float>&, cudaStream_t);
template cudaError_t attention_backward(const Group<double>&, cudaStream_t);
template cudaError_t attention_backward(const Group<c10::BFloat16>&, cudaStream_t);

}  // namespace adarts::cuda
