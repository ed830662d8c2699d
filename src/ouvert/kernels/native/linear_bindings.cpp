// Packing and single products, for the packer, tests and benchmarks. The step of a model calls the kernels natively
// instead. ouvert.kernels.packing and ouvert.kernels.linear check sizes.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <string>
#include <vector>

#include "bindings.h"
#include "linear.h"
#include "linear_measure.h"
#include "pack.h"
#include "pool.h"
#include "python_arguments.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ouvert {
namespace {

using Bias = std::optional<Array<const float, nb::ndim<1>>>;
using RowNumbers = std::optional<Ids>;
using Bounds = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>;

const LinearKernels& kernels_named(const std::string& wanted) { return linear_kernels(instruction_set_named(wanted)); }

nb::tuple pack_rows(const std::string& set, const std::string& encoding, const std::string& layout, const Bytes& data, std::int64_t rows,
                    std::int64_t columns, const BytesOut& out, int threads) {
  const Source source{encoding_named(encoding), rows, columns, data.data()};
  const Layout to = layout_named(layout);
  const InstructionSet instructions = instruction_set_named(set);
  const std::int64_t groups = (rows + kRowGroup - 1) / kRowGroup;
  constexpr std::int64_t kGroupsAtOnce = 8;
  std::vector<Loss> losses(static_cast<std::size_t>((groups + kGroupsAtOnce - 1) / kGroupsAtOnce));
  {
    nb::gil_scoped_release release;
    Pool pool(threads);
    pool.for_each(static_cast<std::uint32_t>(losses.size()), [&](std::uint32_t piece, int) {
      const std::int64_t begin = piece * kGroupsAtOnce;
      pack(source, to, begin, std::min(groups, begin + kGroupsAtOnce), out.data(), instructions, losses[piece]);
    });
  }
  Loss all;
  for (const Loss& loss : losses) {
    all.squared_error += loss.squared_error;
    all.squares += loss.squares;
    all.refused += loss.refused;
  }
  return nb::make_tuple(all.squared_error, all.squares, all.refused);
}

Matrix matrix(const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data) {
  return {layout_named(layout), rows, columns, data.data()};
}

Epilogue epilogue(const Bias& bias, bool accumulate, const RowNumbers& out_rows) {
  return {.bias = bias ? bias->data() : nullptr,
          .accumulate = accumulate,
          .out_rows = out_rows ? out_rows->data() : nullptr};
}

Piece piece_of(const Bounds& bounds) {
  const auto [row_begin, row_end, token_begin, token_end] = bounds;
  return {row_begin, row_end, token_begin, token_end};
}

void bind_packing(nb::module_& m) {
  m.def("best_instruction_set", [] { return name(best_instruction_set()); });
  m.def("packed_bytes", [](const std::string& layout, std::int64_t rows, std::int64_t columns) {
    return packed_bytes(layout_named(layout), rows, columns);
  });
  m.def("columns_multiple", [](const std::string& layout) { return columns_multiple(layout_named(layout)); });
  m.def("takes_int8", [](const std::string& layout) { return takes_int8(layout_named(layout)); });
  m.def("encoded_row_bytes", [](const std::string& encoding, std::int64_t columns) {
    return encoded_row_bytes(encoding_named(encoding), columns);
  });
  m.def("encoded_block", [](const std::string& encoding) { return encoded_block(encoding_named(encoding)); });
  m.def("can_pack", [](const std::string& encoding, const std::string& layout) {
    return can_pack(encoding_named(encoding), layout_named(layout));
  });
  m.def("pack", &pack_rows, "set"_a, "encoding"_a, "layout"_a, "data"_a, "rows"_a, "columns"_a, "out"_a, "threads"_a);
  m.def(
      "dequantise_rows",
      [](const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data, const Ids& which,
         const FloatRowsOut& out) {
        const Matrix weights = matrix(layout, rows, columns, data);
        nb::gil_scoped_release release;
        dequantise_rows(weights, which.data(), static_cast<std::int64_t>(which.shape(0)), out.data(), columns);
      },
      "layout"_a, "rows"_a, "columns"_a, "data"_a, "which"_a, "out"_a);
}

void bind_quantising(nb::module_& m) {
  m.def("activation_bytes", &activation_bytes, "tokens"_a, "columns"_a, "code_bytes"_a);
  m.def(
      "quantise",
      [](const std::string& set, const FloatRows& x, const RowNumbers& from_rows, const BytesOut& out,
         std::int64_t tokens, std::int64_t token_begin, std::int64_t token_end) {
        const auto columns = static_cast<std::int64_t>(x.shape(1));
        kernels_named(set).quantise(x.data(), columns, from_rows ? from_rows->data() : nullptr,
                                    {tokens, columns, out.data()}, token_begin, token_end);
      },
      "set"_a, "x"_a, "from_rows"_a.none(), "out"_a, "tokens"_a, "token_begin"_a, "token_end"_a);
  m.def(
      "quantise_wide",
      [](const std::string& set, const FloatRows& x, const BytesOut& out, std::int64_t token_begin,
         std::int64_t token_end) {
        const auto tokens = static_cast<std::int64_t>(x.shape(0)), columns = static_cast<std::int64_t>(x.shape(1));
        kernels_named(set).quantise_wide(x.data(), columns, {tokens, columns, out.data()}, token_begin, token_end);
      },
      "set"_a, "x"_a, "out"_a, "token_begin"_a, "token_end"_a);
}

void bind_single_products(nb::module_& m) {
  m.def(
      "matmul",
      [](const std::string& set, const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data,
         const BytesOut& activations, std::int64_t code_bytes, std::int64_t tokens, const FloatRowsOut& out,
         const Bounds& piece, const Bias& bias, bool accumulate, const RowNumbers& out_rows) {
        const LinearKernels& kernels = kernels_named(set);
        (code_bytes == 1 ? kernels.matmul : kernels.matmul_wide)(
            matrix(layout, rows, columns, data), {tokens, columns, activations.data()}, out.data(),
            static_cast<std::int64_t>(out.shape(1)), piece_of(piece), epilogue(bias, accumulate, out_rows));
      },
      "set"_a, "layout"_a, "rows"_a, "columns"_a, "data"_a, "activations"_a, "code_bytes"_a, "tokens"_a, "out"_a,
      "piece"_a, "bias"_a.none(), "accumulate"_a, "out_rows"_a.none());
  m.def(
      "matmul_f32",
      [](const std::string& set, const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data,
         const FloatRows& x, const RowNumbers& from_rows, const FloatRowsOut& out, const Bounds& piece,
         const Bias& bias, bool accumulate, const RowNumbers& out_rows) {
        kernels_named(set).matmul_f32(matrix(layout, rows, columns, data), x.data(), columns,
                                      from_rows ? from_rows->data() : nullptr, out.data(),
                                      static_cast<std::int64_t>(out.shape(1)), piece_of(piece),
                                      epilogue(bias, accumulate, out_rows));
      },
      "set"_a, "layout"_a, "rows"_a, "columns"_a, "data"_a, "x"_a, "from_rows"_a.none(), "out"_a, "piece"_a,
      "bias"_a.none(), "accumulate"_a, "out_rows"_a.none());
}

// Each returns the seconds, or the rate, of its fastest repeat.
void bind_measurements(nb::module_& m) {
  m.def(
      "measure_read",
      [](const Bytes& data, int threads, int repeats) {
        nb::gil_scoped_release release;
        return measure_read(data.data(), static_cast<std::int64_t>(data.shape(0)), threads, repeats);
      },
      "data"_a, "threads"_a, "repeats"_a, "Seconds to read all bytes once.");
  m.def(
      "measure_integer_peak",
      [](const std::string& wanted, int threads, int repeats) {
        const InstructionSet set = instruction_set_named(wanted);
        nb::gil_scoped_release release;
        return measure_integer_peak(set, threads, repeats);
      },
      "set"_a, "threads"_a, "repeats"_a,
      "Multiplications and additions of bytes a second, from registers alone: what no product can exceed.");
  m.def(
      "measure_matmul",
      [](const std::string& set, const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data,
         const FloatRows& x, int threads, int repeats, std::int64_t code_bytes) {
        const LinearKernels& kernels = kernels_named(set);
        const Matrix weights = matrix(layout, rows, columns, data);
        const auto tokens = static_cast<std::int64_t>(x.shape(0));
        nb::gil_scoped_release release;
        return measure_matmul(kernels, weights, x.data(), tokens, threads, repeats, code_bytes);
      },
      "set"_a, "layout"_a, "rows"_a, "columns"_a, "data"_a, "x"_a, "threads"_a, "repeats"_a, "code_bytes"_a,
      "Seconds of one product, activations quantised beforehand: floats (0), or whole numbers of 1 or 2 bytes.");
}

}  // namespace

void bind_linear(nb::module_& m) {
  bind_packing(m);
  bind_quantising(m);
  bind_single_products(m);
  bind_measurements(m);
}

}  // namespace ouvert
