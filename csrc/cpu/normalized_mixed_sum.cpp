#include "normalized_mixed_sum.h"

#include <cmath>

namespace adarts::cpu {

namespace {

constexpr int64_t kRun = 512;  // values whose sums are made in A, before they go on in double

struct Moments {
  double sum, squares;
};

// The sum of distances from an origin and that of their squares.
template <class A, class T>
ADARTS_INLINE Moments moments_around(const T* x, A origin, int64_t n) {
  Moments total{};
  for (int64_t first = 0; first < n; first += kRun) {
    const int64_t last = std::min(n, first + kRun);
    A sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum, squares)
    for (int64_t i = first; i < last; ++i) {
      const A apart = A(x[i]) - origin;
      sum += apart;
      squares += apart * apart;
    }
    total.sum += sum;
    total.squares += squares;
  }
  return total;
}

// The sum of g * (x - mean).
template <class A, class T>
ADARTS_INLINE double product_around(const T* g, const T* x, A mean, int64_t n) {
  double total = 0;
  for (int64_t first = 0; first < n; first += kRun) {
    const int64_t last = std::min(n, first + kRun);
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = first; i < last; ++i) sum += A(g[i]) * (A(x[i]) - mean);
    total += sum;
  }
  return total;
}

// The images of an item, and its channel.
struct Item {
  int64_t channel, begin, end;

  Item(const Planes& planes, int64_t item)
      : channel(item % planes.channels),
        begin(item / planes.channels * planes.chunk()),
        end(std::min(planes.images, begin + planes.chunk())) {}
};

}  // namespace

// A chunk of a channel is small enough to be read from a cache the second time. The mean of the
// first reading is rounded; what it misses is made good by the sum of the second.
template <class T>
ADARTS_INLINE void ChunkMoments<T>::compute(int64_t begin, int64_t end) const {
  using A = Accumulate<T>;
  for (int64_t task = begin; task < end; ++task) {
    const T* x = inputs[task / planes.items()];
    const Item item(planes, task % planes.items());
    const auto plane = [&](int64_t n) {
      return x + (n * planes.channels + item.channel) * planes.pixels;
    };
    const double count = double(item.end - item.begin) * planes.pixels;
    const A origin = *plane(item.begin);
    double apart = 0, sum = 0, squares = 0;
    for (int64_t n = item.begin; n < item.end; ++n)
      apart += moments_around(plane(n), origin, planes.pixels).sum;
    const A mean = A(origin + apart / count);
    for (int64_t n = item.begin; n < item.end; ++n) {
      const Moments moments = moments_around(plane(n), mean, planes.pixels);
      sum += moments.sum;
      squares += moments.squares;
    }
    partial[2 * task] = mean + sum / count;
    partial[2 * task + 1] = squares - sum * sum / count;
  }
}

template <class T>
void finish_moments(const double* partial, const Planes& planes, double eps, Accumulate<T>* norm) {
  const double values = double(planes.values());
  const auto values_of = [&](const Item& item) {
    return double(item.end - item.begin) * planes.pixels;
  };
  for (int64_t c = 0; c < planes.channels; ++c) {
    double mean = 0, squares = 0;
    for (int64_t i = c; i < planes.items(); i += planes.channels)
      mean += partial[2 * i] * (values_of(Item(planes, i)) / values);
    for (int64_t i = c; i < planes.items(); i += planes.channels) {
      const double apart = partial[2 * i] - mean;
      squares += partial[2 * i + 1] + values_of(Item(planes, i)) * apart * apart;
    }
    norm[c] = Accumulate<T>(mean);
    norm[planes.channels + c] = Accumulate<T>(1 / std::sqrt(squares / values + eps));
    norm[2 * planes.channels + c] = Accumulate<T>(squares / std::max(values - 1, 1.0));
  }
}

// A block of a plane stays in the first-level cache while four inputs at a time are added to it:
// every input is read once, the output written once.
template <class T>
ADARTS_INLINE void NormalizedMixedSum<T>::compute(int64_t begin, int64_t end) const {
  using A = Accumulate<T>;
  constexpr int64_t kBlock = 1024;
  A sum[kBlock];
  for (int64_t plane = begin; plane < end; ++plane) {
    const A* factor = factors + plane % planes.channels;
    const A* mean = means + plane % planes.channels;
    const int64_t step = planes.channels;
    for (int64_t p = 0; p < planes.pixels; p += kBlock) {
      const int64_t first = plane * planes.pixels + p, n = std::min(kBlock, planes.pixels - p);
      std::fill(sum, sum + n, A(0));
      int64_t i = 0;
      for (; i + 4 <= count; i += 4) {
        const T *a = inputs[i] + first, *b = inputs[i + 1] + first;
        const T *c = inputs[i + 2] + first, *d = inputs[i + 3] + first;
        const A fa = factor[i * step], fb = factor[(i + 1) * step];
        const A fc = factor[(i + 2) * step], fd = factor[(i + 3) * step];
        const A ma = mean[i * step], mb = mean[(i + 1) * step];
        const A mc = mean[(i + 2) * step], md = mean[(i + 3) * step];
#pragma omp simd
        for (int64_t e = 0; e < n; ++e)
          sum[e] +=
              fa * (A(a[e]) - ma) + fb * (A(b[e]) - mb) + fc * (A(c[e]) - mc) + fd * (A(d[e]) - md);
      }
      for (; i < count; ++i) {
        const T* a = inputs[i] + first;
        const A fa = factor[i * step], ma = mean[i * step];
#pragma omp simd
        for (int64_t e = 0; e < n; ++e) sum[e] += fa * (A(a[e]) - ma);
      }
#pragma omp simd
      for (int64_t e = 0; e < n; ++e) out[first + e] = T(sum[e]);
    }
  }
}

template <class T>
ADARTS_INLINE void ChunkProducts<T>::compute(int64_t begin, int64_t end) const {
  using A = Accumulate<T>;
  for (int64_t task = begin; task < end; ++task) {
    const Item item(planes, task);
    double* to = partial + task * (1 + count);
    std::fill(to, to + 1 + count, 0.0);
    for (int64_t n = item.begin; n < item.end; ++n) {
      const int64_t first = (n * planes.channels + item.channel) * planes.pixels;
      to[0] += moments_around(grad + first, A(0), planes.pixels).sum;
      for (int64_t i = 0; i < count; ++i)
        to[1 + i] += product_around(grad + first, inputs[i] + first,
                                    means[i * planes.channels + item.channel], planes.pixels);
    }
  }
}

template <class T>
ADARTS_INLINE void NormalizedMixedSumBackward<T>::compute(int64_t begin, int64_t end) const {
  using A = Accumulate<T>;
  for (int64_t plane = begin; plane < end; ++plane) {
    const int64_t first = plane * planes.pixels;
    const T* g = grad + first;
    for (int64_t i = 0; i < count; ++i) {
      if (grad_inputs[i] == nullptr) continue;
      const InputGradient<T> a = gradients[i * planes.channels + plane % planes.channels];
      // Without `omp simd`, which keeps the stores of half types from being vectors.
      T* __restrict to = grad_inputs[i] + first;
      if (a.slope == 0) {
        for (int64_t e = 0; e < planes.pixels; ++e) to[e] = T(a.factor * (A(g[e]) - a.offset));
        continue;
      }
      const T* x = inputs[i] + first;
      for (int64_t e = 0; e < planes.pixels; ++e)
        to[e] = T(a.factor * (A(g[e]) - a.offset) + a.slope * (A(x[e]) - a.mean));
    }
  }
}

#define ADARTS_INSTANTIATE_FUNCTION(T) \
  template void finish_moments<T>(const double*, const Planes&, double, Accumulate<T>*);

ADARTS_INSTANTIATE(ChunkMoments)
ADARTS_INSTANTIATE(NormalizedMixedSum)
ADARTS_INSTANTIATE(ChunkProducts)
ADARTS_INSTANTIATE(NormalizedMixedSumBackward)
ADARTS_INSTANTIATE_FUNCTION(float)
ADARTS_INSTANTIATE_FUNCTION(double)
ADARTS_INSTANTIATE_FUNCTION(c10::BFloat16)
ADARTS_INSTANTIATE_FUNCTION(c10::Half)

}  // namespace adarts::cpu
