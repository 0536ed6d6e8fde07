// Launches of the small kernels of the emulator's own tests, by name.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace planted {

using Dimensions = unsigned[3];

// An argument of a kernel: memory or a number.
struct Argument {
  void* memory = nullptr;
  long long number = 0;
};

void run(const std::string& kernel, const Dimensions& grid, const Dimensions& block,
         size_t shared_bytes, const std::vector<Argument>& arguments);

void allow_shared(size_t bytes);  // for `reverse`

}  // namespace planted
