// Programs, sequences and single kernels for Python. Shapes and types are checked by ouvert.kernels.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "program_bindings.h"

#include "instructions.h"
#include "program.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ouvert {
namespace {

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using FloatsOut = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using Ids = nb::ndarray<const std::int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using BytesOut = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::vector<float> copied(const nb::object& array) {
  if (array.is_none()) return {};
  const auto floats = nb::cast<Floats>(array);
  return {floats.data(), floats.data() + floats.size()};
}

InstructionSet instruction_set(const std::string& wanted) {
  for (InstructionSet set : {InstructionSet::plain, InstructionSet::avx2, InstructionSet::avx512})
    if (wanted == name(set)) {
      if (set > best_instruction_set())
        throw std::invalid_argument("instruction set " + wanted + " is asked for, but this machine has " +
                                    name(best_instruction_set()) + " at most");
      return set;
    }
  throw std::invalid_argument("instruction set " + wanted + " is not known; expected plain, avx2 or avx512");
}

Layout layout_named(const std::string& wanted) {
  for (int n = 0; n <= static_cast<int>(Layout::F32); ++n)
    if (wanted == name(static_cast<Layout>(n))) return static_cast<Layout>(n);
  throw std::invalid_argument("layout " + wanted + " is not known");
}

Matrix matrix(const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data,
              std::int64_t experts) {
  const Matrix result{layout_named(layout), rows, columns, data.data()};
  const std::int64_t bytes = experts * packed_bytes(result.layout, rows, columns);
  if (static_cast<std::int64_t>(data.size()) != bytes || reinterpret_cast<std::uintptr_t>(data.data()) % 64 != 0)
    throw std::invalid_argument("a packed " + layout + " matrix of " + std::to_string(experts) + " x (" +
                                std::to_string(rows) + ", " + std::to_string(columns) + ") is " +
                                std::to_string(data.size()) + " bytes, expected " + std::to_string(bytes) +
                                ", aligned to 64");
  return result;
}

CacheType cache_type(const std::string& wanted) {
  if (wanted == "f16") return CacheType::f16;
  if (wanted == "f32") return CacheType::f32;
  if (wanted == "q8") return CacheType::q8;
  throw std::invalid_argument("cache type " + wanted + " is not known; expected f16, f32 or q8");
}

void check_ids(const Program& p, const Ids& ids) {
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids.data()[i] < 0 || ids.data()[i] >= p.vocabulary)
      throw std::invalid_argument("step: token id " + std::to_string(ids.data()[i]) + " is given, expected 0 to " +
                                  std::to_string(p.vocabulary - 1) +
                                  ". Were the ids made by another model's tokenizer?");
}

// One attention over dense arrays through a cache of its own: for tests. Splits the past of every token if asked to.
void attend_dense(const std::string& set, const std::string& type, const Floats& q, const Floats& k, const Floats& v,
                  std::int64_t first, float scale, std::int64_t window, const nb::object& sinks_array,
                  std::int64_t tile_tokens, bool segments, const FloatsOut& out) {
  const AttentionKernels& kernels = attention_kernels(instruction_set(set));
  const auto tokens = static_cast<std::int64_t>(q.shape(0)), heads = static_cast<std::int64_t>(q.shape(1)),
             length = static_cast<std::int64_t>(k.shape(0)), kv_heads = static_cast<std::int64_t>(k.shape(1)),
             head_dim = static_cast<std::int64_t>(k.shape(2)), group = heads / kv_heads;
  const std::vector<float> sinks = copied(sinks_array);
  Cache cache({LayerMemory{kv_heads, head_dim, window}}, cache_type(type), 0);
  Sequence sequence(cache);
  sequence.reserve(length);
  const std::int64_t stretch = head_block_bytes(head_dim, cache.type());
  for (std::int64_t t = 0; t < length; ++t)
    for (std::int64_t h = 0; h < kv_heads; ++h)
      kernels.append(k.data() + (t * kv_heads + h) * head_dim, v.data() + (t * kv_heads + h) * head_dim, head_dim,
                       cache.type(), sequence.blocks(0)[t / kBlockKeys] + h * stretch, t % kBlockKeys, nullptr);
  Buffer scratch, states;
  scratch.grow(4 * attention_scratch(tile_tokens * group, head_dim, head_dim));
  for (std::int64_t t = 0; t < tokens; t += tile_tokens)
    for (std::int64_t h = 0; h < kv_heads; ++h) {
      const AttentionTile tile{.q = q.data() + (t * heads + h * group) * head_dim, .q_stride = heads * head_dim,
                               .tokens = std::min(tile_tokens, tokens - t), .group = group, .head_dim = head_dim,
                               .position = first + t, .window = window, .scale = scale, .type = cache.type(),
                               .blocks = sequence.blocks(0), .offset = h * stretch, .value_dim = head_dim};
      const float* sink = sinks.empty() ? nullptr : sinks.data() + h * group;
      float* to = out.data() + (t * heads + h * group) * head_dim;
      if (!segments) {
        kernels.attend(tile, sink, scratch.floats(), to, heads * head_dim);
        continue;
      }
      const std::int64_t between = tile.rows() * state_stride(head_dim), count = tile.end_segment() - tile.first_segment();
      states.grow(4 * between * count);
      for (std::int64_t s = count; s-- > 0;)
        kernels.attend_segment(tile, tile.first_segment() + s, scratch.floats(), states.floats() + s * between);
      kernels.merge_segments(tile, states.floats(), count, between, sink, to, heads * head_dim);
    }
}

// Hands out pieces and notes which instruction each saw before it: for tests of the pool.
std::int64_t pool_faults(int threads, const std::vector<std::uint32_t>& counts, int times) {
  struct Chain final : Job {
    const std::vector<std::uint32_t>& counts;
    std::vector<std::uint32_t> done;
    std::int64_t faults = 0;
    explicit Chain(const std::vector<std::uint32_t>& c) : counts(c), done(c.size()) {
      std::uint32_t most = 0;
      for (std::uint32_t count : c) most = std::max(most, count);
      marks.resize(most);
    }
    std::vector<std::uint32_t> marks;
    std::uint32_t pieces(std::uint32_t i) noexcept override {
      if (i > 0)
        for (std::uint32_t piece = 0; piece < counts[i - 1]; ++piece) faults += marks[piece] != i;
      for (std::uint32_t& mark : marks) mark = 0;
      return counts[i];
    }
    void run(std::uint32_t i, std::uint32_t piece, int) noexcept override { marks[piece] += i + 1; }
  } chain(counts);
  Pool pool(threads);
  for (int i = 0; i < times; ++i) pool.execute(chain, static_cast<std::uint32_t>(counts.size()));
  return chain.faults;
}

}  // namespace

void bind_program(nb::module_& m) {
  m.def("activation_bytes_per_token", [](std::int64_t columns, std::int64_t code_bytes) {
    return activation_bytes(kTokenTile, columns, code_bytes) / kTokenTile;
  });
  m.def("attend_dense", &attend_dense, "instruction_set"_a, "cache"_a, "q"_a, "k"_a, "v"_a, "first"_a, "scale"_a,
        "window"_a, "sinks"_a.none(), "tile_tokens"_a, "segments"_a, "out"_a);
  m.def("pool_faults", &pool_faults, "threads"_a, "counts"_a, "times"_a, nb::call_guard<nb::gil_scoped_release>());
  m.def("rms_norm", [](const std::string& set, const Floats& x, const Floats& weight, float eps, const FloatsOut& out) {
    const auto width = static_cast<std::int64_t>(weight.size());
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(x.size()); i += width)
      row_kernels(instruction_set(set)).rms_norm(x.data() + i, weight.data(), out.data() + i, width, eps);
  });
  m.def("swiglu", [](const std::string& set, const Floats& gate, const Floats& up, const FloatsOut& out) {
    row_kernels(instruction_set(set)).swiglu(gate.data(), up.data(), out.data(), static_cast<std::int64_t>(gate.size()));
  });
  m.def("clamped_swiglu",
        [](const std::string& set, const Floats& gate, const Floats& up, float alpha, float limit, const FloatsOut& out) {
          row_kernels(instruction_set(set))
              .clamped_swiglu(gate.data(), up.data(), out.data(), static_cast<std::int64_t>(gate.size()), alpha, limit);
        });

  nb::enum_<Rows>(m, "Rows").value("tokens", Rows::tokens).value("wanted", Rows::wanted);

  nb::class_<Matrix>(m, "Matrix")
      .def("__init__",
           [](Matrix* self, const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data,
              std::int64_t experts) { new (self) Matrix(matrix(layout, rows, columns, data, experts)); },
           "layout"_a, "rows"_a, "columns"_a, "data"_a, "experts"_a = 1, nb::keep_alive<1, 5>());

  nb::class_<Value>(m, "Value")
      .def("__init__",
           [](Value* self, Rows rows, std::int64_t width, std::int64_t offset) { new (self) Value{rows, width, offset}; },
           "rows"_a, "width"_a, "offset"_a)
      .def_ro("rows", &Value::rows)
      .def_ro("width", &Value::width);

  nb::class_<Sequence>(m, "Sequence")
      .def_prop_ro("length", &Sequence::length)
      .def("truncate", &Sequence::truncate)
      .def("swap", &Sequence::swap)
      .def("blocks_held", &Sequence::blocks_held)
      .def("close", &Sequence::close);

  nb::class_<Page>(m, "Page")
      .def_prop_ro("tokens", &Page::tokens)
      .def_prop_ro("bytes", &Page::bytes)
      .def("holds", [](const Page& page, std::int64_t group) { return page.block(group) != nullptr; })
      .def("read",
           [](const Page& page, const BytesOut& out) {
             nb::gil_scoped_release released;
             page.read(out.data());
           })
      .def("close", &Page::close);

  using Layers = std::vector<std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>>;
  nb::class_<Program>(m, "Program")
      .def("__init__",
           [](Program* self, int threads, const std::string& set, const Layers& layers, const std::string& cache,
              std::int64_t kept) {
             std::vector<LayerMemory> memories;
             for (const auto& [kind, heads, dim, window] : layers)
               memories.push_back({heads, dim, window < 0 ? kNoWindow : window, static_cast<LayerMemory::Kind>(kind)});  // pages.py
             new (self) Program(threads, instruction_set(set), std::move(memories), cache_type(cache), kept);
           },
           "threads"_a, "instruction_set"_a, "layers"_a, "cache"_a, "kept"_a)
      .def("arena", &Program::arena)
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
           [](Program& p, Value x, const nb::object& weight, float eps, Value out, Value quantised) {
             p.add(std::make_unique<Norm>(x, copied(weight), eps, out, quantised));
           })
      .def("add", [](Program& p, Value a, Value b, Value out) { p.add(std::make_unique<Add>(a, b, out)); })
      .def("select", [](Program& p, Value x, Value out) { p.add(std::make_unique<Select>(x, out)); })
      .def("gated",
           [](Program& p, Value gate, Value up, bool clamped, float alpha, float limit, Value out) {
             p.add(std::make_unique<Gated>(gate, up, Gate{clamped, alpha, limit}, out));
           })
      .def("linear",
           [](Program& p, Value x, std::int64_t codes,
              const std::vector<std::tuple<Matrix*, nb::object, Value, bool>>& products, bool gated, bool clamped,
              float alpha, float limit) {
             std::vector<Product> list;
             for (const auto& [weights, bias, out, accumulate] : products)
               list.push_back({*weights, copied(bias), out, accumulate});
             p.add(std::make_unique<Linear>(x, codes, std::move(list), gated, Gate{clamped, alpha, limit}));
           })
      .def("rotate",
           [](Program& p, Value x, Value angles, std::int64_t head_dim, Value out) {
             p.add(std::make_unique<Rotate>(x, angles, head_dim, out));
           })
      .def("remember",
           [](Program& p, std::int64_t layer, Value k, Value v) { p.add(std::make_unique<Append>(layer, k, v)); })
      .def("rotate_remember",
           [](Program& p, std::int64_t layer, Value k, Value v, Value q, Value angles) {
             p.add(std::make_unique<Append>(layer, k, v, q, angles));
           })
      .def("attend",
           [](Program& p, const std::shared_ptr<AttentionPlan>& plan, std::int64_t layer, Value q, const nb::object& sinks,
              float scale, Value out) {
             auto attend = std::make_unique<Attend>(plan, layer, q, copied(sinks), scale, out);
             auto join = std::make_unique<MergeSegments>(*attend);
             p.add(std::move(attend));
             p.add(std::move(join));
           },
           "plan"_a, "layer"_a, "q"_a, "sinks"_a.none(), "scale"_a, "out"_a)
      .def("remember_latent",
           [](Program& p, std::int64_t layer, Value x) { p.add(std::make_unique<AppendLatent>(layer, x)); })
      .def("join_columns",
           [](Program& p, Value a, Value b, std::int64_t heads, Value out) {
             p.add(std::make_unique<JoinColumns>(a, b, heads, out));
           })
      .def("linear_heads",
           [](Program& p, Value x, const Matrix& weights, Value out) {
             p.add(std::make_unique<LinearHeads>(x, ExpertProduct{weights, {}}, out));
           })
      .def("route_top_k_of_groups",
           [](Program& p, Value scores, const nb::object& correction, std::int64_t kept, std::int64_t groups,
              std::int64_t groups_kept, bool normalised, float factor, Value chosen, Value share) {
             p.add(std::make_unique<RouteTopKOfGroups>(
                 scores, GroupRouting{copied(correction), kept, groups, groups_kept, normalised, factor}, chosen, share));
           })
      .def("convolve",
           [](Program& p, std::int64_t layer, Value x, const nb::object& weight, const nb::object& bias, Value out) {
             p.add(std::make_unique<Convolve>(layer, x, copied(weight), copied(bias), out));
           })
      .def("scan",
           [](Program& p, std::int64_t layer, Value x, Value step, const nb::object& decay, Value b, Value c,
              const nb::object& skip, Value out) {
             p.add(std::make_unique<SelectiveScan>(layer, ScanInputs{x, step, b, c}, copied(decay), copied(skip), out));
           })
      .def("route_top_k",
           [](Program& p, Value scores, std::int64_t kept, Value chosen, Value share) {
             p.add(std::make_unique<RouteTopK>(scores, kept, chosen, share));
           })
      .def("mix_experts",
           [](Program& p, const std::shared_ptr<ExpertBuffers>& buffers, Value x, Value chosen, Value share, Value out,
              std::int64_t experts, std::int64_t kept, const std::vector<std::tuple<Matrix*, nb::object>>& products,
              bool clamped, float alpha, float limit, bool exact) {
             std::vector<ExpertProduct> three;
             for (const auto& [weights, bias] : products) three.push_back({*weights, copied(bias)});
             ExpertMatrices matrices{experts, three.at(0), three.at(1), three.at(2), Gate{clamped, alpha, limit}};
             auto work = std::make_shared<Experts>(x, chosen, share, out, kept, std::move(matrices), exact, buffers);
             p.add(std::make_unique<GatherTokens>(work));
             p.add(std::make_unique<GateExperts>(work));
             p.add(std::make_unique<QuantiseInner>(work));
             p.add(std::make_unique<DownExperts>(work));
             p.add(std::make_unique<MixOutputs>(work));
           })
      .def("new_sequence", [](Program& p) { return new Sequence(p.cache()); }, nb::keep_alive<0, 1>())
      .def("fork", [](Program&, const Sequence& sequence) { return sequence.fork(); }, nb::keep_alive<0, 1>())
      .def("page", [](Program&, const Sequence& sequence, std::int64_t n) { return sequence.page(n); },
           nb::keep_alive<0, 1>())
      .def("page_from",
           [](Program& p, std::int64_t tokens, const std::vector<std::int64_t>& present, const Bytes& data) {
             std::unique_ptr<bool[]> flags(new bool[present.size()]);
             std::copy(present.begin(), present.end(), flags.get());
             return new Page(p.cache(), tokens, {flags.get(), present.size()}, data.data());
           },
           nb::keep_alive<0, 1>())
      .def("resume",
           [](Program& p, const std::vector<Page*>& pages, std::int64_t length) {
             const std::vector<const Page*> list(pages.begin(), pages.end());
             return new Sequence(p.cache(), list, length);
           },
           nb::keep_alive<0, 1>())
      .def("owns", [](Program& p, const Page& page) { return &page.cache() == &p.cache(); })
      .def("step",
           [](Program& p, const std::vector<Sequence*>& sequences, const std::vector<std::int64_t>& counts,
              const std::vector<std::int64_t>& wanted, const Ids& ids, const FloatsOut& logits) {
             check_ids(p, ids);
             std::vector<Wanted> each;
             for (const std::int64_t rows : wanted) each.push_back(static_cast<Wanted>(rows));
             nb::gil_scoped_release released;
             p.step(sequences, counts, each, {ids.data(), ids.size()}, logits.data());
           })
      .def("check", &check_ids)
      .def("read",
           [](Program& p, Value value, const FloatsOut& out) {
             std::memcpy(out.data(), p.at(value), static_cast<std::size_t>(p.rows_of(value) * value.width) * 4);
           })
      .def("rows_of", [](Program& p, Value value) { return p.rows_of(value); })
      .def("bytes_for", [](Program& p, std::int64_t tokens) { return p.cache().bytes_for(tokens); })
      .def_prop_ro("cache_bytes_in_use", [](Program& p) { return p.cache().bytes_in_use(); })
      .def_prop_ro("page_bytes", [](Program& p) { return p.cache().page_bytes(); })
      .def_prop_rw("cache_limit", [](Program& p) { return p.cache().limit; },
                   [](Program& p, std::int64_t bytes) { p.cache().limit = bytes; })
      .def_prop_ro("groups",
                   [](Program& p) {
                     std::vector<std::tuple<std::int64_t, std::int64_t, std::int64_t>> groups;
                     for (std::int64_t g = 0; g < p.cache().groups(); ++g) {
                       const Cache::Group& group = p.cache().group(g);
                       std::int64_t references = 0;
                       for (const auto& [block, count] : group.references) references += count;
                       groups.emplace_back(group.block_bytes, group.in_use(), references);
                     }
                     return groups;
                   })
      .def_prop_ro("threads", &Program::threads)
      .def_prop_ro("instruction_set", [](Program& p) { return std::string(name(p.instruction_set())); })
      .def_rw("vocabulary", &Program::vocabulary)
      .def_rw("empty", &Program::empty)
      .def_rw("timed", &Program::timed)
      .def("profile", [](Program& p) {
        std::vector<std::tuple<std::string, double, std::int64_t>> rows;
        for (const auto& instruction : p.instructions()) {
          rows.emplace_back(instruction->kind(), instruction->seconds, instruction->runs);
          instruction->seconds = 0, instruction->runs = 0;
        }
        return rows;
      });

  nb::class_<AttentionPlan>(m, "AttentionPlan")
      .def(nb::init<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t>(), "group"_a, "kv_heads"_a,
           "head_dim"_a, "window"_a, "value_dim"_a);
  nb::class_<ExpertBuffers>(m, "ExpertBuffers").def(nb::init<>());
  m.attr("NO_WINDOW") = kNoWindow;
  m.attr("BLOCK_KEYS") = kBlockKeys;
  m.attr("MOST_TAPS") = kMostTaps;
  m.attr("MOST_EXPERTS") = kMostExperts;
}

}  // namespace ouvert
