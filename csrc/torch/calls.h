// Torch's functions. Where one fails, an allocation for example, it throws torch's words. Without
// the check below it would print a stack trace to stderr too, which buries what a program says of
// it.
#pragma once

#include <torch/csrc/stable/macros.h>

#include <stdexcept>
#include <string>

#ifdef TORCH_DYNAMIC_VERSION_CALL_2_13_0  // earlier headers neither know the words nor print

namespace adarts {

[[noreturn]] inline void torch_failed(const char* call) {
  using torch::stable::detail::torch_shim_bc_const_char_ptr;  // where torch is an earlier one
  const char* words = TORCH_DYNAMIC_VERSION_CALL_2_13_0(torch_exception_get_what_without_backtrace,
                                                        torch_shim_bc_const_char_ptr);
  throw std::runtime_error(words ? words : std::string("torch failed in ") + call);
}

}  // namespace adarts

#undef STABLE_TORCH_ERROR_CODE_CHECK
#define STABLE_TORCH_ERROR_CODE_CHECK(call) \
  if ((call) != TORCH_SUCCESS) ::adarts::torch_failed(#call)

#endif

#include <torch/csrc/stable/ops.h>  // which uses it
