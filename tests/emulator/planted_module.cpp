// The small kernels as a Python module: run(kernel, grid, block, shared_bytes, *arguments), where
// an argument is a numpy array or a whole number.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "global.h"
#include "planted.h"

namespace py = pybind11;

static void run(const std::string& kernel, const py::tuple& grid, const py::tuple& block,
                size_t shared_bytes, const py::args& given) {
  planted::Dimensions blocks = {1, 1, 1}, threads = {1, 1, 1};
  for (size_t i = 0; i < grid.size(); ++i) blocks[i] = grid[i].cast<unsigned>();
  for (size_t i = 0; i < block.size(); ++i) threads[i] = block[i].cast<unsigned>();
  std::vector<planted::Argument> arguments;
  for (const py::handle& value : given) {
    if (py::isinstance<py::array>(value))
      arguments.push_back({py::reinterpret_borrow<py::array>(value).mutable_data(), 0});
    else
      arguments.push_back({nullptr, value.cast<long long>()});
  }
  planted::run(kernel, blocks, threads, shared_bytes, arguments);
}

static void mark_unwritten(py::array array) {
  emulator::mark_unwritten(array.mutable_data(), array.nbytes());
}

PYBIND11_MODULE(planted, m) {
  m.def("run", &run);
  m.def("mark_unwritten", &mark_unwritten);
  m.def("allow_shared", &planted::allow_shared);
}
