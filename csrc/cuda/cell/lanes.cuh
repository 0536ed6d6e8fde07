// How the search cell's kernels hold image blocks (csrc/cell.h): a thread holds four of the
// 16 images of a pixel, one access of 16 bytes in float32, and four threads hold a pixel. A warp
// then covers eight neighbouring pixels of a row, 512 bytes in a row, and needs no shuffle for
// windows.
#pragma once

#include <type_traits>

#include "../../cell_math.h"
#include "../../preprocess.h"
#include "../device/access.cuh"
#include "../device/dependent_launch.cuh"

namespace adarts::cuda {

using namespace cell;  // Sizes, Edge, Group, ...

constexpr int kQuad = 4;                // images of a thread
constexpr int kQuads = kLanes / kQuad;  // threads of a pixel
constexpr int kCellThreads = 256;       // of a block
constexpr int kWarps = kCellThreads / kWarp;

template <class A>
struct alignas(16) Quad {
  A value[kQuad];

  __host__ __device__ __forceinline__ A& operator[](int i) { return value[i]; }
  __host__ __device__ __forceinline__ const A& operator[](int i) const { return value[i]; }

  __device__ __forceinline__ Quad& operator+=(const Quad& other) {
    for (int i = 0; i < kQuad; ++i) value[i] += other[i];
    return *this;
  }
  // this += factor * other
  __device__ __forceinline__ void add(A factor, const Quad& other) {
    for (int i = 0; i < kQuad; ++i) value[i] += factor * other[i];
  }
  __device__ __forceinline__ void add(const Quad& factor, const Quad& other) {
    for (int i = 0; i < kQuad; ++i) value[i] += factor[i] * other[i];
  }
  __device__ __forceinline__ A sum() const { return (value[0] + value[1]) + (value[2] + value[3]); }
};

template <class A>
__device__ __forceinline__ Quad<A> splat(A value) {
  return {{value, value, value, value}};
}

template <class A>
__device__ __forceinline__ Quad<A> operator*(Quad<A> a, const Quad<A>& b) {
  for (int i = 0; i < kQuad; ++i) a[i] *= b[i];
  return a;
}

template <class A>
__device__ __forceinline__ Quad<A> operator*(A factor, Quad<A> quad) {
  for (int i = 0; i < kQuad; ++i) quad[i] *= factor;
  return quad;
}

template <class A>
__device__ __forceinline__ Quad<A> operator-(Quad<A> a, const Quad<A>& b) {
  for (int i = 0; i < kQuad; ++i) a[i] -= b[i];
  return a;
}

// The larger number, or a not-a-number where one is. In float32 that is one instruction.
template <class A>
__device__ __forceinline__ A larger(A a, A b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<A, float>) {
    asm("max.NaN.f32 %0, %0, %1;" : "+f"(a) : "f"(b));
    return a;
  }
#endif
  return a > b || a != a ? a : b;
}

// As torch's relu, a not-a-number stays one.
template <class A>
__device__ __forceinline__ Quad<A> relu(Quad<A> quad) {
  for (int i = 0; i < kQuad; ++i) quad[i] = larger(quad[i], A(0));
  return quad;
}

// As torch's maximum: a not-a-number is larger than everything.
template <class A>
__device__ __forceinline__ Quad<A> larger(Quad<A> a, const Quad<A>& b) {
  for (int i = 0; i < kQuad; ++i) a[i] = larger(a[i], b[i]);
  return a;
}

// 1 in the lanes of images, 0 beyond the batch; `lanes` are the images of the block.
template <class A>
__device__ __forceinline__ Quad<A> real_lanes(int64_t lanes, int quad) {
  Quad<A> real;
  for (int i = 0; i < kQuad; ++i) real[i] = quad * kQuad + i < lanes ? A(1) : A(0);
  return real;
}

// Real images of a thread's quad.
__device__ __forceinline__ int real_images(int64_t lanes, int quad) {
  const int64_t left = lanes - quad * kQuad;
  return int(left < 0 ? 0 : left < kQuad ? left : kQuad);
}

// A bfloat16 is the upper half of a float: an instruction for each is enough. By its own conversion
// those of the upper halves take two, for nvcc first takes the words apart.
template <class T>
__device__ __forceinline__ Quad<Accumulate<T>> quad_of(const Pack<T, kQuad>& pack) {
  Quad<Accumulate<T>> quad;
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    uint32_t words[kQuad / 2];
    memcpy(words, &pack, sizeof(words));
    for (int i = 0; i < kQuad; ++i) {
      const uint32_t bits = i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u;
      memcpy(&quad[i], &bits, sizeof(bits));
    }
  } else {
    for (int i = 0; i < kQuad; ++i) quad[i] = Accumulate<T>(pack[i]);
  }
  return quad;
}

template <class T>
__device__ __forceinline__ Quad<Accumulate<T>> load_quad(const T* from) {
  return quad_of<T>(load<kQuad>(from));
}

template <class T>
__device__ __forceinline__ void store_quad(T* to, const Quad<Accumulate<T>>& quad) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<T, c10::BFloat16>) {  // an instruction rounds two
    Pack<uint32_t, kQuad / 2> words;
    for (int i = 0; i < kQuad / 2; ++i)
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;"
          : "=r"(words[i])
          : "f"(quad[2 * i + 1]), "f"(quad[2 * i]));
    store(reinterpret_cast<uint32_t*>(to), words);
  } else
#endif
  {
    Pack<T, kQuad> pack;
    for (int i = 0; i < kQuad; ++i) pack[i] = T(quad[i]);
    store(to, pack);
  }
}

// A pointer to which offsets are added as they are: the compiler would rather add them to the
// offset that it was made of, which takes three times as many instructions.
template <class T>
__device__ __forceinline__ T* pinned(T* pointer) {
#if defined(__CUDA_ARCH__)
  asm("" : "+l"(pointer));
  __builtin_assume(__isGlobal(pointer));
#endif
  return pointer;
}

// The part of a launch that a thread block works on: pixels first ... last - 1 of one block of
// images. A group's phases leave their sums in blocks * tiles parts, numbered so.
struct Part {
  int block, first, last;
};

// Into how many parts the pixels of a block of images are divided: about 64 parts in all, none with
// less than a value of a thread block's threads each. Depends on the shape only.
__host__ __device__ inline int64_t tiles_of(const Sizes& z) {
  const int64_t wanted = z.blocks < 64 ? 64 / unsigned(z.blocks) : 1;
  const int64_t most = divide_up(z.pixels() * z.selected * kQuads, kCellThreads);
  return wanted < most ? wanted : most;
}

// Part number `part` where a block of images has so many. Numbers of 32 bits: a division of 64
// takes three times as many instructions.
__device__ __forceinline__ Part part_of(const Sizes& z, unsigned part, unsigned tiles) {
  const unsigned pixels = unsigned(z.pixels()), tile = part % tiles;
  return {int(part / tiles), int(pixels * tile / tiles), int(pixels * (tile + 1) / tiles)};
}
__device__ __forceinline__ Part part_of(const Sizes& z, unsigned part) {
  return part_of(z, part, unsigned(tiles_of(z)));
}

}  // namespace adarts::cuda
