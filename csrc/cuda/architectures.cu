#include "architectures.h"

namespace adarts::cuda {

std::vector<int64_t> architectures() { return {__CUDA_ARCH_LIST__}; }

}  // namespace adarts::cuda
