// select_channels on the GPU: checks, allocation and launch; the kernel is in
// csrc/cuda/select_channels.cu.
#include "../../cuda/select_channels.cuh"

#include "../select_channels.h"
#include "common.h"

namespace adarts {

namespace {

Tensor select_channels(const Tensor& scores, int64_t k) {
  constexpr const char* op = "select_channels";
  const Tensor rows = checked_scores(op, scores, k);
  const int64_t channels = scores.size(1);
  ADARTS_CHECK(channels <= cuda::kMostSelectable, op, ": scores has shape ", shape_of(scores),
               ", expected at most ", cuda::kMostSelectable, " channels on a GPU");
  const DeviceStream stream(scores);
  Tensor out = empty_tensor(scores, {k}, ScalarType::Long);
  dispatch(op, scores.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const cuda::SelectChannels<T> selection{data<T>(rows), scores.size(0),
                                            static_cast<int>(channels), static_cast<int>(k),
                                            data<int64_t>(out)};
    check_launch(op, cuda::select_channels(selection, stream));
  });
  return out;
}

}  // namespace

ADARTS_CUDA_OPERATORS(m) { m.impl("select_channels", TORCH_BOX(&select_channels)); }

}  // namespace adarts
