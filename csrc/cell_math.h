// What a cell's kernels compute for each channel, the same on both devices.
#pragma once

#include "cell.h"

namespace adarts::cell {

// Mean and variance from sum and sum of squares over `count` values.
struct Moments {
  double mean, variance, unbiased;

  ADARTS_BOTH Moments(double sum, double square, int64_t count) {
    mean = sum / double(count);
    variance = square / double(count) - mean * mean;
    if (variance < 0) variance = 0;
    unbiased = count > 1 ? variance * (double(count) / double(count - 1)) : variance;
  }
};

// The sum over the batch of g times an active operation's output, for one chosen channel, from the
// sum s1 of Edge::sums.
template <class T>
ADARTS_BOTH inline double operation_sum(const Edge<T>& edge, int64_t c, int operation, int64_t a,
                                        double s1) {
  if (operation == kSkip && edge.stride == 1) return s1;
  const auto* statistic = edge.statistics(norm_of(operation), c, a);
  return double(statistic[kRstd * c]) * s1;
}

// The linear combination of g and u that is d L / d u: factor * (g - offset) + slope * (u - mean).
// In lanes beyond the batch, offset and mean are 0. With both in one constant its rounding would be
// the same in a whole channel, and the weights' gradients wrong by it.
template <class A>
struct Gradient {
  A factor, offset, slope, mean;
};

// With y = scale * BatchNorm(u): s0 = sum g, s1 = sum g * (u - mean) over the values of a
// statistic, of which each has the share 1 / count, or 0 where the statistics are not of the batch.
// Sums of g * u itself would lose their digits to the mean.
template <class A>
ADARTS_BOTH inline Gradient<A> norm_gradient(A scale, A mean, A rstd, double s0, double s1,
                                             double share) {
  const A factor = scale * rstd;
  const double slope = double(factor) * double(rstd) * double(rstd) * (s1 * share);
  return {factor, A(s0 * share), A(-slope), mean};
}

template <class A>
ADARTS_BOTH inline Gradient<A> norm_gradient(A scale, A mean, A rstd, double s0, double s1,
                                             int64_t count, bool training) {
  if (!training) return {scale * rstd, A(0), A(0), A(0)};
  return norm_gradient(scale, mean, rstd, s0, s1, 1 / double(count));
}

}  // namespace adarts::cell
