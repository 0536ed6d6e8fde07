#include "observer.h"

#include <cstdint>

#include "kernel_name.h"

namespace {

struct Observed {
  const char* symbol;
  uint32_t grid[3], block[3];
  uint64_t dynamic_bytes;
  const unsigned char* parameters;
  uint64_t parameter_bytes;
};

int (*listener)(const Observed*) = nullptr;

}  // namespace

bool emulator::observe(const void* kernel, const dim3& grid, const dim3& block,
                       size_t dynamic_bytes, const std::vector<unsigned char>& parameters) {
  if (!listener) return true;
  const std::string symbol = kernel_symbol(kernel);
  const Observed launch{symbol.c_str(), {grid.x, grid.y, grid.z}, {block.x, block.y, block.z},
                        dynamic_bytes,  parameters.data(),        parameters.size()};
  return listener(&launch) != 0;
}

bool emulator::observed() { return listener != nullptr; }

// For Python, by ctypes; null for none.
extern "C" __attribute__((visibility("default"))) void adarts_emulator_observe(
    int (*wanted)(const Observed*)) {
  listener = wanted;
}
