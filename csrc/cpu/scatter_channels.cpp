#include "scatter_channels.h"

#include <algorithm>

namespace adarts::cpu {

namespace {

template <class T>
ADARTS_INLINE void copy_strided(T* to, int64_t to_stride, const T* from, int64_t from_stride,
                                int64_t n) {
  if (to_stride == 1 && from_stride == 1) {
    std::copy(from, from + n, to);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

// The later value wins only if it is larger or not a number, as in torch's max pooling.
template <class A>
ADARTS_INLINE bool beats(A later, A best) {
  return later > best || later != later;
}

// Which of the four pixels of a 2x2 window is its maximum after scaling: the first of the largest,
// as 2 * row + column.
template <class A, class T>
ADARTS_INLINE int winner(const T* window, int64_t pixel, int64_t row, A factor) {
  int best = 0;
  A value = factor * A(window[0]);
  for (int i = 1; i < 4; ++i) {
    const A other = factor * A(window[(i >> 1) * row + (i & 1) * pixel]);
    if (beats(other, value)) {
      value = other;
      best = i;
    }
  }
  return best;
}

template <class T>
ADARTS_INLINE void pool_plane(T* to, int64_t to_pixel, const T* from, int64_t from_pixel,
                              const ScatterShape& shape, Accumulate<T> factor) {
  using A = Accumulate<T>;
  const int64_t row = shape.width * from_pixel;
  for (int64_t i = 0; i < shape.out_height(); ++i) {
    for (int64_t j = 0; j < shape.out_width(); ++j) {
      const T* window = from + 2 * (i * row + j * from_pixel);
      A best = factor * A(window[0]);
      const A others[3] = {factor * A(window[from_pixel]), factor * A(window[row]),
                           factor * A(window[row + from_pixel])};
      for (const A other : others) best = beats(other, best) ? other : best;
      to[(i * shape.out_width() + j) * to_pixel] = T(best);
    }
  }
}

}  // namespace

template <class T>
ADARTS_INLINE void ScatterChannels<T>::compute(int64_t begin, int64_t end) const {
  using A = Accumulate<T>;
  const int64_t pixels = shape.out_height() * shape.out_width();
  for (int64_t row = begin; row < end; ++row) {
    const int64_t n = row / shape.channels, c = row % shape.channels;
    T* to = out + n * out_strides.batch + c * out_strides.channel;
    const T* from = x + n * x_strides.batch + c * x_strides.channel;
    if (place[c] >= 0) {
      const T* chosen = update + n * update_strides.batch + place[c] * update_strides.channel;
      copy_strided(to, out_strides.pixel, chosen, update_strides.pixel, pixels);
    } else if (shape.stride == 2) {
      const A factor = scale == nullptr ? A(1) : A(scale[row]);
      if (x_strides.pixel == 1 && out_strides.pixel == 1) {
        pool_plane(to, 1, from, 1, shape, factor);
      } else {
        pool_plane(to, out_strides.pixel, from, x_strides.pixel, shape, factor);
      }
    } else if (scale == nullptr) {
      copy_strided(to, out_strides.pixel, from, x_strides.pixel, pixels);
    } else if (x_strides.pixel == 1 && out_strides.pixel == 1) {
      copy_scaled(to, A(scale[row]), from, pixels);
    } else {
      for (int64_t p = 0; p < pixels; ++p)
        to[p * out_strides.pixel] = T(A(scale[row]) * A(from[p * x_strides.pixel]));
    }
  }
}

namespace {

// Gradients of one plane that passed by at stride 1.
template <class T>
ADARTS_INLINE double backward_pass(T* grad_x, int64_t grad_x_pixel, const T* grad,
                                   int64_t grad_pixel, const T* x, int64_t x_pixel,
                                   Accumulate<T> factor, bool need_scale, int64_t pixels) {
  using A = Accumulate<T>;
  if (grad_pixel == 1 && x_pixel == 1 && (grad_x == nullptr || grad_x_pixel == 1)) {
    if (grad_x != nullptr) copy_scaled(grad_x, factor, grad, pixels);
    return need_scale ? dot<A>(grad, x, pixels) : 0;
  }
  double sum = 0;
  for (int64_t p = 0; p < pixels; ++p) {
    const A g = grad[p * grad_pixel];
    if (grad_x != nullptr) grad_x[p * grad_x_pixel] = T(factor * g);
    if (need_scale) sum += g * A(x[p * x_pixel]);
  }
  return sum;
}

// Gradients of one plane that went through the 2x2 max pool: only the winners get any.
template <class T>
ADARTS_INLINE double backward_pool(T* grad_x, int64_t grad_x_pixel, const T* grad,
                                   int64_t grad_pixel, const T* x, int64_t x_pixel,
                                   Accumulate<T> factor, const ScatterShape& shape) {
  using A = Accumulate<T>;
  double sum = 0;
  for (int64_t i = 0; i < shape.out_height(); ++i) {
    for (int64_t j = 0; j < shape.out_width(); ++j) {
      const A g = grad[(i * shape.out_width() + j) * grad_pixel];
      const int64_t corner = 2 * (i * shape.width + j);
      const int best = winner(x + corner * x_pixel, x_pixel, shape.width * x_pixel, factor);
      const int64_t chosen = corner + (best >> 1) * shape.width + (best & 1);
      sum += g * A(x[chosen * x_pixel]);
      if (grad_x != nullptr) grad_x[chosen * grad_x_pixel] = T(factor * g);
    }
  }
  return sum;
}

}  // namespace

template <class T>
ADARTS_INLINE void ScatterChannelsBackward<T>::compute(int64_t begin, int64_t end) const {
  using A = Accumulate<T>;
  const int64_t pixels = shape.out_height() * shape.out_width();
  for (int64_t row = begin; row < end; ++row) {
    const int64_t n = row / shape.channels, c = row % shape.channels;
    const T* from = grad + n * grad_strides.batch + c * grad_strides.channel;
    const T* plane = x + n * x_strides.batch + c * x_strides.channel;
    T* to = grad_x == nullptr ? nullptr
                              : grad_x + n * grad_x_strides.batch + c * grad_x_strides.channel;
    const bool chosen = place[c] >= 0;
    if (to != nullptr && (chosen || shape.stride == 2))
      for (int64_t p = 0; p < shape.height * shape.width; ++p) to[p * grad_x_strides.pixel] = T(0);
    double sum = 0;
    if (chosen) {
      if (grad_update != nullptr)
        copy_strided(
            grad_update + n * grad_update_strides.batch + place[c] * grad_update_strides.channel,
            grad_update_strides.pixel, from, grad_strides.pixel, pixels);
    } else if (to != nullptr || grad_scale != nullptr) {
      const A factor = scale == nullptr ? A(1) : A(scale[row]);
      if (shape.stride == 2) {
        sum = backward_pool(to, grad_x_strides.pixel, from, grad_strides.pixel, plane,
                            x_strides.pixel, factor, shape);
      } else {
        sum = backward_pass(to, grad_x_strides.pixel, from, grad_strides.pixel, plane,
                            x_strides.pixel, factor, grad_scale != nullptr, pixels);
      }
    }
    if (grad_scale != nullptr) grad_scale[row] = T(sum);
  }
}

ADARTS_INSTANTIATE(ScatterChannels)
ADARTS_INSTANTIATE(ScatterChannelsBackward)

}  // namespace adarts::cpu
