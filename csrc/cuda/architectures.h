// The GPU architectures the CUDA library was compiled for.
#pragma once

#include <cstdint>
#include <vector>

namespace adarts::cuda {

std::vector<int64_t> architectures();  // 800 is compute capability 8.0

}  // namespace adarts::cuda
