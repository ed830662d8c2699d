// Python's way to packing and to single products: for the packer, the tests and the benchmarks. A model's step calls
// the kernels natively instead. Sizes are checked by ouvert.kernels.packing and ouvert.kernels.linear.

#include "linear_bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <string>
#include <vector>

#include "linear.h"
#include "linear_measure.h"
#include "pack.h"
#include "pool.h"

namespace nb = nanobind;

namespace ouvert {
namespace {

using Bytes = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Encoded = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Inputs = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Vector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Index = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T, int kCount>
T named(const char* kind, const std::string& wanted) {
  for (int i = 0; i < kCount; ++i)
    if (wanted == name(static_cast<T>(i))) return static_cast<T>(i);
  throw nb::value_error((std::string(kind) + " '" + wanted + "' is not known to the kernels.").c_str());
}
Layout layout_named(const std::string& wanted) { return named<Layout, 12>("Layout", wanted); }
Encoding encoding_named(const std::string& wanted) { return named<Encoding, 15>("Encoding", wanted); }

const LinearKernels& kernels_named(const std::string& wanted) {
  const auto set = named<InstructionSet, 3>("Instruction set", wanted);
  if (set > best_instruction_set())
    throw nb::value_error(("This machine lacks the instruction set '" + wanted + "'.").c_str());
  return linear_kernels(set);
}

nb::tuple pack_rows(const std::string& encoding, const std::string& layout, Encoded data, std::int64_t rows,
                    std::int64_t columns, Bytes out, int threads) {
  const Source source{encoding_named(encoding), rows, columns, data.data()};
  const Layout to = layout_named(layout);
  const std::int64_t groups = (rows + kRowGroup - 1) / kRowGroup;
  constexpr std::int64_t kGroupsAtOnce = 8;
  std::vector<Loss> losses(static_cast<std::size_t>((groups + kGroupsAtOnce - 1) / kGroupsAtOnce));
  {
    nb::gil_scoped_release release;
    Pool pool(threads);
    pool.for_each(static_cast<std::uint32_t>(losses.size()), [&](std::uint32_t piece, int) {
      const std::int64_t begin = piece * kGroupsAtOnce;
      pack(source, to, begin, std::min(groups, begin + kGroupsAtOnce), out.data(), losses[piece]);
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

Matrix matrix(const std::string& layout, std::int64_t rows, std::int64_t columns, const Encoded& data) {
  return {layout_named(layout), rows, columns, data.data()};
}

Epilogue epilogue(const std::optional<Vector>& bias, bool accumulate, const std::optional<Index>& out_rows) {
  return {.bias = bias ? bias->data() : nullptr,
          .accumulate = accumulate,
          .out_rows = out_rows ? out_rows->data() : nullptr};
}

Piece piece_of(const std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>& piece) {
  return {std::get<0>(piece), std::get<1>(piece), std::get<2>(piece), std::get<3>(piece)};
}

}  // namespace

void bind_linear(nb::module_& m) {
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
  m.def("pack", &pack_rows, nb::arg("encoding"), nb::arg("layout"), nb::arg("data"), nb::arg("rows"),
        nb::arg("columns"), nb::arg("out"), nb::arg("threads"));
  m.def(
      "dequantise_rows",
      [](const std::string& layout, std::int64_t rows, std::int64_t columns, Encoded data, Index which, Floats out) {
        const Matrix weights = matrix(layout, rows, columns, data);
        nb::gil_scoped_release release;
        dequantise_rows(weights, which.data(), static_cast<std::int64_t>(which.shape(0)), out.data(), columns);
      },
      nb::arg("layout"), nb::arg("rows"), nb::arg("columns"), nb::arg("data"), nb::arg("which"), nb::arg("out"));

  m.def("activation_bytes", &activation_bytes, nb::arg("tokens"), nb::arg("columns"), nb::arg("code_bytes"));
  m.def(
      "quantise",
      [](const std::string& set, Inputs x, const std::optional<Index>& from_rows, Bytes out, std::int64_t tokens,
         std::int64_t token_begin, std::int64_t token_end) {
        const auto columns = static_cast<std::int64_t>(x.shape(1));
        kernels_named(set).quantise(x.data(), columns, from_rows ? from_rows->data() : nullptr,
                                    {tokens, columns, out.data()}, token_begin, token_end);
      },
      nb::arg("set"), nb::arg("x"), nb::arg("from_rows").none(), nb::arg("out"), nb::arg("tokens"),
      nb::arg("token_begin"), nb::arg("token_end"));
  m.def(
      "quantise_wide",
      [](const std::string& set, Inputs x, Bytes out, std::int64_t token_begin, std::int64_t token_end) {
        const auto tokens = static_cast<std::int64_t>(x.shape(0)), columns = static_cast<std::int64_t>(x.shape(1));
        kernels_named(set).quantise_wide(x.data(), columns, {tokens, columns, out.data()}, token_begin, token_end);
      },
      nb::arg("set"), nb::arg("x"), nb::arg("out"), nb::arg("token_begin"), nb::arg("token_end"));
  m.def(
      "matmul",
      [](const std::string& set, const std::string& layout, std::int64_t rows, std::int64_t columns, Encoded data,
         Bytes activations, std::int64_t code_bytes, std::int64_t tokens, Floats out,
         const std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>& piece,
         const std::optional<Vector>& bias, bool accumulate, const std::optional<Index>& out_rows) {
        const LinearKernels& kernels = kernels_named(set);
        (code_bytes == 1 ? kernels.matmul : kernels.matmul_wide)(
            matrix(layout, rows, columns, data), {tokens, columns, activations.data()}, out.data(),
            static_cast<std::int64_t>(out.shape(1)), piece_of(piece), epilogue(bias, accumulate, out_rows));
      },
      nb::arg("set"), nb::arg("layout"), nb::arg("rows"), nb::arg("columns"), nb::arg("data"), nb::arg("activations"),
      nb::arg("code_bytes"), nb::arg("tokens"), nb::arg("out"), nb::arg("piece"), nb::arg("bias").none(),
      nb::arg("accumulate"), nb::arg("out_rows").none());
  m.def(
      "matmul_f32",
      [](const std::string& set, const std::string& layout, std::int64_t rows, std::int64_t columns, Encoded data,
         Inputs x, const std::optional<Index>& from_rows, Floats out,
         const std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>& piece,
         const std::optional<Vector>& bias, bool accumulate, const std::optional<Index>& out_rows) {
        kernels_named(set).matmul_f32(matrix(layout, rows, columns, data), x.data(), columns,
                                      from_rows ? from_rows->data() : nullptr, out.data(),
                                      static_cast<std::int64_t>(out.shape(1)), piece_of(piece),
                                      epilogue(bias, accumulate, out_rows));
      },
      nb::arg("set"), nb::arg("layout"), nb::arg("rows"), nb::arg("columns"), nb::arg("data"), nb::arg("x"),
      nb::arg("from_rows").none(), nb::arg("out"), nb::arg("piece"), nb::arg("bias").none(), nb::arg("accumulate"),
      nb::arg("out_rows").none());

  // Measurements; each returns the seconds of its fastest repeat.
  m.def(
      "measure_read",
      [](Encoded data, int threads, int repeats) {
        nb::gil_scoped_release release;
        return measure_read(data.data(), static_cast<std::int64_t>(data.shape(0)), threads, repeats);
      },
      nb::arg("data"), nb::arg("threads"), nb::arg("repeats"),
      "Seconds to read all bytes once.");
  m.def(
      "measure_integer_peak",
      [](const std::string& set, int threads, int repeats) {
        kernels_named(set);
        nb::gil_scoped_release release;
        return measure_integer_peak(named<InstructionSet, 3>("Instruction set", set), threads, repeats);
      },
      nb::arg("set"), nb::arg("threads"), nb::arg("repeats"),
      "Multiplications and additions of bytes a second, from registers alone: what no product can exceed.");
  m.def(
      "measure_matmul",
      [](const std::string& set, const std::string& layout, std::int64_t rows, std::int64_t columns, Encoded data,
         Inputs x, int threads, int repeats, std::int64_t code_bytes) {
        const LinearKernels& kernels = kernels_named(set);
        const Matrix weights = matrix(layout, rows, columns, data);
        const auto tokens = static_cast<std::int64_t>(x.shape(0));
        nb::gil_scoped_release release;
        return measure_matmul(kernels, weights, x.data(), tokens, threads, repeats, code_bytes);
      },
      nb::arg("set"), nb::arg("layout"), nb::arg("rows"), nb::arg("columns"), nb::arg("data"), nb::arg("x"),
      nb::arg("threads"), nb::arg("repeats"), nb::arg("code_bytes"),
      "Seconds of one product, activations quantised beforehand: floats (0), or whole numbers of 1 or 2 bytes.");
}

}  // namespace ouvert
