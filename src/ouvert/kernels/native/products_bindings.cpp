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

using Heads = Array<const float, nb::ndim<3>>;
using HeadsOut = Array<float, nb::ndim<3>>;
using Sinks = std::optional<Array<const float, nb::ndim<1>>>;
using SinksOut = std::optional<Array<float, nb::ndim<1>>>;

const float* numbers(const Sinks& of) { return of ? of->data() : nullptr; }

AttentionShape shape_of(const Heads& q, const Heads& keys, const Heads& values, float scale, std::int64_t window) {
  const auto size = [](std::size_t of) { return static_cast<std::int64_t>(of); };
  return {size(q.shape(0)), size(keys.shape(0)), size(q.shape(1)), size(keys.shape(1)),
          size(q.shape(2)), size(values.shape(2)), window, scale};
}

}  // namespace

void bind_products(nb::module_& m) {
  m.def("has_coarse", [](const std::string& layout) { return has_coarse(layout_named(layout)); }, "layout"_a);
  nb::class_<Products> products(m, "Products");
  products
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
             const FloatRows& dy, const RowNumbers& from_rows, std::int64_t code_bytes, const FloatRowsOut& out, bool accumulate,
             const RowNumbers& out_rows) {
            const Matrix weights = matrix(layout, rows, columns, data);
            const FloatTokens of = tokens(dy, from_rows);
            const Epilogue epilogue{.accumulate = accumulate, .out_rows = out_rows ? out_rows->data() : nullptr};
            nb::gil_scoped_release release;
            self.transposed(weights, of, code_bytes, out.data(), columns, epilogue);
          },
          "layout"_a, "rows"_a, "columns"_a, "data"_a, "dy"_a, "from_rows"_a.none(), "code_bytes"_a, "out"_a, "accumulate"_a,
          "out_rows"_a.none())
      .def(
          "attend",
          [](Products& self, const Heads& q, const Heads& keys, const Heads& values, const Sinks& sinks, float scale,
             std::int64_t window, const HeadsOut& out, const HeadsOut& shares) {
            const AttentionShape shape = shape_of(q, keys, values, scale, window);
            const AttentionForward of{q.data(),       keys.data(), values.data(),
                                      numbers(sinks), out.data(),  shares.data()};
            nb::gil_scoped_release release;
            self.attend(shape, of);
          },
          "q"_a, "keys"_a, "values"_a, "sinks"_a.none(), "scale"_a, "window"_a, "out"_a, "shares"_a)
      .def(
          "attend_back",
          [](Products& self, const Heads& q, const Heads& keys, const Heads& values, const Sinks& sinks, float scale,
             std::int64_t window, const HeadsOut& out, const HeadsOut& shares, const Heads& dy, const HeadsOut& dq,
             const HeadsOut& dkeys, const HeadsOut& dvalues, const SinksOut& dsinks) {
            const AttentionShape shape = shape_of(q, keys, values, scale, window);
            const AttentionForward forward{q.data(),       keys.data(), values.data(),
                                           numbers(sinks), out.data(),  shares.data()};
            const AttentionBackward of{forward,      dy.data(),      dq.data(),
                                       dkeys.data(), dvalues.data(), dsinks ? dsinks->data() : nullptr};
            nb::gil_scoped_release release;
            self.attend_back(shape, of);
          },
          "q"_a, "keys"_a, "values"_a, "sinks"_a.none(), "scale"_a, "window"_a, "out"_a, "shares"_a, "dy"_a, "dq"_a,
          "dkeys"_a, "dvalues"_a, "dsinks"_a.none());
  bind_row_gradients(products);
}

}  // namespace ouvert
