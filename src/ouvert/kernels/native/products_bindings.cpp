// Products on threads of their own. ouvert.kernels.products checks sizes.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>
#include <string>

#include "bindings.h"
#include "products.h"
#include "python_arguments.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ouvert {
namespace {

using Bias = std::optional<Array<const float, nb::ndim<1>>>;
using RowNumbers = std::optional<Ids>;

FloatTokens tokens(const FloatRows& x, const RowNumbers& from_rows) {
  return {x.data(), static_cast<std::int64_t>(x.shape(1)),
          static_cast<std::int64_t>(from_rows ? from_rows->shape(0) : x.shape(0)),
          from_rows ? from_rows->data() : nullptr};
}

Matrix matrix(const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data) {
  return {layout_named(layout), rows, columns, data.data()};
}

}  // namespace

void bind_products(nb::module_& m) {
  nb::class_<Products>(m, "Products")
      .def("__init__",
           [](Products* self, int threads, const std::string& set) {
             new (self) Products(threads, instruction_set_named(set));
           })
      .def_prop_ro("threads", &Products::threads)
      .def(
          "linear",
          [](Products& self, const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data,
             const FloatRows& x, const RowNumbers& from_rows, std::int64_t code_bytes, const FloatRowsOut& out,
             const Bias& bias, bool accumulate, const RowNumbers& out_rows) {
            const Matrix weights = matrix(layout, rows, columns, data);
            const FloatTokens of = tokens(x, from_rows);
            const Epilogue epilogue{.bias = bias ? bias->data() : nullptr, .accumulate = accumulate,
                                    .out_rows = out_rows ? out_rows->data() : nullptr};
            nb::gil_scoped_release release;
            self.linear(weights, of, code_bytes, out.data(), rows, epilogue);
          },
          "layout"_a, "rows"_a, "columns"_a, "data"_a, "x"_a, "from_rows"_a.none(), "code_bytes"_a, "out"_a,
          "bias"_a.none(), "accumulate"_a, "out_rows"_a.none())
      .def(
          "transposed",
          [](Products& self, const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data,
             const FloatRows& dy, const RowNumbers& from_rows, bool rounded, const FloatRowsOut& out, bool accumulate,
             const RowNumbers& out_rows) {
            const Matrix weights = matrix(layout, rows, columns, data);
            const FloatTokens of = tokens(dy, from_rows);
            const Epilogue epilogue{.accumulate = accumulate, .out_rows = out_rows ? out_rows->data() : nullptr};
            nb::gil_scoped_release release;
            self.transposed(weights, of, rounded, out.data(), columns, epilogue);
          },
          "layout"_a, "rows"_a, "columns"_a, "data"_a, "dy"_a, "from_rows"_a.none(), "rounded"_a, "out"_a, "accumulate"_a,
          "out_rows"_a.none());
}

}  // namespace ouvert
