#include "mixed_sum.h"

#include <algorithm>

#include "vectorize.h"

namespace adarts::cpu {

// A block of the output stays in the first-level cache while four inputs at a time are added to it:
// every input is read once, the output written once.
template <class T>
ADARTS_INLINE void MixedSum<T>::compute(int64_t begin, int64_t end) const {
  using A = Accumulate<T>;
  constexpr int64_t kBlock = 1024;
  A sum[kBlock];
  for (int64_t first = begin; first < end; first += kBlock) {
    const int64_t n = std::min(kBlock, end - first);
    std::fill(sum, sum + n, A(0));
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
      const T *a = inputs[i] + first, *b = inputs[i + 1] + first;
      const T *c = inputs[i + 2] + first, *d = inputs[i + 3] + first;
      const A wa = weights[i], wb = weights[i + 1], wc = weights[i + 2], wd = weights[i + 3];
#pragma omp simd
      for (int64_t e = 0; e < n; ++e)
        sum[e] += wa * A(a[e]) + wb * A(b[e]) + wc * A(c[e]) + wd * A(d[e]);
    }
    for (; i < count; ++i) {
      const T* a = inputs[i] + first;
      const A wa = weights[i];
#pragma omp simd
      for (int64_t e = 0; e < n; ++e) sum[e] += wa * A(a[e]);
    }
#pragma omp simd
    for (int64_t e = 0; e < n; ++e) out[first + e] = T(sum[e]);
  }
}

// A chunk of the gradient stays in the first-level cache while it is used for every input: each
// tensor is read once. The chunks, and so the sums, do not depend on the number of threads.
template <class T>
ADARTS_INLINE void MixedSumBackward<T>::compute(int64_t begin, int64_t end) const {
  using A = Accumulate<T>;
  for (int64_t chunk = begin; chunk < end; ++chunk) {
    const int64_t first = chunk * kMixedSumChunk;
    const int64_t n = std::min(kMixedSumChunk, size - first);
    for (int64_t i = 0; i < count; ++i) {
      if (partial != nullptr)
        partial[chunk * count + i] = dot<A>(grad + first, inputs[i] + first, n);
      if (grad_inputs[i] != nullptr)
        copy_scaled(grad_inputs[i] + first, A(weights[i]), grad + first, n);
    }
  }
}

ADARTS_INSTANTIATE(MixedSum)
ADARTS_INSTANTIATE(MixedSumBackward)

}  // namespace adarts::cpu
