// The name of a kernel, without namespaces, template arguments and parameters.
#pragma once

#include <string>

namespace emulator {

std::string kernel_name(const void* kernel);
std::string kernel_symbol(const void* kernel);  // as the linker knows it

}  // namespace emulator
