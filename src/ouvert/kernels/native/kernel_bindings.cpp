// Single kernels and the pool, for tests and benchmarks.

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "attention.h"
#include "bindings.h"
#include "cache.h"
#include "pool.h"
#include "python_arguments.h"
#include "rows.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ouvert {
namespace {

// Attention over dense arrays, through a cache of its own. `segments`: the past of every token is cut into segments.
void attend_dense(const std::string& set, const std::string& type, const Floats& q, const Floats& k, const Floats& v,
                  std::int64_t first, float scale, std::int64_t window, const nb::object& sinks_array,
                  std::int64_t tile_tokens, bool segments, const FloatsOut& out) {
  const AttentionKernels& kernels = attention_kernels(instruction_set_named(set));
  const auto tokens = static_cast<std::int64_t>(q.shape(0)), heads = static_cast<std::int64_t>(q.shape(1)),
             length = static_cast<std::int64_t>(k.shape(0)), kv_heads = static_cast<std::int64_t>(k.shape(1)),
             head_dim = static_cast<std::int64_t>(k.shape(2)), group = heads / kv_heads;
  const std::vector<float> sinks = copied(sinks_array);
  Cache cache({LayerMemory{kv_heads, head_dim, window}}, cache_type_named(type), 0);
  Sequence sequence(cache);
  sequence.reserve(length);
  const std::int64_t head_bytes = head_block_bytes(head_dim, cache.type());
  for (std::int64_t t = 0; t < length; ++t)
    for (std::int64_t h = 0; h < kv_heads; ++h)
      kernels.append(k.data() + (t * kv_heads + h) * head_dim, v.data() + (t * kv_heads + h) * head_dim, head_dim,
                     cache.type(), sequence.blocks(0)[t / kBlockKeys] + h * head_bytes, t % kBlockKeys, nullptr);
  Buffer scratch, states;
  scratch.grow(4 * attention_scratch(tile_tokens * group, head_dim, head_dim));
  for (std::int64_t t = 0; t < tokens; t += tile_tokens)
    for (std::int64_t h = 0; h < kv_heads; ++h) {
      const AttentionTile tile{.q = q.data() + (t * heads + h * group) * head_dim, .q_stride = heads * head_dim,
                               .tokens = std::min(tile_tokens, tokens - t), .group = group, .head_dim = head_dim,
                               .position = first + t, .window = window, .scale = scale, .type = cache.type(),
                               .blocks = sequence.blocks(0), .offset = h * head_bytes, .value_dim = head_dim};
      const float* sink = sinks.empty() ? nullptr : sinks.data() + h * group;
      float* to = out.data() + (t * heads + h * group) * head_dim;
      if (!segments) {
        kernels.attend(tile, sink, scratch.floats(), to, heads * head_dim);
        continue;
      }
      const std::int64_t between = tile.rows() * state_stride(head_dim);
      const std::int64_t count = tile.end_segment() - tile.first_segment();
      states.grow(4 * between * count);
      for (std::int64_t s = count; s-- > 0;)
        kernels.attend_segment(tile, tile.first_segment() + s, scratch.floats(), states.floats() + s * between);
      kernels.merge_segments(tile, states.floats(), count, between, sink, to, heads * head_dim);
    }
}

// Runs a job whose pieces note which instruction they belong to; counts the pieces that were not run exactly once
// before the next instruction began.
std::int64_t pool_faults(int threads, const std::vector<std::uint32_t>& counts, int times) {
  struct Chain final : Job {
    const std::vector<std::uint32_t>& counts;
    std::vector<std::uint32_t> marks;
    std::int64_t faults = 0;
    explicit Chain(const std::vector<std::uint32_t>& c)
        : counts(c), marks(c.empty() ? 0 : *std::max_element(c.begin(), c.end())) {}
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

void bind_kernels(nb::module_& m) {
  m.def("attend_dense", &attend_dense, "instruction_set"_a, "cache"_a, "q"_a, "k"_a, "v"_a, "first"_a, "scale"_a,
        "window"_a, "sinks"_a.none(), "tile_tokens"_a, "segments"_a, "out"_a);
  m.def("pool_faults", &pool_faults, "threads"_a, "counts"_a, "times"_a, nb::call_guard<nb::gil_scoped_release>());
  m.def("rms_norm", [](const std::string& set, const Floats& x, const Floats& weight, float eps, const FloatsOut& out) {
    const auto width = static_cast<std::int64_t>(weight.size());
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(x.size()); i += width)
      row_kernels(instruction_set_named(set)).rms_norm(x.data() + i, weight.data(), out.data() + i, width, eps);
  });
  m.def("swiglu", [](const std::string& set, const Floats& gate, const Floats& up, const FloatsOut& out) {
    const auto count = static_cast<std::int64_t>(gate.size());
    row_kernels(instruction_set_named(set)).swiglu(gate.data(), up.data(), out.data(), count);
  });
  m.def("clamped_swiglu",
        [](const std::string& set, const Floats& gate, const Floats& up, float alpha, float limit,
           const FloatsOut& out) {
          row_kernels(instruction_set_named(set))
              .clamped_swiglu(gate.data(), up.data(), out.data(), static_cast<std::int64_t>(gate.size()), alpha, limit);
        });
}

}  // namespace ouvert
