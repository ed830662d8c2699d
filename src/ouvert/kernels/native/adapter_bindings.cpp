// Adapters for Python. Shapes and types are checked by ouvert.kernels.

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "bindings.h"
#include "low_rank.h"
#include "program.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ouvert {

void bind_adapters(nb::module_& m, nb::class_<Sequence>& sequence) {
  nb::class_<Adapter>(m, "Adapter")
      .def(nb::init<>())
      .def("add",
           [](Adapter& adapter, const std::string& name, const Matrix& a, const Matrix& b, float scale,
              const std::vector<std::int32_t>& nth) {
             adapter.additions[name] = {a, b, scale, nth};
           },
           "name"_a, "a"_a, "b"_a, "scale"_a, "nth"_a, nb::keep_alive<1, 3>(), nb::keep_alive<1, 4>());
  sequence.def("adapt", [](Sequence& s, const std::vector<std::shared_ptr<const Adapter>>& adapters) {
    s.adapters = adapters;
  });
}

}  // namespace ouvert
