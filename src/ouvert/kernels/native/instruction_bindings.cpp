// The instructions of a program, each as a method of Program that appends it. ouvert.kernels.lowering calls them.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>

#include "attention_rows.h"
#include "bindings.h"
#include "instructions.h"
#include "python_arguments.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ouvert {
namespace {

void bind_rows(nb::class_<Program>& program) {
  program
      .def("embed", [](Program& p, const Matrix& table, Value out) { p.add(std::make_unique<Embed>(table, out)); })
      .def("angles",
           [](Program& p, const nb::object& frequencies, float magnitude, Value out) {
             p.add(std::make_unique<Angles>(copied(frequencies), magnitude, out));
           })
      .def("quantise",
           [](Program& p, Value x, std::int64_t code_bytes, Value out) {
             p.add(std::make_unique<Quantise>(x, code_bytes, out));
           })
      .def("norm",
           [](Program& p, Value x, const nb::object& weight, std::int64_t width, float eps, Value out,
              Value quantised) {
             p.add(std::make_unique<Norm>(x, copied(weight), width, eps, out, quantised));
           })
      .def("add", [](Program& p, Value a, Value b, Value out) { p.add(std::make_unique<Add>(a, b, out)); })
      .def("select", [](Program& p, Value x, Value out) { p.add(std::make_unique<Select>(x, out)); })
      .def("gated",
           [](Program& p, Value gate, Value up, bool clamped, float alpha, float limit, Value out) {
             p.add(std::make_unique<Gated>(gate, up, Gate{clamped, alpha, limit}, out));
           })
      .def("rotate",
           [](Program& p, Value x, Value angles, std::int64_t head_dim, Value out) {
             p.add(std::make_unique<Rotate>(x, angles, head_dim, out));
           })
      .def("join_columns",
           [](Program& p, Value a, Value b, std::int64_t heads, bool of_all, Value out) {
             p.add(std::make_unique<JoinColumns>(a, b, heads, of_all, out));
           });
}

void bind_products(nb::class_<Program>& program) {
  program
      .def("linear",
           [](Program& p, Value x, Value floats, std::int64_t codes,
              const std::vector<std::tuple<Matrix*, nb::object, Value, bool, std::string, Value>>& products, bool gated,
              bool clamped, float alpha, float limit) {
             std::vector<Product> list;
             for (const auto& [weights, bias, out, accumulate, name, sum] : products)
               list.push_back({*weights, copied(bias), out, accumulate, name, sum});
             p.add(std::make_unique<Linear>(x, floats, codes, std::move(list), gated, Gate{clamped, alpha, limit}));
           })
      .def("linear_heads",
           [](Program& p, Value x, const Matrix& weights, bool of_all, Value out) {
             p.add(std::make_unique<LinearHeads>(x, ExpertProduct{weights, {}}, of_all, out));
           });
}

void bind_attention(nb::class_<Program>& program) {
  program
      .def("append",
           [](Program& p, std::int64_t layer, Value k, Value v) { p.add(std::make_unique<Append>(layer, k, v)); })
      .def("rotate_append",
           [](Program& p, std::int64_t layer, Value k, Value v, Value q, Value angles) {
             p.add(std::make_unique<Append>(layer, k, v, q, angles));
           })
      .def("append_latent",
           [](Program& p, std::int64_t layer, Value x) { p.add(std::make_unique<AppendLatent>(layer, x)); })
      .def("attend_expanded",
           [](Program& p, const std::shared_ptr<ExpandedBuffers>& buffers, std::int64_t layer, Value q_nope,
              Value q_rope, const Matrix& key, const Matrix& value, float scale, Value out) {
             p.add(std::make_unique<AttendExpanded>(buffers, layer, q_nope, q_rope, ExpertProduct{key, {}},
                                                    ExpertProduct{value, {}}, scale, out));
           })
      .def("attend",
           [](Program& p, const std::shared_ptr<AttentionPlan>& plan, std::int64_t layer, Value q,
              const nb::object& sinks, float scale, Value out) {
             auto attend = std::make_unique<Attend>(plan, layer, q, copied(sinks), scale, out);
             auto merge = std::make_unique<MergeSegments>(*attend);
             Attend* made = attend.get();
             p.add(std::move(attend));
             p.add(std::move(merge));
             return made;
           },
           nb::rv_policy::reference_internal, "plan"_a, "layer"_a, "q"_a, "sinks"_a.none(), "scale"_a, "out"_a);
}

template <typename T>
using RowsOut = std::optional<std::tuple<Ids, Array<T>>>;  // tokens, and where their rows go
// AttentionRows::Wish: ouvert.kernels.looking.
using RowWish = std::tuple<AttentionRows*, RowsOut<float>, RowsOut<float>, RowsOut<std::int32_t>, RowsOut<float>,
                           std::int64_t>;

template <typename T>
AttentionRows::Shown<T> shown_of(const RowsOut<T>& rows) {
  if (!rows) return {};
  const auto& [tokens, to] = *rows;
  return {{tokens.data(), tokens.size()}, to.data()};
}

void bind_attention_rows(nb::module_& m, nb::class_<Program>& program) {
  nb::class_<RowBuffers>(m, "RowBuffers").def(nb::init<>());
  nb::class_<Attend>(m, "Attend");
  nb::class_<AttentionRows>(m, "AttentionRows");
  program
      .def("attention_rows",
           [](Program& p, const std::shared_ptr<RowBuffers>& buffers, Attend& attend) {
             auto rows = std::make_unique<AttentionRows>(buffers, attend);
             AttentionRows* made = rows.get();
             p.add(std::move(rows));
             return made;
           },
           nb::rv_policy::reference_internal)
      .def("show_rows", [](Program&, const std::vector<RowWish>& given, std::int64_t tokens, std::int64_t positions) {
        std::vector<std::pair<AttentionRows*, AttentionRows::Wish>> wishes;
        for (const auto& [rows, weights, sinks, top, top_weights, most] : given)
          wishes.push_back({rows, {shown_of(weights), shown_of(sinks), shown_of(top), shown_of(top_weights), most}});
        for (auto& [rows, wish] : wishes) rows->reserve(wish, positions);
        for (auto& [rows, wish] : wishes) rows->show(wish, tokens, positions);
      });
}

void bind_state(nb::class_<Program>& program) {
  program
      .def("convolve",
           [](Program& p, std::int64_t layer, Value x, const nb::object& weight, const nb::object& bias, Value out) {
             p.add(std::make_unique<Convolve>(layer, x, copied(weight), copied(bias), out));
           })
      .def("selective_scan",
           [](Program& p, std::int64_t layer, Value x, Value dt, const nb::object& A, Value B, Value C,
              const nb::object& D, Value out, Value norms) {
             p.add(std::make_unique<SelectiveScan>(layer, ScanInputs{x, dt, B, C}, copied(A), copied(D), out, norms));
           })
      .def("ssd_scan",
           [](Program& p, std::int64_t layer, Value xBC, Value dt, const nb::object& A, const nb::object& D,
              std::int64_t states, std::int64_t head_dim, std::int64_t groups, float low, float high, Value out,
              Value norms) {
             const SsdSizes sizes{states, head_dim, groups, low, high};
             p.add(std::make_unique<SsdScan>(layer, xBC, dt, copied(A), copied(D), sizes, out, norms));
           });
}

// A descriptor of a file is handed over: the cache closes it.
void bind_expert_cache(nb::module_& m) {
  nb::class_<ExpertCache>(m, "ExpertCache")
      .def(nb::init<int, bool, std::int64_t, int>(), "descriptor"_a, "direct"_a, "bytes"_a, "readers"_a)
      .def("read",
           [](ExpertCache& cache, std::int64_t offset, const BytesOut& out) {
             nb::gil_scoped_release released;
             return cache.read(offset, static_cast<std::int64_t>(out.size()), out.data());
           })
      .def_prop_ro("lost", &ExpertCache::lost)
      .def_prop_ro("statistics", [](const ExpertCache& cache) {
        const ExpertCache::Statistics s = cache.statistics();
        return std::make_tuple(s.bytes_read, s.lookups, s.hits, s.slots, s.slot_bytes, s.experts);
      });
}

// `outs`: what they add, and what each of them adds, if that has a width.
void add_mixture(Program& p, Value x, Value chosen, Value expert_weights, std::pair<Value, Value> outs,
                 std::int64_t top_k, ExpertMatrices matrices, bool exact,
                 const std::shared_ptr<ExpertBuffers>& buffers) {
  auto work = std::make_shared<Experts>(x, chosen, expert_weights, outs.first, outs.second, top_k, std::move(matrices),
                                        exact, buffers);
  p.add(std::make_unique<GatherTokens>(work));
  p.add(std::make_unique<GateExperts>(work));
  p.add(std::make_unique<QuantiseInner>(work));
  p.add(std::make_unique<DownExperts>(work));
  p.add(std::make_unique<MixOutputs>(work));
}

void bind_experts(nb::class_<Program>& program) {
  program
      .def("route_top_k",
           [](Program& p, Value scores, std::int64_t top_k, bool normalised, Value chosen, Value expert_weights) {
             p.add(std::make_unique<RouteTopK>(scores, top_k, normalised, chosen, expert_weights));
           })
      .def("route_top_k_of_groups",
           [](Program& p, Value scores, const nb::object& correction, std::int64_t top_k, std::int64_t groups,
              std::int64_t top_groups, bool normalised, float factor, Value chosen, Value expert_weights) {
             GroupRouting how{copied(correction), top_k, groups, top_groups, normalised, factor};
             p.add(std::make_unique<RouteTopKOfGroups>(scores, std::move(how), chosen, expert_weights));
           })
      .def("mix_experts",
           [](Program& p, const std::shared_ptr<ExpertBuffers>& buffers, Value x, Value chosen, Value expert_weights,
              Value out, Value each, std::int64_t experts, std::int64_t top_k,
              const std::vector<std::tuple<Matrix*, nb::object, std::string>>& products, bool clamped, float alpha,
              float limit, bool exact) {
             std::vector<ExpertProduct> three;
             ExpertNames names;
             for (const auto& [weights, bias, name] : products) {
               names.at(three.size()) = name;
               three.push_back({*weights, copied(bias)});
             }
             add_mixture(p, x, chosen, expert_weights, {out, each}, top_k,
                         {experts, three.at(0), three.at(1), three.at(2), Gate{clamped, alpha, limit}, nullptr, 0, names},
                         exact, buffers);
           })
      .def("mix_experts_of_file",
           [](Program& p, const std::shared_ptr<ExpertBuffers>& buffers, const std::shared_ptr<ExpertCache>& cache,
              Value x, Value chosen, Value expert_weights, Value out, Value each, std::int64_t experts,
              std::int64_t top_k,
              const std::vector<
                  std::tuple<std::string, std::int64_t, std::int64_t, std::int64_t, nb::object, std::string>>& products,
              bool clamped, float alpha, float limit, bool exact) {
             std::vector<ExpertProduct> three;
             ExpertNames names;
             ExpertCache::Layer layer{experts, {}};
             for (const auto& [layout, rows, columns, offset, bias, name] : products) {
               names.at(three.size()) = name;
               const Matrix weights{layout_named(layout), rows, columns, nullptr};
               layer.matrices[three.size()] = {offset, packed_bytes(weights.layout, rows, columns)};
               three.push_back({weights, copied(bias)});
             }
             add_mixture(p, x, chosen, expert_weights, {out, each}, top_k,
                         {experts, three.at(0), three.at(1), three.at(2), Gate{clamped, alpha, limit}, cache,
                          cache->add(layer), names},
                         exact, buffers);
           });
}

}  // namespace

void bind_instructions(nb::module_& m, nb::class_<Program>& program) {
  nb::class_<ExpandedBuffers>(m, "ExpandedBuffers").def(nb::init<>());
  nb::class_<AttentionPlan>(m, "AttentionPlan")
      .def(nb::init<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t>(), "group"_a, "kv_heads"_a,
           "head_dim"_a, "window"_a, "value_dim"_a);
  nb::class_<ExpertBuffers>(m, "ExpertBuffers").def(nb::init<>());
  bind_expert_cache(m);
  bind_rows(program);
  bind_products(program);
  bind_attention_rows(m, program);
  bind_attention(program);
  bind_state(program);
  bind_experts(program);
}

}  // namespace ouvert
