#include "attention_rows.h"

#include <algorithm>

#include "pieces.h"

namespace ouvert {

namespace {

// The tokens of a wish, ascending, each once.
std::vector<std::int32_t> tokens_of(const AttentionRows::Wish& wish) {
  std::vector<std::int32_t> all;
  for (const auto& tokens : {wish.weights.tokens, wish.sinks.tokens, wish.top.tokens, wish.top_weights.tokens})
    all.insert(all.end(), tokens.begin(), tokens.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

}  // namespace

AttentionRows::AttentionRows(std::shared_ptr<RowBuffers> buffers, Attend& attend)
    : buffers_(std::move(buffers)), attend_(attend) {
  attend.rows_ = this;
}

std::int64_t AttentionRows::q_heads() const { return attend_.plan_->group * attend_.plan_->kv_heads; }

void AttentionRows::reserve(const Wish& wish, std::int64_t positions) {
  const auto rows = static_cast<std::int64_t>(tokens_of(wish).size());
  buffers_->weights.grow(rows * q_heads() * positions * 4);
  buffers_->largest.grow(rows * q_heads() * 2 * parts(positions, kBlockKeys) * 4);
}

void AttentionRows::show(const Wish& wish, std::int64_t tokens, std::int64_t positions) {
  const AttentionPlan& plan = *attend_.plan_;
  const std::int64_t heads = q_heads(), blocks = 2 * parts(positions, kBlockKeys);  // largest scores, then peaks
  tokens_ = tokens, positions_ = positions, most_ = wish.most;
  rows_.clear();
  weights_.assign(static_cast<std::size_t>(plan.kv_heads * tokens), nullptr);
  largest_ = weights_;
  std::int64_t own = 0;  // rows in the work space
  const auto place = [](const auto& shown, std::int32_t token, std::int64_t width) {
    const auto at = std::lower_bound(shown.tokens.begin(), shown.tokens.end(), token);
    const bool there = at != shown.tokens.end() && *at == token;
    return there ? shown.to + (at - shown.tokens.begin()) * width : nullptr;
  };
  for (const std::int32_t token : tokens_of(wish)) {
    const auto row = static_cast<std::int64_t>(rows_.size());
    float* weights = place(wish.weights, token, heads * positions);
    rows_.push_back({token, weights != nullptr, place(wish.sinks, token, heads), place(wish.top, token, heads * most_),
                     place(wish.top_weights, token, heads * most_)});
    if (weights == nullptr) weights = buffers_->weights.floats() + own++ * heads * positions;
    float* largest = buffers_->largest.floats() + row * heads * blocks;
    for (std::int64_t head = 0; head < plan.kv_heads; ++head) {
      const auto at = static_cast<std::size_t>(head * tokens + token);
      weights_[at] = weights + head * plan.group * positions;
      largest_[at] = largest + head * plan.group * blocks;
    }
  }
}

bool AttentionRows::shown(Program& p, std::int32_t part, std::int32_t token, std::int64_t head, ShownRows& to) const {
  if (rows_.empty()) return false;
  const auto at = static_cast<std::size_t>(head * tokens_ + p.parts()[static_cast<std::size_t>(part)].first + token);
  to = {weights_.data() + at, largest_.data() + at, positions_, 2 * parts(positions_, kBlockKeys)};
  return true;
}

std::uint32_t AttentionRows::pieces(Program&) noexcept {
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(rows_.size()) * attend_.plan_->kv_heads);
}

void AttentionRows::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const AttentionPlan& plan = *attend_.plan_;
  const auto kv_heads = static_cast<std::uint32_t>(plan.kv_heads);
  const Row& row = rows_[piece / kv_heads];
  const std::int64_t head = piece % kv_heads, blocks = parts(positions_, kBlockKeys);
  if (p.expanded(row.token)) score(p, row, head, thread);
  const auto at = static_cast<std::size_t>(head * tokens_ + row.token);
  std::int32_t top[kMostTop];
  float top_weights[kMostTop];
  const bool heaviest = row.top != nullptr || row.top_weights != nullptr;
  for (std::int64_t h = 0; h < plan.group; ++h) {
    const std::int64_t q_head = head * plan.group + h;
    p.attention.finish_row({.weights = weights_[at] + h * positions_,
                            .keeps_weights = row.keeps_weights,
                            .largest = largest_[at] + h * 2 * blocks,
                            .peaks = largest_[at] + (h * 2 + 1) * blocks,
                            .position = p.positions()[static_cast<std::size_t>(row.token)],
                            .window = plan.window,
                            .sink = attend_.sinks_.empty() ? nullptr : attend_.sinks_.data() + q_head,
                            .sink_share = row.sinks == nullptr ? nullptr : row.sinks + q_head,
                            .top = heaviest ? top : nullptr,
                            .top_weights = top_weights,
                            .most = most_});
    if (row.top != nullptr) std::copy_n(top, most_, row.top + q_head * most_);
    if (row.top_weights != nullptr) std::copy_n(top_weights, most_, row.top_weights + q_head * most_);
  }
}

// Attend has left out a token that is computed in the expanded form: its weights are those of the absorbed one, which
// are the same but for rounding.
void AttentionRows::score(Program& p, const Row& row, std::int64_t head, int thread) const noexcept {
  const std::int32_t part = p.part_of()[static_cast<std::size_t>(row.token)];
  const auto token = static_cast<std::int32_t>(row.token - p.parts()[static_cast<std::size_t>(part)].first);
  AttentionTile tile = attend_.tile(p, part, token, 1, head);
  tile.value_dim = 0;
  ShownRows to{};
  shown(p, part, token, head, to);
  p.attention.attend_shown(tile, nullptr, p.scratch(thread), p.scratch(thread), 0, to);
}

}  // namespace ouvert
