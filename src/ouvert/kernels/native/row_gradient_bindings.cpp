// Operations on rows, and their gradients, on the threads of Products. ouvert.kernels.row_gradients checks sizes.

#include <cstddef>

#include "bindings.h"
#include "products.h"
#include "python_arguments.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ouvert {
namespace {

using Heads = Array<const float, nb::ndim<3>>;
using HeadsOut = Array<float, nb::ndim<3>>;

std::int64_t size(std::size_t of) { return static_cast<std::int64_t>(of); }

void bind_norms(nb::class_<Products>& products) {
  products
      .def(
          "rms_norm",
          [](Products& self, const FloatRows& x, const FloatRows& weight, float eps, const FloatRowsOut& out) {
            const std::int64_t width = size(x.shape(1)), groups = size(weight.shape(0));
            nb::gil_scoped_release release;
            self.each_row(size(x.shape(0)), [&](std::int64_t row, const RowKernels& rows, const RowGradientKernels&) {
              rows.rms_norm(x.data() + row * width, weight.data() + row % groups * width, out.data() + row * width,
                            width, eps);
            });
          },
          "x"_a, "weight"_a, "eps"_a, "out"_a)
      .def(
          "rms_norm_back",
          [](Products& self, const FloatRows& x, const FloatRows& weight, float eps, const FloatRows& dy,
             const FloatRowsOut& dx) {
            const std::int64_t width = size(x.shape(1)), groups = size(weight.shape(0));
            nb::gil_scoped_release release;
            self.each_row(size(x.shape(0)), [&](std::int64_t row, const RowKernels&, const RowGradientKernels& back) {
              back.rms_norm_back(x.data() + row * width, weight.data() + row % groups * width, dy.data() + row * width,
                                 dx.data() + row * width, width, eps);
            });
          },
          "x"_a, "weight"_a, "eps"_a, "dy"_a, "dx"_a);
}

}  // namespace

void bind_row_gradients(nb::class_<Products>& products) {
  bind_norms(products);
  products
      .def(
          "rotate",
          [](Products& self, const Heads& x, const FloatRows& cosines, const FloatRows& sines, const HeadsOut& out) {
            const std::int64_t heads = size(x.shape(1)), width = size(x.shape(2)), half = size(cosines.shape(1));
            nb::gil_scoped_release release;
            self.each_row(size(x.shape(0)), [&](std::int64_t row, const RowKernels& rows, const RowGradientKernels&) {
              for (std::int64_t head = row * heads; head < (row + 1) * heads; ++head)
                rows.rotate(x.data() + head * width, cosines.data() + row * half, sines.data() + row * half,
                            out.data() + head * width, width, half);
            });
          },
          "x"_a, "cosines"_a, "sines"_a, "out"_a)
      .def(
          "swiglu",
          [](Products& self, const FloatRows& gate, const FloatRows& up, const FloatRowsOut& out) {
            const std::int64_t width = size(gate.shape(1));
            nb::gil_scoped_release release;
            self.each_row(size(gate.shape(0)),
                          [&](std::int64_t row, const RowKernels& rows, const RowGradientKernels&) {
                            const std::int64_t at = row * width;
                            rows.swiglu(gate.data() + at, up.data() + at, out.data() + at, width);
                          });
          },
          "gate"_a, "up"_a, "out"_a)
      .def(
          "swiglu_back",
          [](Products& self, const FloatRowsOut& gate, const FloatRowsOut& up, const FloatRows& dy) {
            const std::int64_t width = size(gate.shape(1));
            nb::gil_scoped_release release;
            self.each_row(size(gate.shape(0)),
                          [&](std::int64_t row, const RowKernels&, const RowGradientKernels& back) {
                            float *const of_gate = gate.data() + row * width, *const of_up = up.data() + row * width;
                            back.swiglu_back(of_gate, of_up, dy.data() + row * width, of_gate, of_up, width);
                          });
          },
          "gate"_a, "up"_a, "dy"_a)
      .def(
          "log_probability_back",
          [](Products& self, const FloatRowsOut& logits, const Array<const float, nb::ndim<1>>& log_totals,
             const Ids& ids) {
            const std::int64_t width = size(logits.shape(1));
            nb::gil_scoped_release release;
            self.each_row(size(logits.shape(0)),
                          [&](std::int64_t row, const RowKernels&, const RowGradientKernels& back) {
                            back.log_probability_back(logits.data() + row * width, width, log_totals.data()[row],
                                                      ids.data()[row]);
                          });
          },
          "logits"_a, "log_totals"_a, "ids"_a);
}

}  // namespace ouvert
