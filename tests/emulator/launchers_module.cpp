// The launchers of the CUDA kernels as a Python module without torch: <launcher>_<dtype>(*fields)
// takes the fields of its argument struct in their order. A pointer is given as a numpy array or
// None, a feature map as an array (N, C, H, W) of any strides, an array of pointers as so many
// pointers, and a struct in a struct as a tuple.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "cuda/channel_attention.cuh"
#include "cuda/gather_channels.cuh"
#include "cuda/mixed_sum.cuh"
#include "cuda/scatter_channels.cuh"
#include "cuda/select_channels.cuh"

namespace py = pybind11;

namespace adarts::cuda {

namespace {

template <class T>
T* memory(const py::handle& given) {
  using Element = std::remove_const_t<T>;
  if (given.is_none()) return nullptr;
  if (!py::isinstance<py::array_t<Element>>(given))
    throw py::type_error("expected an array of dtype " +
                         py::str(py::dtype::of<Element>()).cast<std::string>());
  return static_cast<T*>(const_cast<void*>(py::reinterpret_borrow<py::array>(given).data()));
}

template <class Struct>
Struct read(const py::tuple& given);

template <class Field>
struct Read {
  static Field from(const py::handle& given) {
    if constexpr (std::is_class_v<Field>)
      return read<Field>(py::reinterpret_borrow<py::tuple>(given));
    else
      return given.cast<Field>();
  }
};

template <class T>
struct Read<T*> {
  static T* from(const py::handle& given) { return memory<T>(given); }
};

template <class T>
struct Read<Map<T>> {
  static Map<T> from(const py::handle& given) {
    if (given.is_none()) return {};
    const auto stride = [&](int axis) -> int64_t {
      return py::reinterpret_borrow<py::array>(given).strides(axis) / int64_t(sizeof(T));
    };
    return {memory<T>(given), stride(0), stride(1), stride(3)};
  }
};

// Becomes whatever field it is to initialise.
struct Given {
  py::handle value;

  template <class Field>
  operator Field() const {
    return Read<Field>::from(value);
  }
};

template <class Struct, class... Fields>
constexpr size_t count_fields() {
  if constexpr (requires { Struct{Fields{}..., Given{}}; })
    return count_fields<Struct, Fields..., Given>();
  else
    return sizeof...(Fields);
}

template <class Struct>
Struct read(const py::tuple& given) {
  constexpr size_t count = count_fields<Struct>();
  if (given.size() != count)
    throw py::type_error("expected " + std::to_string(count) + " fields, got " +
                         std::to_string(given.size()));
  return [&]<size_t... I>(std::index_sequence<I...>) {
    return Struct{Given{given[I]}...};
  }(std::make_index_sequence<count>());
}

template <class Struct>
void add(py::module_& m, const std::string& name, cudaError_t (*launcher)(Struct, cudaStream_t)) {
  m.def(name.c_str(), [launcher](const py::args& given) {
    if (launcher(read<std::remove_cvref_t<Struct>>(given), nullptr) != cudaSuccess)
      throw std::runtime_error("a kernel was not launched");
  });
}

template <class Struct, class Count>
void add(py::module_& m, const std::string& name, Count (*count)(const Struct&)) {
  m.def(name.c_str(), [count](const py::args& given) { return count(read<Struct>(given)); });
}

template <class T>
void add_all(py::module_& m, const std::string& dtype) {
  add(m, "mixed_sum_" + dtype, &mixed_sum<T>);
  m.def(("mixed_sum_parts_" + dtype).c_str(), &mixed_sum_parts<T>);
  add(m, "mixed_sum_backward_" + dtype, &mixed_sum_backward<T>);
  add(m, "select_channels_" + dtype, &select_channels<T>);
  add(m, "gather_channels_" + dtype, &gather_channels<T>);
  add(m, "gather_channels_parts_" + dtype, &gather_channels_parts<T>);
  add(m, "gather_channels_backward_" + dtype, &gather_channels_backward<T>);
  add(m, "scatter_channels_" + dtype, &scatter_channels<T>);
  add(m, "scatter_channels_parts_" + dtype, &scatter_channels_parts<T>);
  add(m, "scatter_channels_backward_" + dtype, &scatter_channels_backward<T>);
  add(m, "pool_parts_" + dtype, &pool_parts<T>);
  add(m, "pool_planes_" + dtype, &pool_planes<T>);
  add(m, "channel_attention_" + dtype, &channel_attention<T>);
  add(m, "channel_attention_backward_" + dtype, &channel_attention_backward<T>);
  add(m, "weight_gradients_" + dtype, &weight_gradients<T>);
  add(m, "unpool_planes_" + dtype, &unpool_planes<T>);
}

}  // namespace

}  // namespace adarts::cuda

PYBIND11_MODULE(launchers, m) {
  adarts::cuda::add_all<float>(m, "float32");
  adarts::cuda::add_all<double>(m, "float64");
}
