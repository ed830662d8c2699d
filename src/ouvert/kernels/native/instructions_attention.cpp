// Keys, values and latents into the cache, and attention over it.

#include "instructions.h"

#include <algorithm>
#include <new>

#include "attention_rows.h"
#include "pieces.h"

namespace ouvert {

std::uint32_t Append::pieces(Program& p) noexcept {
  // A piece is as many tokens as a block has: neighbours write into the same cache lines.
  return static_cast<std::uint32_t>(parts(p.tokens(), kBlockKeys));
}
void Append::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const LayerMemory& layer = p.cache().layers()[static_cast<std::size_t>(layer_)];
  const std::int64_t group = p.cache().group_of(layer_), offset = p.cache().offset_of(layer_);
  const std::int64_t head_bytes = head_block_bytes(layer.head_dim, p.cache().type());
  const std::int64_t begin = piece * kBlockKeys, end = std::min(p.tokens(), begin + kBlockKeys);
  float *rotated = p.scratch(thread), *first_rotated = rotated + layer.head_dim;
  for (std::int64_t t = begin; t < end; ++t) {
    const Part& part = p.parts()[static_cast<std::size_t>(p.part_of()[static_cast<std::size_t>(t)])];
    const std::int64_t position = p.positions()[static_cast<std::size_t>(t)], slot = position % kBlockKeys;
    std::uint8_t* block = part.sequence->blocks(group)[position / kBlockKeys] + offset;
    if (t == begin || slot == 0) prefetch_slot(p, layer, block, slot);
    if (rotates_) rotate_queries(p, layer, t);
    // The block's first token, if another thread may be writing it now.
    const std::int64_t first = t - slot;
    const auto same_part = [&] {
      return p.part_of()[static_cast<std::size_t>(first)] == p.part_of()[static_cast<std::size_t>(t)];
    };
    const bool first_is_beside = first < begin && first >= 0 && same_part();
    for (std::int64_t h = 0; h < layer.kv_heads; ++h)
      p.attention.append(key(p, layer, t, h, rotated), p.at(v_) + t * v_.width + h * layer.head_dim, layer.head_dim,
                         p.cache().type(), block + h * head_bytes, slot,
                         first_is_beside ? key(p, layer, first, h, first_rotated) : nullptr);
  }
}

// A key is written into as many cache lines as it has values. Waiting for one after the other would take longer than
// all else here.
void Append::prefetch_slot(Program& p, const LayerMemory& layer, const std::uint8_t* block, std::int64_t slot) {
  const std::int64_t bytes = element_bytes(p.cache().type());
  for (std::int64_t h = 0; h < layer.kv_heads; ++h, block += head_block_bytes(layer.head_dim, p.cache().type()))
    for (std::int64_t i = 0; i < layer.head_dim; ++i) __builtin_prefetch(block + (i * kBlockKeys + slot) * bytes, 1);
}

void Append::rotate_queries(Program& p, const LayerMemory& layer, std::int64_t token) const {
  const float* angles = p.at(angles_) + token * angles_.width;
  float* q = p.at(q_) + token * q_.width;
  for (std::int64_t h = 0; h < q_.width; h += layer.head_dim)
    p.row.rotate(q + h, angles, angles + angles_.width / 2, q + h, layer.head_dim, angles_.width / 2);
}

const float* Append::key(Program& p, const LayerMemory& layer, std::int64_t token, std::int64_t head, float* to) const {
  const float* k = p.at(k_) + token * k_.width + head * layer.head_dim;
  if (!rotates_) return k;
  const float* angles = p.at(angles_) + token * angles_.width;
  p.row.rotate(k, angles, angles + angles_.width / 2, to, layer.head_dim, angles_.width / 2);
  return to;
}

std::uint32_t AppendLatent::pieces(Program& p) noexcept { return row_pieces(p.tokens()); }
void AppendLatent::run(Program& p, std::uint32_t piece, int) noexcept {
  const std::int64_t group = p.cache().group_of(layer_), offset = p.cache().offset_of(layer_);
  const Range r = rows_of_piece(piece, p.tokens());
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    const Part& part = p.parts()[static_cast<std::size_t>(p.part_of()[static_cast<std::size_t>(t)])];
    const std::int64_t position = p.positions()[static_cast<std::size_t>(t)];
    p.attention.append_latent(p.at(x_) + t * x_.width, x_.width, p.cache().type(),
                              part.sequence->blocks(group)[position / kBlockKeys] + offset, position % kBlockKeys);
  }
}

void AttentionPlan::make(Program& p) noexcept {
  if (made_for_ == p.step_number()) return;
  made_for_ = p.step_number();
  const std::int64_t tile_tokens = std::max<std::int64_t>(1, kTileRows / group);
  std::int64_t tiles = 0;
  for (const Part& part : p.parts()) tiles += parts(part.tokens - part.expanded, tile_tokens);
  // With few tiles, long caches are cut into segments, so that all threads have work. The result is the same.
  try {
    make(p, p.threads() > 1 && tiles * kv_heads < 4 * p.threads());
  } catch (const std::bad_alloc&) {
    make(p, false);
  }
}

void AttentionPlan::make(Program& p, bool split) {
  items.clear(), splits.clear();
  const std::int64_t tile_tokens = std::max<std::int64_t>(1, kTileRows / group);
  std::int64_t floats = 0;
  for (std::size_t n = 0; n < p.parts().size(); ++n) {
    const Part& part = p.parts()[n];
    const std::int64_t absorbed = part.tokens - part.expanded;
    for (std::int64_t tile = parts(absorbed, tile_tokens); tile-- > 0;) {  // the last tokens see most: they come first
      const std::int64_t token = part.expanded + tile * tile_tokens;
      const std::int64_t tokens = std::min(tile_tokens, part.tokens - token);
      const AttentionTile shape{.q = nullptr, .q_stride = 0, .tokens = tokens, .group = group, .head_dim = head_dim,
                                .position = part.position + token, .window = window, .scale = 0, .type = CacheType::f16,
                                .blocks = nullptr, .offset = 0, .value_dim = value_dim};
      const std::int64_t first = shape.first_segment(), segments = shape.end_segment() - first;
      Item item{static_cast<std::int32_t>(n), static_cast<std::int32_t>(token), static_cast<std::int32_t>(tokens), -1,
                0};
      if (!split || segments == 1) {
        items.push_back(item);
        continue;
      }
      const Split whole{item.part, item.token, item.tokens, static_cast<std::int32_t>(segments), floats};
      for (std::int64_t s = 0; s < segments; ++s) {
        item.segment = static_cast<std::int32_t>(first + s);
        item.state = floats + s * state_floats(whole);
        items.push_back(item);
      }
      splits.push_back(whole);
      floats += kv_heads * segments * state_floats(whole);
    }
  }
  states.grow(floats * 4);
}

void Attend::prepare(Program&, std::int64_t tokens) {
  plan_->items.reserve(static_cast<std::size_t>(tokens) + 64);
  plan_->splits.reserve(static_cast<std::size_t>(tokens));
}

AttentionTile Attend::tile(Program& p, std::int32_t part, std::int32_t token, std::int32_t tokens,
                           std::int64_t head) const {
  const Part& of = p.parts()[static_cast<std::size_t>(part)];
  const std::int64_t head_bytes = head_block_bytes(plan_->head_dim, p.cache().type());
  return {.q = p.at(q_) + (of.first + token) * q_.width + head * plan_->group * plan_->head_dim,
          .q_stride = q_.width,
          .tokens = tokens,
          .group = plan_->group,
          .head_dim = plan_->head_dim,
          .position = of.position + token,
          .window = plan_->window,
          .scale = scale_,
          .type = p.cache().type(),
          .blocks = of.sequence->blocks(p.cache().group_of(layer_)),
          .offset = p.cache().offset_of(layer_) + head * head_bytes,
          .value_dim = plan_->value_dim,
          .latent = p.cache().layers()[static_cast<std::size_t>(layer_)].latents()};
}

float* Attend::out(Program& p, std::int32_t part, std::int32_t token, std::int64_t head) const {
  const Part& of = p.parts()[static_cast<std::size_t>(part)];
  return p.at(out_) + (of.first + token) * out_.width + head * plan_->group * plan_->value_dim;
}

std::uint32_t Attend::pieces(Program& p) noexcept {
  plan_->make(p);
  return static_cast<std::uint32_t>(plan_->items.size()) * static_cast<std::uint32_t>(plan_->kv_heads);
}
void Attend::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const auto heads = static_cast<std::uint32_t>(plan_->kv_heads);
  const AttentionPlan::Item& item = plan_->items[piece / heads];
  const std::int64_t head = piece % heads;
  const AttentionTile t = tile(p, item.part, item.token, item.tokens, head);
  ShownRows shown{};
  const bool shows = rows_ != nullptr && rows_->shown(p, item.part, item.token, head, shown);
  if (item.segment < 0) {
    const float* sinks = sinks_.empty() ? nullptr : sinks_.data() + head * plan_->group;
    float* to = out(p, item.part, item.token, head);
    if (shows)
      p.attention.attend_shown(t, sinks, p.scratch(thread), to, out_.width, shown);
    else
      p.attention.attend(t, sinks, p.scratch(thread), to, out_.width);
  } else {
    const std::int64_t floats = t.rows() * state_stride(plan_->value_dim);
    const std::int64_t segments = t.end_segment() - t.first_segment();
    float* state = plan_->states.floats() + item.state + head * segments * floats;
    if (shows)
      p.attention.attend_segment_shown(t, item.segment, p.scratch(thread), state, shown);
    else
      p.attention.attend_segment(t, item.segment, p.scratch(thread), state);
  }
}

std::uint32_t MergeSegments::pieces(Program&) noexcept {
  return static_cast<std::uint32_t>(attend_.plan_->splits.size());
}
void MergeSegments::run(Program& p, std::uint32_t piece, int) noexcept {
  AttentionPlan& plan = *attend_.plan_;
  const AttentionPlan::Split& split = plan.splits[piece];
  const std::int64_t floats = plan.state_floats(split);
  for (std::int64_t head = 0; head < plan.kv_heads; ++head) {
    const float* sinks = attend_.sinks_.empty() ? nullptr : attend_.sinks_.data() + head * plan.group;
    p.attention.merge_segments(attend_.tile(p, split.part, split.token, split.tokens, head),
                               plan.states.floats() + split.state + head * split.segments * floats, split.segments,
                               floats, sinks, attend_.out(p, split.part, split.token, head), attend_.out_.width);
  }
}

void AttendExpanded::prepare(Program& p, std::int64_t) {
  const ExpandedTile most = shape(kExpandedTokens);
  const std::int64_t floats = expanded_scratch(most) + (most.nope + most.value_dim) * most.latent + key_.weights.rows *
                              key_.weights.columns;
  buffers_->of_threads.resize(static_cast<std::size_t>(p.threads()));
  for (auto& buffer : buffers_->of_threads) {
    if (buffer == nullptr) buffer = std::make_unique<Buffer>();
    buffer->grow(floats * 4);
  }
}

ExpandedTile AttendExpanded::shape(std::int64_t tokens) const {
  const std::int64_t heads = out_.width / value_.weights.rows;
  return {.q_nope = nullptr, .nope_stride = q_nope_.width, .q_rope = nullptr, .rope_stride = q_rope_.width,
          .weights = nullptr, .tokens = tokens, .nope = key_.weights.columns, .rope = q_rope_.width / heads,
          .value_dim = value_.weights.rows, .latent = key_.weights.rows, .position = 0, .scale = scale_,
          .type = CacheType::f16, .blocks = nullptr, .offset = 0};
}

std::uint32_t AttendExpanded::pieces(Program& p) noexcept {
  const std::int64_t heads = out_.width / value_.weights.rows;
  std::int64_t items = 0;
  for (const Part& part : p.parts()) items += parts(part.expanded, kExpandedTokens);
  return static_cast<std::uint32_t>(items * heads);
}

void AttendExpanded::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const std::int64_t heads = out_.width / value_.weights.rows, head = piece % heads;
  std::int64_t item = piece / heads;
  const Part* of = p.parts().data();
  for (std::int64_t items; item >= (items = parts(of->expanded, kExpandedTokens)); ++of) item -= items;
  const std::int64_t token = item * kExpandedTokens;
  ExpandedTile tile = shape(std::min(kExpandedTokens, of->expanded - token));
  float* weights = buffers_->of_threads[static_cast<std::size_t>(thread)]->floats();
  float* decoded = weights + (tile.nope + tile.value_dim) * tile.latent;
  make_weights(head, weights, decoded);
  tile.weights = weights;
  tile.q_nope = p.at(q_nope_) + (of->first + token) * q_nope_.width + head * tile.nope;
  tile.q_rope = p.at(q_rope_) + (of->first + token) * q_rope_.width + head * tile.rope;
  tile.position = of->position + token;
  tile.type = p.cache().type();
  tile.blocks = of->sequence->blocks(p.cache().group_of(layer_));
  tile.offset = p.cache().offset_of(layer_);
  p.attention.attend_expanded(tile, decoded + tile.latent * tile.nope,
                              p.at(out_) + (of->first + token) * out_.width + head * tile.value_dim, out_.width);
}

// The key's matrix is stored as the one that takes queries to latents: rows are numbers of a latent.
void AttendExpanded::make_weights(std::int64_t head, float* weights, float* decoded) const noexcept {
  const std::int64_t latent = key_.weights.rows, nope = key_.weights.columns;
  dequantise_rows(key_.expert(head), rows_.data(), latent, decoded, nope);
  for (std::int64_t d = 0; d < nope; ++d)
    for (std::int64_t l = 0; l < latent; ++l) weights[d * latent + l] = decoded[l * nope + d];
  dequantise_rows(value_.expert(head), rows_.data(), value_.weights.rows, weights + nope * latent, latent);
}

}  // namespace ouvert
