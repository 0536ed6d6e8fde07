// The name of a kernel, without namespaces, template arguments and parameters.
#pragma once

#include <string>

namespace emulator {

std::string kernel_name(const void* kernel);

}  // namespace emulator
