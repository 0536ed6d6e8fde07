// What the search cell's convolutions read: the chosen channels of a state, and runs of pixels in
// shared memory.
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

// A thread block holds a run of pixels of all channels in shared memory, as Quad<A>
// [channel][pixel of the run][quad]: at most kRun quads.
constexpr int kRun = 1024;
static_assert(kMostSelected == kRun / kQuads);

}  // namespace adarts::cuda
