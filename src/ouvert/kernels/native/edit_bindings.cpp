// Edits for Python, and the instruction that does them. Shapes and types are checked by ouvert.models and ouvert.kernels.

#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "bindings.h"
#include "instructions.h"
#include "python_arguments.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ouvert {

void bind_edits(nb::module_& m, nb::class_<Program>& program, nb::class_<Sequence>& sequence) {
  nb::enum_<EditKind>(m, "EditKind")
      .value("add", EditKind::add)
      .value("project_out", EditKind::project_out)
      .value("blend", EditKind::blend)
      .value("scale", EditKind::scale);
  nb::class_<Edits>(m, "Edits")
      .def(nb::init<>())
      .def("add",
           [](Edits& edits, const std::string& name, EditKind kind, float strength, std::int64_t start,
              std::int64_t stop, const std::vector<std::pair<std::int64_t, std::int64_t>>& columns, std::int64_t width,
              const Floats& values, const std::vector<std::int32_t>& experts) {
             edits[name].push_back(
                 {kind, strength, start, stop, columns, width, {values.data(), values.data() + values.size()}, experts});
           },
           "name"_a, "kind"_a, "strength"_a, "start"_a, "stop"_a, "columns"_a, "width"_a, "values"_a, "experts"_a);
  sequence.def("edit", [](Sequence& s, const std::shared_ptr<const Edits>& edits) { s.edits = edits; },
               "edits"_a.none());
  program.def("edit", [](Program& p, const std::string& name, Value x, Value chosen, Value out) {
    p.add(std::make_unique<EditRows>(name, x, chosen, out));
  });
}

}  // namespace ouvert
