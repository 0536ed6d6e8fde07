#include "gather_channels.h"

#include <algorithm>
#include <vector>

namespace adarts::cpu {

template <class T>
ADARTS_INLINE void GatherChannels<T>::compute(int64_t begin, int64_t end) const {
  using A = Accumulate<T>;
  for (int64_t n = begin; n < end; ++n) {
    const T* image = x + n * x_strides.batch;
    T* result = out + n * out_strides.batch;
    const T* factor = scale == nullptr ? nullptr : scale + n * channels;
    if (x_strides.pixel == 1 && out_strides.pixel == 1) {
      for (int64_t j = 0; j < k; ++j) {
        const T* plane = image + index[j] * x_strides.channel;
        T* target = result + j * out_strides.channel;
        if (factor == nullptr) {
          std::copy(plane, plane + pixels, target);
        } else {
          copy_scaled(target, A(factor[index[j]]), plane, pixels);
        }
      }
    } else {
      for (int64_t p = 0; p < pixels; ++p) {
        const T* from = image + p * x_strides.pixel;
        T* to = result + p * out_strides.pixel;
        for (int64_t j = 0; j < k; ++j) {
          const A value = from[index[j] * x_strides.channel];
          to[j * out_strides.channel] = T(factor == nullptr ? value : A(factor[index[j]]) * value);
        }
      }
    }
  }
}

namespace {

template <class T>
ADARTS_INLINE void backward_planar(const GatherChannelsBackward<T>& a, int64_t n) {
  using A = Accumulate<T>;
  for (int64_t c = 0; c < a.channels; ++c) {
    const int64_t first = a.place_begin[c], last = a.place_begin[c + 1];
    const T* grad = a.grad + n * a.grad_strides.batch;
    const A factor = a.scale == nullptr ? A(1) : A(a.scale[n * a.channels + c]);
    if (a.grad_x != nullptr) {
      T* target = a.grad_x + n * a.grad_x_strides.batch + c * a.grad_x_strides.channel;
      if (last == first) {
        std::fill(target, target + a.pixels, T(0));
      } else if (last == first + 1) {
        copy_scaled(target, factor, grad + a.places[first] * a.grad_strides.channel, a.pixels);
      } else {
        for (int64_t p = 0; p < a.pixels; ++p) {
          A sum = 0;
          for (int64_t i = first; i < last; ++i)
            sum += A(grad[a.places[i] * a.grad_strides.channel + p]);
          target[p] = T(factor * sum);
        }
      }
    }
    if (a.grad_scale != nullptr) {
      const T* plane = a.x + n * a.x_strides.batch + c * a.x_strides.channel;
      double sum = 0;
      for (int64_t i = first; i < last; ++i)
        sum += dot<A>(grad + a.places[i] * a.grad_strides.channel, plane, a.pixels);
      a.grad_scale[n * a.channels + c] = T(sum);
    }
  }
}

template <class T>
ADARTS_INLINE void backward_strided(const GatherChannelsBackward<T>& a, int64_t n) {
  using A = Accumulate<T>;
  std::vector<double> sums(a.channels, 0.0);
  std::vector<A> row(a.channels);
  for (int64_t p = 0; p < a.pixels; ++p) {
    const T* grad = a.grad + n * a.grad_strides.batch + p * a.grad_strides.pixel;
    std::fill(row.begin(), row.end(), A(0));
    for (int64_t j = 0; j < a.k; ++j) row[a.index[j]] += A(grad[j * a.grad_strides.channel]);
    if (a.grad_scale != nullptr) {
      const T* from = a.x + n * a.x_strides.batch + p * a.x_strides.pixel;
      for (int64_t j = 0; j < a.k; ++j)
        sums[a.index[j]] +=
            A(grad[j * a.grad_strides.channel]) * A(from[a.index[j] * a.x_strides.channel]);
    }
    if (a.grad_x != nullptr) {
      T* to = a.grad_x + n * a.grad_x_strides.batch + p * a.grad_x_strides.pixel;
      for (int64_t c = 0; c < a.channels; ++c) {
        const A factor = a.scale == nullptr ? A(1) : A(a.scale[n * a.channels + c]);
        to[c * a.grad_x_strides.channel] = T(factor * row[c]);
      }
    }
  }
  if (a.grad_scale != nullptr)
    for (int64_t c = 0; c < a.channels; ++c) a.grad_scale[n * a.channels + c] = T(sums[c]);
}

}  // namespace

template <class T>
ADARTS_INLINE void GatherChannelsBackward<T>::compute(int64_t begin, int64_t end) const {
  const bool planar = grad_strides.pixel == 1 && (grad_scale == nullptr || x_strides.pixel == 1) &&
                      (grad_x == nullptr || grad_x_strides.pixel == 1);
  for (int64_t n = begin; n < end; ++n) {
    if (planar) {
      backward_planar(*this, n);
    } else {
      backward_strided(*this, n);
    }
  }
}

ADARTS_INSTANTIATE(GatherChannels)
ADARTS_INSTANTIATE(GatherChannelsBackward)

}  // namespace adarts::cpu
