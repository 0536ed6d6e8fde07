// How kernels reach memory: groups of elements that are read or written at once, and feature maps
// by their strides.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../../accumulate.h"
#include "portable.cuh"

namespace adarts::cuda {

__host__ __device__ __forceinline__ constexpr int64_t divide_up(int64_t count, int64_t by) {
  return (count + by - 1) / by;
}

// N neighbouring elements that are read or written by one instruction.
template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T value[N];

  __host__ __device__ __forceinline__ T& operator[](int i) { return value[i]; }
  __host__ __device__ __forceinline__ const T& operator[](int i) const { return value[i]; }
};

// The number of elements in 16 bytes, the widest access there is.
template <class T>
constexpr int kPack = 16 / sizeof(T);

template <int N, class T>
__device__ __forceinline__ Pack<T, N> load(const T* from) {
  ADARTS_ALIGNED(from, sizeof(Pack<T, N>));
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

// Eight and sixteen bytes are written as one number: nvcc divides the store of a struct into stores
// of its members where it loses sight of the alignment.
template <int N, class T>
__device__ __forceinline__ void store(T* to, const Pack<T, N>& pack) {
  ADARTS_ALIGNED(to, sizeof(pack));
  if constexpr (sizeof(pack) == 8 || sizeof(pack) == 16) {
    using Bits = std::conditional_t<sizeof(T) == 2, uint16_t,
                                    std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>;
    using Word [[gnu::may_alias]] =
        std::conditional_t<sizeof(pack) == 8, uint64_t, unsigned __int128>;
    constexpr int kOfHalf = 8 / sizeof(T);
    uint64_t half[sizeof(pack) / 8] = {};
    for (int i = 0; i < N; ++i) {
      Bits bits;
      memcpy(&bits, &pack.value[i], sizeof(T));
      half[i / kOfHalf] |= uint64_t(bits) << (i % kOfHalf * 8 * sizeof(T));
    }
    Word word = half[0];
    if constexpr (sizeof(pack) == 16) word |= Word(half[1]) << 64;
    *reinterpret_cast<Word*>(to) = word;
  } else {
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
  }
}

// A sum over more inputs than one launch takes begins with what the launches before have left.
template <int N, class A>
__device__ __forceinline__ void begin_sum(const A* before, int64_t at, A (&sum)[N]) {
  if (before == nullptr) return;
  const Pack<A, N> pack = load<N>(before + at);
  for (int e = 0; e < N; ++e) sum[e] = pack[e];
}

// It is left for the next launch, or rounded in the last.
template <int N, class A, class T>
__device__ __forceinline__ void end_sum(const A (&sum)[N], A* after, T* out, int64_t at) {
  if (after != nullptr) {
    Pack<A, N> pack;
    for (int e = 0; e < N; ++e) pack[e] = sum[e];
    store(after + at, pack);
    return;
  }
  Pack<T, N> pack;
  for (int e = 0; e < N; ++e) pack[e] = T(sum[e]);
  store(out + at, pack);
}

inline bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// A feature map (N, C, H*W) in memory, or a null pointer where there is none. `pixel` is 1 for
// planar memory (NCHW) and `channel` is 1 for interleaved memory (channels_last).
template <class T>
struct Map {
  T* data = nullptr;
  int64_t batch = 0, channel = 0, pixel = 0;  // strides in elements

  __device__ __forceinline__ T* at(int64_t n, int64_t c, int64_t p) const {
    return data + n * batch + c * channel + p * pixel;
  }

  bool interleaved() const { return data == nullptr || (channel == 1 && pixel != 1); }

  // Whether packs of 16 bytes run along the `pixels` of a plane and start aligned in all planes.
  bool packs_of_pixels(int64_t pixels) const {
    return data == nullptr ||
           (pixel == 1 && aligned(data) && whole(batch) && whole(channel) && whole(pixels));
  }

  // Whether packs of 16 bytes run along the `channels` of a pixel and start aligned in all pixels.
  bool packs_of_channels(int64_t channels) const {
    return data == nullptr ||
           (channel == 1 && aligned(data) && whole(batch) && whole(pixel) && whole(channels));
  }

 private:
  static bool whole(int64_t elements) { return elements % kPack<T> == 0; }
};

}  // namespace adarts::cuda
