// What only the CPU library can tell: which x86-64 level its kernels run at.
#include <torch/csrc/stable/library.h>

#include "../../cpu/level.h"

namespace adarts {

namespace {

int64_t cpu_level() { return int64_t(cpu::level()); }

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adarts_ext, m) { m.def("cpu_level() -> int"); }

STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CompositeExplicitAutograd, m) {
  m.impl("cpu_level", TORCH_BOX(&cpu_level));
}

}  // namespace adarts
