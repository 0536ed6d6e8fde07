#include "channel_attention.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace adarts::cpu {

namespace {

// Index of the first of `n` numbers that equals `value`, without a branch.
template <class T>
ADARTS_INLINE int32_t find(const T* numbers, int32_t n, Accumulate<T> value) {
  int32_t where = n;
#pragma omp simd reduction(min : where)
  for (int32_t i = 0; i < n; ++i) {
    const int32_t here = Accumulate<T>(numbers[i]) == value ? i : n;
    where = here < where ? here : where;
  }
  return where;
}

// Sums and maxima of a run are vector loops; the position is then looked up in the run that held
// the maximum. A plane with a not-a-number in it takes the plain loop, as torch's max pooling does.
template <class T>
ADARTS_INLINE void pool_plane(const T* plane, int64_t pixels, Accumulate<T>* average,
                              Accumulate<T>* maximum, int64_t* position) {
  using A = Accumulate<T>;
  constexpr int64_t kRun = 256;
  double total = 0;
  A best = -std::numeric_limits<A>::infinity();
  int64_t best_run = 0;
  for (int64_t first = 0; first < pixels; first += kRun) {
    const int64_t last = std::min(first + kRun, pixels);
    A sum = 0, top = -std::numeric_limits<A>::infinity();
#pragma omp simd reduction(+ : sum) reduction(max : top)
    for (int64_t p = first; p < last; ++p) {
      const A value = plane[p];
      sum += value;
      top = value > top ? value : top;
    }
    total += sum;
    if (top > best) {
      best = top;
      best_run = first;
    }
  }
  int64_t where;
  if (std::isnan(total)) {
    where = 0;
    for (int64_t p = 1; p < pixels; ++p)
      if (A(plane[p]) > A(plane[where]) || std::isnan(A(plane[p]))) where = p;
  } else {
    where = best_run + find(plane + best_run, int32_t(std::min(kRun, pixels - best_run)), best);
  }
  *average = A(total / double(pixels));
  *maximum = A(plane[where]);
  *position = where;
}

// The same for interleaved memory, all channels of an image at once; rows of pixels are summed
// before they are added to the total.
template <class T>
ADARTS_INLINE void pool_image(const PoolPlanes<T>& a, int64_t n) {
  using A = Accumulate<T>;
  constexpr int64_t kRun = 64;
  const int64_t channels = a.channels, step = a.strides.channel;
  const T* image = a.x + n * a.strides.batch;
  A *average = a.average + n * channels, *maximum = a.maximum + n * channels;
  int64_t* position = a.position + n * channels;
  std::vector<double> total(channels, 0.0);
  std::vector<A> sum(channels);
  std::fill(position, position + channels, int64_t(0));
  for (int64_t c = 0; c < channels; ++c) maximum[c] = A(image[c * step]);
  for (int64_t first = 0; first < a.pixels; first += kRun) {
    const int64_t last = std::min(first + kRun, a.pixels);
    std::fill(sum.begin(), sum.end(), A(0));
    for (int64_t p = first; p < last; ++p) {
      const T* pixel = image + p * a.strides.pixel;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        const A value = pixel[c * step];
        sum[c] += value;
        const bool larger = value > maximum[c] || value != value;
        maximum[c] = larger ? value : maximum[c];
        position[c] = larger ? p : position[c];
      }
    }
    for (int64_t c = 0; c < channels; ++c) total[c] += sum[c];
  }
  for (int64_t c = 0; c < channels; ++c) average[c] = A(total[c] / double(a.pixels));
}

// The transpose of a weight, so that a layer is a sum of its rows, without horizontal sums.
template <class T>
ADARTS_INLINE std::vector<Accumulate<T>> transposed(const T* w, int64_t rows, int64_t columns) {
  std::vector<Accumulate<T>> out(rows * columns);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out[c * rows + r] = w[r * columns + c];
  return out;
}

// y = relu(sum_c x[c] * wt[c, :])
template <class A>
ADARTS_INLINE void hidden_layer(A* y, const A* wt, const A* x, int64_t columns, int64_t rows) {
  std::fill(y, y + rows, A(0));
  for (int64_t c = 0; c < columns; ++c) add_scaled(y, x[c], wt + c * rows, rows);
  for (int64_t r = 0; r < rows; ++r) y[r] = y[r] < 0 ? A(0) : y[r];
}

}  // namespace

template <class T>
ADARTS_INLINE void PoolPlanes<T>::compute(int64_t begin, int64_t end) const {
  for (int64_t n = begin; n < end; ++n) {
    if (strides.pixel == 1) {
      for (int64_t c = 0; c < channels; ++c)
        pool_plane(x + n * strides.batch + c * strides.channel, pixels, average + n * channels + c,
                   maximum + n * channels + c, position + n * channels + c);
    } else {
      pool_image(*this, n);
    }
  }
}

template <class T>
ADARTS_INLINE void ChannelAttention<T>::compute(int64_t begin, int64_t end) const {
  const std::vector<A> first = transposed(w1, hidden, channels);
  const std::vector<A> second = transposed(w2, channels, hidden);
  std::vector<A> logits(channels);
  for (int64_t n = begin; n < end; ++n) {
    A *ha = hidden_average + n * hidden, *hm = hidden_maximum + n * hidden;
    hidden_layer(ha, first.data(), average + n * channels, channels, hidden);
    hidden_layer(hm, first.data(), maximum + n * channels, channels, hidden);
    std::fill(logits.begin(), logits.end(), A(0));
    for (int64_t r = 0; r < hidden; ++r)
      add_scaled(logits.data(), ha[r] + hm[r], second.data() + r * channels, channels);
    for (int64_t c = 0; c < channels; ++c)
      scores[n * channels + c] = T(A(1) / (A(1) + std::exp(-logits[c])));
  }
}

template <class T>
ADARTS_INLINE void ChannelAttentionBackward<T>::compute(int64_t begin, int64_t end) const {
  for (int64_t n = begin; n < end; ++n) {
    A* logits = grad_logits + n * channels;
    A *ga = grad_hidden_average + n * hidden, *gm = grad_hidden_maximum + n * hidden;
    std::fill(ga, ga + hidden, A(0));
    for (int64_t c = 0; c < channels; ++c) {
      const A score = scores[n * channels + c];
      logits[c] = A(grad_scores[n * channels + c]) * score * (A(1) - score);
      const T* row = w2 + c * hidden;
#pragma omp simd
      for (int64_t r = 0; r < hidden; ++r) ga[r] += logits[c] * A(row[r]);
    }
    for (int64_t r = 0; r < hidden; ++r) {
      gm[r] = hidden_maximum[n * hidden + r] > 0 ? ga[r] : A(0);
      ga[r] = hidden_average[n * hidden + r] > 0 ? ga[r] : A(0);
    }
    if (grad_average == nullptr) continue;
    A *da = grad_average + n * channels, *dm = grad_maximum + n * channels;
    std::fill(da, da + channels, A(0));
    std::fill(dm, dm + channels, A(0));
    for (int64_t r = 0; r < hidden; ++r) {
      const T* row = w1 + r * channels;
#pragma omp simd
      for (int64_t c = 0; c < channels; ++c) {
        da[c] += ga[r] * A(row[c]);
        dm[c] += gm[r] * A(row[c]);
      }
    }
  }
}

template <class T>
ADARTS_INLINE void WeightGradient<T>::compute(int64_t begin, int64_t end) const {
  std::vector<A> sum(columns);
  for (int64_t r = begin; r < end; ++r) {
    std::fill(sum.begin(), sum.end(), A(0));
    for (int64_t n = 0; n < batch; ++n) {
      add_scaled(sum.data(), a1[n * rows + r], b1 + n * columns, columns);
      add_scaled(sum.data(), a2[n * rows + r], b2 + n * columns, columns);
    }
    for (int64_t c = 0; c < columns; ++c) out[r * columns + c] = T(sum[c]);
  }
}

template <class T>
ADARTS_INLINE void UnpoolPlanes<T>::compute(int64_t begin, int64_t end) const {
  for (int64_t n = begin; n < end; ++n) {
    const A *da = grad_average + n * channels, *dm = grad_maximum + n * channels;
    const int64_t* where = position + n * channels;
    T* image = grad_x + n * strides.batch;
    if (strides.pixel == 1) {
      for (int64_t c = 0; c < channels; ++c)
        std::fill_n(image + c * strides.channel, pixels, T(da[c] / A(pixels)));
    } else {
      for (int64_t p = 0; p < pixels; ++p) {
        T* pixel = image + p * strides.pixel;
#pragma omp simd
        for (int64_t c = 0; c < channels; ++c) pixel[c * strides.channel] = T(da[c] / A(pixels));
      }
    }
    for (int64_t c = 0; c < channels; ++c)
      image[c * strides.channel + where[c] * strides.pixel] = T(da[c] / A(pixels) + dm[c]);
  }
}

ADARTS_INSTANTIATE(PoolPlanes)
ADARTS_INSTANTIATE(ChannelAttention)
ADARTS_INSTANTIATE(ChannelAttentionBackward)
ADARTS_INSTANTIATE(WeightGradient)
ADARTS_INSTANTIATE(UnpoolPlanes)

}  // namespace adarts::cpu
