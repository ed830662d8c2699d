// The choice of tokens. ouvert.kernels.sampling checks all arguments.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings.h"
#include "python_arguments.h"
#include "sampling.h"

namespace nb = nanobind;

namespace ouvert {
namespace {

using Row = Array<const float, nb::ndim<1>>;
using TokenIds = Array<const std::int64_t, nb::ndim<1>>;
using TokenIdRows = Array<std::int64_t, nb::ndim<2>>;
using Numbers = Array<const double, nb::ndim<1>>;
using Asks = Array<const std::uint8_t, nb::shape<-1, sizeof(Ask)>>;
using Outcomes = Array<std::uint8_t, nb::shape<-1, sizeof(Outcome)>>;
using Shares = Array<std::int64_t, nb::ndim<1>>;
using ChangesOfRow = std::tuple<TokenIds, Numbers, TokenIds, Numbers>;

const SamplingKernels& kernels_named(const std::string& wanted) {
  return sampling_kernels(instruction_set_named(wanted));
}

void choose_rows(const std::string& set, const std::vector<Row>& logits, Asks asks,
                 const std::vector<std::optional<ChangesOfRow>>& changes,
                 const std::vector<std::optional<TokenIds>>& allowed, Outcomes outcomes, TokenIdRows likeliest) {
  const SamplingKernels& kernels = kernels_named(set);
  nb::gil_scoped_release release;
  for (std::size_t row = 0; row < logits.size(); ++row) {
    Changes of_row{};
    if (const auto& given = changes[row]) {
      const auto& [biased, bias, seen, times] = *given;
      of_row = {biased.data(), bias.data(), static_cast<std::int64_t>(biased.shape(0)),
                seen.data(),   times.data(), static_cast<std::int64_t>(seen.shape(0))};
    }
    const auto& of_these = allowed[row];
    choose(kernels, logits[row].data(), static_cast<std::int64_t>(logits[row].shape(0)),
           reinterpret_cast<const Ask*>(asks.data())[row], of_row, of_these ? of_these->data() : nullptr,
           of_these ? static_cast<std::int64_t>(of_these->shape(0)) : 0,
           reinterpret_cast<Outcome*>(outcomes.data())[row], likeliest.data() + row * likeliest.shape(1));
  }
}

void report_rows(const std::string& set, const std::vector<Row>& logits, TokenIds tops, Outcomes outcomes,
                 TokenIdRows likeliest) {
  const SamplingKernels& kernels = kernels_named(set);
  nb::gil_scoped_release release;
  for (std::size_t row = 0; row < logits.size(); ++row)
    report(kernels, logits[row].data(), static_cast<std::int64_t>(logits[row].shape(0)), tops.data()[row],
           reinterpret_cast<Outcome*>(outcomes.data())[row], likeliest.data() + row * likeliest.shape(1));
}

}  // namespace

void bind_sampling(nb::module_& m) {
  m.def("choose", &choose_rows, nb::arg("set"), nb::arg("logits"), nb::arg("asks"), nb::arg("changes"),
        nb::arg("allowed"), nb::arg("outcomes"), nb::arg("likeliest"));
  m.def("report", &report_rows, nb::arg("set"), nb::arg("logits"), nb::arg("tops"), nb::arg("outcomes"),
        nb::arg("likeliest"));
  m.def(
      "spread",
      [](const std::string& set, Row logits, float largest, double scale, float level) {
        const auto [weighed, above] = kernels_named(set).spread(logits.data(), static_cast<std::int64_t>(logits.shape(0)),
                                                                {largest, scale}, level);
        return nb::make_tuple(weighed, above);
      },
      nb::arg("set"), nb::arg("logits"), nb::arg("largest"), nb::arg("scale"), nb::arg("level"));
  m.def(
      "shares",
      [](const std::string& set, Row logits, float largest, double scale, Shares out) {
        const SamplingKernels& kernels = kernels_named(set);
        const auto tokens = static_cast<std::int64_t>(logits.shape(0));
        for (std::int64_t first = 0; first < tokens; first += kTokenBlock) {
          std::int64_t shares[kTokenBlock];
          kernels.shares(logits.data(), tokens, first / kTokenBlock, {largest, scale}, Bar{}, shares);
          for (std::int64_t i = first; i < tokens && i < first + kTokenBlock; ++i) out.data()[i] = shares[i - first];
        }
      },
      nb::arg("set"), nb::arg("logits"), nb::arg("largest"), nb::arg("scale"), nb::arg("out"));
}

}  // namespace ouvert
