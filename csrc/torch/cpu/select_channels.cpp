// select_channels on the CPU: checks, allocation and threads; the loops are in
// csrc/cpu/select_channels.cpp.
#include "../../cpu/select_channels.h"

#include "../select_channels.h"
#include "common.h"

namespace adarts {

namespace {

Tensor select_channels(const Tensor& scores, int64_t k) {
  constexpr const char* op = "select_channels";
  const Tensor rows = checked_scores(op, scores, k);
  const int64_t channels = scores.size(1);
  std::vector<double> sums(channels);
  std::vector<int64_t> order(channels);
  Tensor out = empty_tensor(scores, {k}, ScalarType::Long);
  dispatch(op, scores.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    cpu::SelectChannels<T>{data<T>(rows), scores.size(0), channels,          k,
                           sums.data(),   order.data(),   data<int64_t>(out)}
        .run();
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CPU, m) {
  m.impl("select_channels", TORCH_BOX(&select_channels));
}

}  // namespace adarts
