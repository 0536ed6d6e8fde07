// Everything the bindings share: checks with readable messages, memory layouts, dtype dispatch.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "calls.h"
#ifdef ADARTS_EMULATED
#include "global.h"
#endif

namespace adarts {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Tensors = std::vector<Tensor>;
using OptionalTensor = std::optional<Tensor>;

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

// The parts of the message are only evaluated when the check fails.
#define ADARTS_CHECK(condition, ...)     \
  do {                                   \
    if (!(condition)) fail(__VA_ARGS__); \
  } while (false)

inline std::string shape_of(const Tensor& t) {
  std::ostringstream text;
  text << '(';
  for (int64_t d = 0; d < t.dim(); ++d) text << (d ? ", " : "") << t.size(d);
  text << (t.dim() == 1 ? ",)" : ")");
  return text.str();
}

inline void check_shape(const char* op, const char* name, const Tensor& t,
                        std::initializer_list<int64_t> sizes) {
  bool same = t.dim() == static_cast<int64_t>(sizes.size());
  for (int64_t d = 0; same && d < t.dim(); ++d) same = t.size(d) == sizes.begin()[d];
  if (same) return;
  std::ostringstream expected;
  for (const int64_t size : sizes) expected << (expected.tellp() > 0 ? ", " : "") << size;
  fail(op, ": ", name, " has shape ", shape_of(t), ", expected (", expected.str(),
       sizes.size() == 1 ? ",)" : ")");
}

inline void check_feature_map(const char* op, const char* name, const Tensor& t) {
  ADARTS_CHECK(t.dim() == 4, op, ": ", name, " has shape ", shape_of(t), ", expected (N, C, H, W)");
}

inline void check_like(const char* op, const char* name, const Tensor& t, const Tensor& other) {
  ADARTS_CHECK(t.scalar_type() == other.scalar_type(), op, ": ", name, " has another dtype than ",
               "the first argument");
  ADARTS_CHECK(t.device() == other.device(), op, ": ", name, " is on another device than ",
               "the first argument");
}

// `t` itself where it is contiguous: the call through torch's dispatcher costs more than a check.
inline Tensor dense(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

// (N, C, H, W) memory whose planes can be walked with one stride; other memory is copied.
struct FeatureMap {
  Tensor tensor;
  int64_t batch, channel, pixel;  // strides in elements

  explicit FeatureMap(const Tensor& t) : tensor(t) {
    if (t.size(2) > 1 && t.size(3) > 1 && t.stride(2) != t.size(3) * t.stride(3)) tensor = dense(t);
    batch = tensor.stride(0);
    channel = tensor.stride(1);
    pixel = tensor.size(3) > 1 ? tensor.stride(3) : tensor.size(2) > 1 ? tensor.stride(2) : 1;
  }

  // channels_last memory, also where it is a slice of the channels
  bool interleaved() const { return pixel != 1 && channel == 1; }
};

// A tensor as it was allocated. The emulator reports who reads it before it is written.
inline Tensor unwritten(const Tensor& t) {
#ifdef ADARTS_EMULATED
  emulator::mark_unwritten(t.data_ptr(), t.numel() * t.element_size());
#endif
  return t;
}

inline Tensor empty_feature_map(const Tensor& like, std::array<int64_t, 4> sizes,
                                bool interleaved) {
  return unwritten(torch::stable::empty(
      {sizes.data(), sizes.size()}, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
      interleaved ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous));
}

inline Tensor empty_tensor(const Tensor& like, std::initializer_list<int64_t> sizes,
                           ScalarType dtype) {
  return unwritten(
      torch::stable::empty({sizes.begin(), sizes.size()}, dtype, std::nullopt, like.device()));
}

inline Tensor empty_tensor(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return empty_tensor(like, sizes, like.scalar_type());
}

inline Tensor empty_tensor_like(const Tensor& like) {
  return unwritten(torch::stable::empty_like(like));
}

// The dtype that pooled values and hidden units are kept in.
inline ScalarType accumulate_dtype(ScalarType dtype) {
  return dtype == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline bool same_strides(const Tensor& a, const Tensor& b) {
  for (int64_t d = 0; d < a.dim(); ++d)
    if (a.size(d) > 1 && a.stride(d) != b.stride(d)) return false;
  return true;
}

// `t` itself if it lies in memory as `like` does, else a copy that does.
inline Tensor laid_out_like(const Tensor& t, const Tensor& like) {
  if (same_strides(t, like)) return t;
  Tensor copy = torch::stable::empty_like(like);
  torch::stable::copy_(copy, t);
  return copy;
}

// Calls f with a value of the C++ type that stands for the dtype.
template <class F>
void dispatch(const char* op, ScalarType dtype, const F& f) {
  switch (dtype) {
    case ScalarType::Float:
      return f(float());
    case ScalarType::Double:
      return f(double());
    case ScalarType::BFloat16:
      return f(c10::BFloat16());
    case ScalarType::Half:
      return f(c10::Half());
    default:
      fail(op, ": expected float32, float64, bfloat16 or float16, got dtype number ",
           static_cast<int>(dtype));
  }
}

template <class T>
T* data(const Tensor& t) {
  return static_cast<T*>(t.data_ptr());
}

template <class T>
T* data(const std::optional<Tensor>& t) {
  return t.has_value() ? static_cast<T*>(t->data_ptr()) : nullptr;
}

}  // namespace adarts
