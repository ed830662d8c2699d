// Programs, sequences and pages for Python. Shapes and types are checked by ouvert.kernels.

#include "program.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "attention_rows.h"
#include "bindings.h"
#include "python_arguments.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ouvert {
namespace {

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

void check_ids(const Program& p, const Ids& ids) {
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (ids.data()[i] < 0 || ids.data()[i] >= p.vocabulary)
      throw std::invalid_argument("step: token id " + std::to_string(ids.data()[i]) + " is given, expected 0 to " +
                                  std::to_string(p.vocabulary - 1) +
                                  ". Were the ids made by another model's tokenizer?");
}

// Kind, heads, width and window of each layer: ouvert.kernels.pages.
using Layers = std::vector<std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>>;

std::vector<LayerMemory> memories(const Layers& layers) {
  std::vector<LayerMemory> result;
  for (const auto& [kind, heads, dim, window] : layers)
    result.push_back({heads, dim, window < 0 ? kNoWindow : window, static_cast<LayerMemory::Kind>(kind)});
  return result;
}

// Bytes of a block, blocks in use and references to them, of each group of layers.
std::vector<std::tuple<std::int64_t, std::int64_t, std::int64_t>> groups(Program& p) {
  std::vector<std::tuple<std::int64_t, std::int64_t, std::int64_t>> result;
  for (std::int64_t g = 0; g < p.cache().groups(); ++g) {
    const Cache::Group& group = p.cache().group(g);
    std::int64_t references = 0;
    for (const auto& [block, count] : group.references) references += count;
    result.emplace_back(group.block_bytes, group.in_use(), references);
  }
  return result;
}

// Kind, seconds and runs of each instruction since the last call.
std::vector<std::tuple<std::string, double, std::int64_t>> profile(Program& p) {
  std::vector<std::tuple<std::string, double, std::int64_t>> rows;
  for (const auto& instruction : p.instructions()) {
    rows.emplace_back(instruction->kind(), instruction->seconds, instruction->runs);
    instruction->seconds = 0, instruction->runs = 0;
  }
  return rows;
}

void bind_values(nb::module_& m) {
  nb::enum_<Rows>(m, "Rows").value("tokens", Rows::tokens).value("wanted", Rows::wanted);

  nb::class_<Matrix>(m, "Matrix")
      .def("__init__",
           [](Matrix* self, const std::string& layout, std::int64_t rows, std::int64_t columns, const Bytes& data,
              std::int64_t experts) { new (self) Matrix(matrix(layout, rows, columns, data, experts)); },
           "layout"_a, "rows"_a, "columns"_a, "data"_a, "experts"_a = 1, nb::keep_alive<1, 5>());

  nb::class_<Value>(m, "Value")
      .def("__init__",
           [](Value* self, Rows rows, std::int64_t width, std::int64_t offset) {
             new (self) Value{rows, width, offset};
           },
           "rows"_a, "width"_a, "offset"_a)
      .def_ro("width", &Value::width);
}

nb::class_<Sequence> bind_sequences(nb::module_& m) {
  auto sequence = nb::class_<Sequence>(m, "Sequence");
  sequence
      .def_prop_ro("length", &Sequence::length)
      .def_rw("expanded", &Sequence::expanded)
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
  return sequence;
}

void bind_sequences_of(nb::class_<Program>& program) {
  program
      .def("new_sequence", [](Program& p) { return new Sequence(p.cache()); }, nb::keep_alive<0, 1>())
      .def("fork", [](Program&, const Sequence& sequence) { return sequence.fork(); }, nb::keep_alive<0, 1>())
      .def("page", [](Program&, const Sequence& sequence, std::int64_t n) { return sequence.page(n); },
           nb::keep_alive<0, 1>())
      .def("page_from",
           [](Program& p, std::int64_t tokens, const std::vector<std::int64_t>& present, const Bytes& data) {
             std::unique_ptr<bool[]> flags(new bool[present.size()]);
             std::copy(present.begin(), present.end(), flags.get());
             auto page = std::make_unique<Page>(p.cache(), tokens, std::span<const bool>(flags.get(), present.size()));
             nb::gil_scoped_release released;
             page->fill(data.data(), p.common()->pool);
             return page.release();
           },
           nb::keep_alive<0, 1>())
      .def("resume",
           [](Program& p, const std::vector<Page*>& pages, std::int64_t length) {
             const std::vector<const Page*> list(pages.begin(), pages.end());
             return new Sequence(p.cache(), list, length);
           },
           nb::keep_alive<0, 1>())
      .def("owns", [](Program& p, const Page& page) { return &page.cache() == &p.cache(); });
}

void bind_steps(nb::class_<Program>& program) {
  program
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
      .def("profile", &profile);
}

void bind_memory(nb::class_<Program>& program) {
  program
      .def("bytes_for", [](Program& p, std::int64_t tokens) { return p.cache().bytes_for(tokens); })
      .def_prop_ro("cache_bytes_in_use", [](Program& p) { return p.cache().bytes_in_use(); })
      .def_prop_ro("page_bytes", [](Program& p) { return p.cache().page_bytes(); })
      .def_prop_rw("cache_limit", [](Program& p) { return p.cache().limit; },
                   [](Program& p, std::int64_t bytes) { p.cache().limit = bytes; })
      .def_prop_ro("groups", &groups);
}

void bind_settings(nb::class_<Program>& program) {
  program
      .def("arena", &Program::arena)
      .def_prop_ro("threads", &Program::threads)
      .def_prop_ro("instruction_set", [](Program& p) { return std::string(name(p.instruction_set())); })
      .def_rw("vocabulary", &Program::vocabulary)
      .def_rw("empty", &Program::empty)
      .def_rw("timed", &Program::timed);
}

}  // namespace

void bind_program(nb::module_& m) {
  bind_values(m);
  auto sequence = bind_sequences(m);
  auto program = nb::class_<Program>(m, "Program");
  program
      .def("__init__",
           [](Program* self, int threads, const std::string& set, const Layers& layers, const std::string& cache,
              std::int64_t kept_before_window) {
             new (self) Program(std::make_shared<Common>(threads, instruction_set_named(set), memories(layers),
                                                         cache_type_named(cache), kept_before_window));
           },
           "threads"_a, "instruction_set"_a, "layers"_a, "cache"_a, "kept_before_window"_a)
      .def("sibling", [](const Program& p) { return new Program(p.common()); });
  bind_settings(program);
  bind_instructions(m, program);
  bind_steps(program);
  bind_sequences_of(program);
  bind_memory(program);
  bind_edits(m, program, sequence);
  bind_adapters(m, sequence);
  m.def("activation_bytes_per_token", [](std::int64_t columns, std::int64_t code_bytes) {
    return activation_bytes(kTokenTile, columns, code_bytes) / kTokenTile;
  });
  m.attr("NO_WINDOW") = kNoWindow;
  m.attr("BLOCK_KEYS") = kBlockKeys;
  m.attr("MOST_TAPS") = kMostTaps;
  m.attr("MOST_EXPERTS") = kMostExperts;
  m.attr("MOST_TOP") = kMostTop;
}

}  // namespace ouvert
