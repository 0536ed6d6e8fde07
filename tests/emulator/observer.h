// Tells a listener of every launch, with all that the launch hands to the GPU, before it is run.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "block.h"

namespace emulator {

// The parameters as a GPU holds them: one after the other, each at its own alignment.
template <class... Parameters>
std::vector<unsigned char> parameter_bytes(const Parameters&... parameters) {
  std::vector<unsigned char> bytes;
  const auto add = [&]<class T>(const T& parameter) {
    const size_t at = (bytes.size() + alignof(T) - 1) / alignof(T) * alignof(T);
    bytes.resize(at + sizeof(T));
    std::memcpy(&bytes[at], &parameter, sizeof(T));
  };
  (add(parameters), ...);
  return bytes;
}

// False where the listener does not want the launch to be run.
bool observe(const void* kernel, const dim3& grid, const dim3& block, size_t dynamic_bytes,
             const std::vector<unsigned char>& parameters);

// Whether there is a listener: what has been written is then not known.
bool observed();

}  // namespace emulator
