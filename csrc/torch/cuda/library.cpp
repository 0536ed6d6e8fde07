// What only the CUDA library can tell: what it was built with and for.
#include <cuda_runtime_api.h>
#include <torch/csrc/stable/library.h>

#include "../../cuda/architectures.h"

namespace adarts {

namespace {

int64_t cuda_toolkit() { return CUDART_VERSION; }

std::vector<int64_t> cuda_architectures() { return cuda::architectures(); }

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adarts_ext, m) {
  m.def("cuda_toolkit() -> int");
  m.def("cuda_architectures() -> int[]");
}

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CompositeExplicitAutograd, m) {
  m.impl("cuda_toolkit", TORCH_BOX(&cuda_toolkit));
  m.impl("cuda_architectures", TORCH_BOX(&cuda_architectures));
}

}  // namespace adarts
