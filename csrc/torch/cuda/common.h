// What the bindings of the CUDA kernels share: registration, the device and stream of a call, and
// checks that do not read the data.
//
// The same files are compiled for the emulator of the tests (ADARTS_EMULATED), whose operators take
// CPU tensors and live in a namespace of their own.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>

#include <algorithm>

#include "../../cuda/device/portable.cuh"
#include "../checks.h"

#ifdef ADARTS_EMULATED
#define ADARTS_CUDA_OPERATORS(m) STABLE_TORCH_LIBRARY_IMPL(adarts_emulated, CPU, m)
#else
#define ADARTS_CUDA_OPERATORS(m) STABLE_TORCH_LIBRARY_IMPL(adarts_ext, CUDA, m)
#endif

namespace adarts {

// Makes a tensor's device the current one while it lives, and knows the stream to launch on.
class DeviceStream {
 public:
#ifdef ADARTS_EMULATED
  explicit DeviceStream(const Tensor&) {}
#else
  explicit DeviceStream(const Tensor& t) : guard_(t.get_device_index()) {
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(
        aoti_torch_get_current_cuda_stream(t.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }
#endif

  operator cudaStream_t() const { return stream_; }

 private:
#ifndef ADARTS_EMULATED
  torch::stable::accelerator::DeviceGuard guard_;
#endif
  cudaStream_t stream_ = nullptr;
};

inline void check_launch(const char* op, cudaError_t error) {
#ifdef ADARTS_EMULATED
  ADARTS_CHECK(error == cudaSuccess, op, ": a kernel was not launched, error ",
               static_cast<int>(error));
#else
  static_cast<void>(op);
  STD_CUDA_CHECK(error);
#endif
}

// Where a sum of more inputs than one launch takes is kept between launches, so that it is rounded
// to the dtype of `out` once.
inline OptionalTensor sums_of_launches(const Tensor& out, int64_t inputs, int64_t most) {
  if (inputs <= most) return std::nullopt;
  return empty_tensor(out, {out.numel()}, accumulate_dtype(out.scalar_type()));
}

// Calls launch(first, count) for each group of at most `most` inputs, as one launch takes them.
template <class Launch>
void each_group(const char* op, int64_t inputs, int64_t most, const Launch& launch) {
  for (int64_t first = 0; first < inputs; first += most)
    check_launch(op, launch(first, static_cast<int>(std::min(inputs - first, most))));
}

}  // namespace adarts
