// What the convolutions of image blocks read, and pointwise ones, as the search cell's kernels
// share them.
#pragma once

#include "lanes.cuh"
#include "launchers.cuh"

namespace adarts::cuda {

// The chosen channels of a state, the input of the first halves: relu(M * h). Scores are never
// negative, so relu(M * h) = M * relu(h), and M is multiplied once to the sum.
template <class T>
struct ChosenPlanes {
  using A = Accumulate<T>;
  const T* state;  // of the block of images, at the thread's lanes
  const A* scale;  // likewise, or null
  const int32_t* selected;
  int height, width, stride;  // of the state

  __device__ __forceinline__ ChosenPlanes(const Edge<T>& edge, const Sizes& z, int64_t block,
                                          int quad)
      : state(edge.state + block * edge.state_block + quad * kQuad),
        scale(edge.scale == nullptr ? nullptr
                                    : edge.scale + block * z.channels * kLanes + quad * kQuad),
        selected(edge.selected),
        height(int(z.height) * edge.stride),
        width(int(z.width) * edge.stride),
        stride(edge.stride) {}

  __device__ __forceinline__ const T* plane(int a) const {
    return state + int64_t(selected[a]) * (int64_t(height) * width) * kLanes;
  }
  // M of chosen channel a.
  __device__ __forceinline__ Quad<A> factor(int a) const {
    return scale == nullptr ? splat(A(1)) : load_quad(scale + int64_t(selected[a]) * kLanes);
  }
};

// u of a norm of an edge for one block of images: c planes.
template <class T>
__device__ __forceinline__ T* stored_planes(const Edge<T>& edge, const Sizes& z, int norm,
                                            int64_t block) {
  const int64_t place = edge.active.stored_place(norm);
  return edge.u + (place * z.blocks + block) * z.selected * z.pixels() * kLanes;
}

// A thread block holds a run of pixels of all channels in shared memory, as Quad<A>
// [channel][pixel of the run][quad]: at most kRun quads.
constexpr int kRun = 1024;
static_assert(kMostSelected == kRun / kQuads);

// The pixels of a run.
__host__ __device__ constexpr int run_pixels(int64_t channels) {
  return int(channels < kMostSelected ? kMostSelected / channels : 1);
}

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
  // True where the pixel has changed. Mostly it does not: a step leads to another channel.
  __device__ __forceinline__ bool next() {
    channel += channels_on;
    if (quads_on == 0) return false;
    quad += quads_on;
    if (quad >= quads) {
      quad -= quads;
      ++channel;
    }
    return true;
  }
};

// out[k] = sum_i w[k * out_step + i * in_step] * in[i] for kOuts outputs at a place of a run, of
// which `outs` exist: the others are as the last. `in` is the run in shared memory, `at` the place
// of channel 0 in it and `channel_step` the quads of a channel.
template <int kOuts, class A, class Run>
__device__ __forceinline__ void pointwise(const A* __restrict__ w, int out_step, int in_step,
                                          int outs, int ins, Run in, int at, int channel_step,
                                          Quad<A> (&out)[kOuts]) {
  const A* row[kOuts];
#pragma unroll
  for (int k = 0; k < kOuts; ++k) {
    row[k] = w + (k < outs ? k : outs - 1) * out_step;
    out[k] = Quad<A>{};
  }
#pragma unroll 2
  for (int i = 0; i < ins; ++i) {
    const Quad<A> from = in[at + i * channel_step];
#pragma unroll
    for (int k = 0; k < kOuts; ++k) out[k].add(row[k][i * in_step], from);
  }
}

}  // namespace adarts::cuda
