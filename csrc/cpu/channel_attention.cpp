#include "channel_attention.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace adarts::cpu {

namespace {

// Sums and maxima of a run are vector loops; the position is then looked up where the run held a
// new maximum. A plane with a not-a-number in it takes the plain loop, as torch's max pooling does.
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
  int64_t where = best_run;
  if (std::isnan(total)) {
    where = 0;
    for (int64_t p = 1; p < pixels; ++p)
      if (A(plane[p]) > A(plane[where]) || std::isnan(A(plane[p]))) where = p;
  } else {
    while (A(plane[where]) != best) ++where;
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

// y[r] = relu(sum_c w[r, c] * x[c])
template <class A, class T>
ADARTS_INLINE void hidden_layer(A* y, const T* w, const A* x, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < columns; ++c) sum += A(w[r * columns + c]) * x[c];
    y[r] = sum > 0 || sum != sum ? sum : A(0);
  }
}

}  // namespace

template <class T>
ADARTS_MULTIVERSION void PoolPlanes<T>::run(int64_t begin, int64_t end) const {
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
ADARTS_MULTIVERSION void ChannelAttention<T>::run(int64_t begin, int64_t end) const {
  for (int64_t n = begin; n < end; ++n) {
    A *ha = hidden_average + n * hidden, *hm = hidden_maximum + n * hidden;
    hidden_layer(ha, w1, average + n * channels, hidden, channels);
    hidden_layer(hm, w1, maximum + n * channels, hidden, channels);
    for (int64_t c = 0; c < channels; ++c) {
      A logit = 0;
#pragma omp simd reduction(+ : logit)
      for (int64_t r = 0; r < hidden; ++r) logit += A(w2[c * hidden + r]) * (ha[r] + hm[r]);
      scores[n * channels + c] = T(A(1) / (A(1) + std::exp(-logit)));
    }
  }
}

template <class T>
ADARTS_MULTIVERSION void ChannelAttentionBackward<T>::run(int64_t begin, int64_t end) const {
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
ADARTS_MULTIVERSION void WeightGradient<T>::run(int64_t begin, int64_t end) const {
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
ADARTS_MULTIVERSION void UnpoolPlanes<T>::run(int64_t begin, int64_t end) const {
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
