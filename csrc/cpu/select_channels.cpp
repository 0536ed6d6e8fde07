#include "select_channels.h"

#include <algorithm>
#include <numeric>

#include "vectorize.h"

namespace adarts::cpu {

// Sums in double, so that the order of summation does not decide between channels. Not-a-number
// counts as largest, as in torch.topk, and equal sums fall back to the lower index.
template <class T>
void SelectChannels<T>::run() const {
  std::fill(sums, sums + channels, 0.0);
  for (int64_t n = 0; n < batch; ++n) {
    const T* row = scores + n * channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) sums[c] += double(Accumulate<T>(row[c]));
  }
  std::iota(order, order + channels, int64_t(0));
  std::partial_sort(order, order + k, order + channels, [this](int64_t a, int64_t b) {
    const bool a_nan = std::isnan(sums[a]), b_nan = std::isnan(sums[b]);
    if (a_nan != b_nan) return a_nan;
    if (!a_nan && sums[a] != sums[b]) return sums[a] > sums[b];
    return a < b;
  });
  std::copy(order, order + k, out);
}

template struct SelectChannels<float>;
template struct SelectChannels<double>;
template struct SelectChannels<c10::BFloat16>;
template struct SelectChannels<c10::Half>;

}  // namespace adarts::cpu
