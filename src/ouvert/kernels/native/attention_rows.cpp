#include "attention_rows.h"

#include <algorithm>

#include "pieces.h"

namespace ouvert {

void AttentionRows::look(int threads, std::vector<Target> targets) {
  targets_ = std::move(targets);
  std::size_t tokens = 0;
  std::int64_t floats = 0;
  const std::int64_t rows = heads_.group * most_tokens();
  for (const Target& target : targets_) {
    tokens += target.tokens.size();
    const std::int64_t blocks = parts(target.positions, kBlockKeys);
    floats = std::max(floats, rows * (blocks + (target.weights ? 0 : target.positions)));
  }
  runs_.reserve(tokens);
  buffers_->of_threads.resize(static_cast<std::size_t>(threads));
  for (auto& buffer : buffers_->of_threads) {
    if (buffer == nullptr) buffer = std::make_unique<Buffer>();
    buffer->grow(floats * 4);
  }
}

std::uint32_t AttentionRows::pieces(Program& p) noexcept {
  runs_.clear();
  for (std::size_t target = 0; target < targets_.size(); ++target) {
    const std::vector<std::int32_t>& tokens = targets_[target].tokens;
    for (std::size_t row = 0; row < tokens.size(); ++row) {
      const std::int32_t part = p.part_of()[static_cast<std::size_t>(tokens[row])];
      const auto token = static_cast<std::int32_t>(tokens[row] - p.parts()[static_cast<std::size_t>(part)].first);
      Run* last = row == 0 ? nullptr : &runs_.back();
      if (last != nullptr && last->part == part && last->token + last->tokens == token && last->tokens < most_tokens())
        ++last->tokens;
      else
        runs_.push_back({part, token, 1, static_cast<std::int64_t>(row), target});
    }
  }
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(runs_.size()) * heads_.kv_heads);
}

void AttentionRows::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const auto [group, kv_heads, head_dim, window] = heads_;
  const Run& run = runs_[static_cast<std::size_t>(piece / kv_heads)];
  const std::int64_t head = piece % kv_heads, q_heads = group * kv_heads, first = run.row * q_heads + head * group;
  const Part& of = p.parts()[static_cast<std::size_t>(run.part)];
  const LayerMemory& layer = p.cache().layers()[static_cast<std::size_t>(layer_)];
  const AttentionTile tile{.q = p.at(q_) + (of.first + run.token) * q_.width + head * group * head_dim,
                           .q_stride = q_.width,
                           .tokens = run.tokens,
                           .group = group,
                           .head_dim = head_dim,
                           .position = of.position + run.token,
                           .window = window,
                           .scale = scale_,
                           .type = p.cache().type(),
                           .blocks = of.sequence->blocks(p.cache().group_of(layer_)),
                           .offset = p.cache().offset_of(layer_) + head * head_block_bytes(head_dim, p.cache().type()),
                           .value_dim = head_dim,
                           .latent = layer.latents()};
  const Target& target = targets_[run.target];
  const std::int64_t positions = target.positions;
  float* work = buffers_->of_threads[static_cast<std::size_t>(thread)]->floats();
  const std::int64_t blocks = parts(positions, kBlockKeys);
  float* weights = target.weights ? target.weights + first * positions : work + tile.rows() * blocks;
  const RowWeights to{.weights = weights,
                      .token_stride = (target.weights ? q_heads : group) * positions,
                      .head_stride = positions,
                      .largest = work,
                      .blocks = blocks,
                      .sinks = target.sinks ? target.sinks + first : nullptr,
                      .sink_stride = q_heads,
                      .top = target.top ? target.top + first * target.most : nullptr,
                      .top_weights = target.top_weights ? target.top_weights + first * target.most : nullptr,
                      .most = target.most,
                      .top_stride = q_heads * target.most};
  p.attention.weigh(tile, sinks_.empty() ? nullptr : sinks_.data() + head * group, p.scratch(thread), to);
}

}  // namespace ouvert
