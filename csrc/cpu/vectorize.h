// What the CPU kernels share: a copy of each for every x86-64 level, and small vector loops.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "../accumulate.h"
#include "level.h"

#define ADARTS_INLINE inline __attribute__((always_inline))

// Instantiates a kernel class for every dtype the operators take: run() is compute() at the level
// chosen.
#define ADARTS_INSTANTIATE(kernel)                                                 \
  template <class T>                                                               \
  void kernel<T>::run(int64_t begin, int64_t end) const {                          \
    at_level([=, this]() __attribute__((always_inline)) { compute(begin, end); }); \
  }                                                                                \
  template struct kernel<float>;                                                   \
  template struct kernel<double>;                                                  \
  template struct kernel<c10::BFloat16>;                                           \
  template struct kernel<c10::Half>;

namespace adarts::cpu {

// Calls f, which must be always inlined, compiled for the level chosen: AVX2 or AVX-512 where there
// is one.
#if ADARTS_LEVELS
template <class F>
__attribute__((target("arch=x86-64-v4"))) void at_v4(const F& f) {
  f();
}
template <class F>
__attribute__((target("arch=x86-64-v3"))) void at_v3(const F& f) {
  f();
}
#endif
template <class F>
void at_level(const F& f) {
#if ADARTS_LEVELS
  if (level() == Level::kV4) return at_v4(f);
  if (level() == Level::kV3) return at_v3(f);
#endif
  f();
}

// A feature map (N, C, H*W) by its strides, in elements. `pixel` is 1 for planar memory (NCHW) and
// `channel` is 1 for interleaved memory (channels_last); the batch stride is free, so slices of
// the batch or of the channels need no copy.
struct Strides {
  int64_t batch;
  int64_t channel;
  int64_t pixel;
};

// Sum of products. Short runs are summed in A, the runs in double, so that the error does not grow
// with the length.
template <class A, class T>
ADARTS_INLINE double dot(const T* a, const T* b, int64_t n) {
  constexpr int64_t kRun = 512;
  double total = 0;
  for (int64_t first = 0; first < n; first += kRun) {
    const int64_t last = first + kRun < n ? first + kRun : n;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = first; i < last; ++i) sum += A(a[i]) * A(b[i]);
    total += sum;
  }
  return total;
}

// y += a * x
template <class A>
ADARTS_INLINE void add_scaled(A* y, A a, const A* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += a * x[i];
}

// y = a * x, in the accumulation type
template <class A, class T>
ADARTS_INLINE void copy_scaled(T* y, A a, const T* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = T(a * A(x[i]));
}

}  // namespace adarts::cpu
