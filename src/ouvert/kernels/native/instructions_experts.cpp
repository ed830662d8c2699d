// Mixtures of experts: which experts a token gets, and what they compute.

#include "instructions.h"

#include <algorithm>
#include <cmath>

#include "pieces.h"

namespace ouvert {

namespace {

// Puts index `i` into a list of at most `most` indices, sorted by values, behind equal values.
void insert(std::int32_t* list, std::int64_t& have, std::int64_t most, const float* values, std::int64_t i) {
  std::int64_t at = have;
  while (at > 0 && values[i] > values[list[at - 1]]) --at;
  if (at == most) return;
  if (have < most) ++have;
  for (std::int64_t j = have - 1; j > at; --j) list[j] = list[j - 1];
  list[at] = static_cast<std::int32_t>(i);
}

}  // namespace

std::uint32_t RouteTopK::pieces(Program& p) noexcept { return row_pieces(p.rows_of(scores_)); }
void RouteTopK::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(scores_));
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    const float* scores = p.at(scores_) + t * scores_.width;
    auto* chosen = reinterpret_cast<std::int32_t*>(p.at(chosen_) + t * top_k_);
    float* weights = p.at(expert_weights_) + t * top_k_;
    std::int64_t have = 0;
    for (std::int64_t e = 0; e < scores_.width; ++e) insert(chosen, have, top_k_, scores, e);
    float total = 0.0f;
    for (std::int64_t i = 0; i < top_k_; ++i) {
      weights[i] = std::exp(scores[chosen[i]] - scores[chosen[0]]);
      total += weights[i];
    }
    if (!normalised_) {
      total = 0.0f;
      for (std::int64_t e = 0; e < scores_.width; ++e) total += std::exp(scores[e] - scores[chosen[0]]);
    }
    for (std::int64_t i = 0; i < top_k_; ++i) weights[i] /= total;
  }
}

std::uint32_t RouteTopKOfGroups::pieces(Program& p) noexcept { return row_pieces(p.rows_of(scores_)); }
void RouteTopKOfGroups::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(scores_));
  const std::int64_t experts = scores_.width, top_k = how_.top_k;
  float *sigmoids = p.scratch(thread), *corrected = sigmoids + experts;
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    const float* scores = p.at(scores_) + t * experts;
    auto* chosen = reinterpret_cast<std::int32_t*>(p.at(chosen_) + t * top_k);
    float* weights = p.at(expert_weights_) + t * top_k;
    for (std::int64_t e = 0; e < experts; ++e) {
      sigmoids[e] = 1.0f / (1.0f + std::exp(-scores[e]));
      corrected[e] = sigmoids[e] + how_.correction[static_cast<std::size_t>(e)];
    }
    choose(corrected, corrected + experts, chosen);
    float total = 0.0f;
    for (std::int64_t i = 0; i < top_k; ++i) total += weights[i] = sigmoids[chosen[i]];
    for (std::int64_t i = 0; i < top_k; ++i)
      weights[i] = (how_.normalised ? weights[i] / total : weights[i]) * how_.factor;
  }
}

void RouteTopKOfGroups::choose(const float* corrected, float* scratch, std::int32_t* chosen) const {
  const std::int64_t each = scores_.width / how_.groups;
  float* group_scores = scratch;
  auto* groups = reinterpret_cast<std::int32_t*>(scratch + how_.groups);
  std::int64_t have = 0;
  for (std::int64_t g = 0; g < how_.groups; ++g) {
    std::int32_t best[2];
    std::int64_t two = 0;
    for (std::int64_t e = g * each; e < (g + 1) * each; ++e) insert(best, two, 2, corrected, e);
    group_scores[g] = corrected[best[0]] + corrected[best[1]];
    insert(groups, have, how_.top_groups, group_scores, g);
  }
  std::sort(groups, groups + how_.top_groups);  // experts in ascending order, so that the lower index wins a tie
  have = 0;
  for (std::int64_t g = 0; g < how_.top_groups; ++g)
    for (std::int64_t e = groups[g] * each; e < (groups[g] + 1) * each; ++e)
      insert(chosen, have, how_.top_k, corrected, e);
}

void Experts::prepare(Program&, std::int64_t tokens) {
  const std::int64_t pairs = tokens * top_k, hidden = matrices.gate.weights.columns, inner = matrices.gate.weights.rows;
  const std::int64_t padded = pairs + matrices.count * kTokenTile;
  const auto count = static_cast<std::size_t>(pairs);
  token_of.reserve(count), pair_of.reserve(count), weight_of.reserve(count);
  batches.reserve(static_cast<std::size_t>(matrices.count)), next_.reserve(static_cast<std::size_t>(matrices.count));
  turned_.reserve(static_cast<std::size_t>(matrices.count));
  if (matrices.cache) matrices.cache->prepare();
  const std::int64_t most_rows = std::max(inner, matrices.down.weights.rows) / kRowGroup + 1;
  units.reserve(static_cast<std::size_t>((matrices.count + parts(pairs, kTokensPerPiece)) * most_rows));
  if (int8(matrices.gate) || int8(matrices.up)) buffers->codes.grow(activation_bytes(padded, hidden));
  buffers->gate.grow(pairs * inner * 4);
  buffers->up.grow(pairs * inner * 4);
  if (int8(matrices.down)) buffers->inner_codes.grow(activation_bytes(padded, inner));
  buffers->outputs.grow(pairs * matrices.down.weights.rows * 4);
}

void Experts::gather(Program& p) noexcept {
  const std::int64_t tokens = p.rows_of(x), pairs = tokens * top_k;
  const auto* picks = reinterpret_cast<const std::int32_t*>(p.at(chosen));
  const float* weights = p.at(expert_weights);
  next_.assign(static_cast<std::size_t>(matrices.count), 0);
  for (std::int64_t i = 0; i < pairs; ++i) ++next_[static_cast<std::size_t>(picks[i])];
  batches.clear();
  std::int64_t first = 0, padded_first = 0;
  for (std::int64_t e = 0; e < matrices.count; ++e) {
    const std::int64_t count = next_[static_cast<std::size_t>(e)];
    next_[static_cast<std::size_t>(e)] = first;
    if (count > 0) batches.push_back({e, first, count, padded_first});
    first += count;
    padded_first += parts(count, kTokenTile) * kTokenTile;
  }
  token_of.resize(static_cast<std::size_t>(pairs));
  pair_of.resize(static_cast<std::size_t>(pairs));
  weight_of.resize(static_cast<std::size_t>(pairs));
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::int64_t before = -1;
    for (std::int64_t n = 0; n < top_k; ++n) {  // its experts in ascending order
      std::int64_t next = -1;
      for (std::int64_t i = 0; i < top_k; ++i)
        if (picks[t * top_k + i] > before && (next < 0 || picks[t * top_k + i] < picks[t * top_k + next])) next = i;
      before = picks[t * top_k + next];
      const std::int64_t pair = next_[static_cast<std::size_t>(before)]++;
      token_of[static_cast<std::size_t>(pair)] = static_cast<std::int32_t>(t);
      pair_of[static_cast<std::size_t>(t * top_k + n)] = static_cast<std::int32_t>(pair);
      weight_of[static_cast<std::size_t>(t * top_k + n)] = weights[t * top_k + next];
    }
  }
  if (!additions.empty()) {
    additions.begin_gathering();
    for (const Batch& batch : batches) additions.gather(batch.expert, batch.first, batch.count, token_of.data());
  }
  begin_rounds(p);
}

void Experts::begin_additions(bool down) noexcept {
  if (additions.empty()) return;
  additions.begin(down);
  for (std::size_t s = round_begin; s < round_end; ++s) additions.want(batches[s].expert, down);
}

void Experts::prefetch_additions(const Unit& unit, bool down) const noexcept {
  if (additions.empty()) return;
  const std::int64_t expert = batches[static_cast<std::size_t>(unit.batch)].expert;
  const Piece piece{unit.row_begin, unit.row_end, unit.token_begin, unit.token_end};
  for (int which = down ? 2 : 0; which < (down ? 3 : 2); ++which) additions.prefetch(which, expert, piece);
}

// Plans the rounds over the batches that were gathered: what is in memory comes first.
void Experts::begin_rounds(Program& p) noexcept {
  round_begin = round_end = acquired_ = 0;
  most_ = batches.size();
  if (!matrices.cache) return;
  ExpertCache& cache = *matrices.cache;
  cache.begin_step(p.step_number(), p.tokens());
  for (const Batch& batch : batches) cache.touch(matrices.layer, batch.expert, batch.count);
  std::size_t present = 0;
  turned_.clear();
  for (const Batch& batch : batches)
    if (cache.present(matrices.layer, batch.expert))
      batches[present++] = batch;
    else
      turned_.push_back(batch);
  std::copy(turned_.begin(), turned_.end(), batches.begin() + static_cast<std::ptrdiff_t>(present));
  const auto slots = static_cast<std::size_t>(cache.slots());
  if (most_ > slots) most_ = slots / 2;
  acquire_until(most_);
}

void Experts::acquire_until(std::size_t end) noexcept {
  for (end = std::min(end, batches.size()); acquired_ < end; ++acquired_)
    batches[acquired_].slot = matrices.cache->acquire(matrices.layer, batches[acquired_].expert);
}

void Experts::next_round() noexcept {
  if (matrices.cache)
    for (std::size_t s = round_begin; s < round_end; ++s) matrices.cache->release(batches[s].slot);
  round_begin = round_end;
  round_end = std::min(batches.size(), round_end + most_);
  if (!matrices.cache) return;
  acquire_until(round_end + most_);
  // Threads work from both ends: what is read last comes in the middle.
  turned_.assign(batches.begin() + static_cast<std::ptrdiff_t>(round_begin),
                 batches.begin() + static_cast<std::ptrdiff_t>(round_end));
  std::size_t front = round_begin, behind = round_end;
  for (std::size_t n = 0; n < turned_.size(); ++n) batches[n % 2 == 0 ? front++ : --behind] = turned_[n];
}

void Experts::end_rounds() noexcept {
  if (matrices.cache)
    for (std::size_t s = round_begin; s < acquired_; ++s) matrices.cache->release(batches[s].slot);
  batches.clear();
  round_begin = round_end = acquired_ = 0;
}

Matrix Experts::matrix(const ExpertProduct& product, const Batch& batch) const noexcept {
  if (!matrices.cache) return product.expert(batch.expert);
  Matrix one = product.weights;
  one.data = matrices.cache->matrix(batch.slot, which(product));
  return one;
}

// Cuts the products of this round with matrices of this shape (`together` of them in each piece) into units.
void Experts::cut(Program& p, const Matrix& weights, std::int64_t together) noexcept {
  units.clear();
  const std::int64_t bytes = packed_bytes(weights.layout, weights.rows, weights.columns) * round_batches();
  for (std::size_t s = round_begin; s < round_end; ++s) {
    const std::int64_t count = batches[s].count, token_step = std::min(count, kTokensPerPiece);
    const std::int64_t rows = row_step(weights, bytes, token_step * together, parts(count, token_step), p.threads());
    for (std::int64_t t = 0; t < count; t += token_step)
      for (std::int64_t r = 0; r < weights.rows; r += rows)
        units.push_back({static_cast<std::int32_t>(s), static_cast<std::int32_t>(r),
                         static_cast<std::int32_t>(std::min(weights.rows, r + rows)), static_cast<std::int32_t>(t),
                         static_cast<std::int32_t>(std::min(count, t + token_step))});
  }
}

Activations Experts::view(const Buffer& codes, std::int64_t columns, const Batch& batch, bool shared) {
  if (shared) return {1, columns, codes.data()};
  return {batch.count, columns, codes.data() + activation_bytes(batch.padded_first, columns)};
}

// to: the rows of all pairs, batch after batch.
void Experts::multiply(Program& p, const ExpertProduct& product, const Buffer& codes, const float* from,
                       std::int64_t from_stride, const std::int32_t* from_rows, float* to,
                       const Unit& unit) noexcept {
  const Batch& batch = batches[static_cast<std::size_t>(unit.batch)];
  const Matrix weights = matrix(product, batch);
  const Piece piece{unit.row_begin, unit.row_end, unit.token_begin, unit.token_end};
  const Epilogue epilogue = product.epilogue(batch.expert);
  to += batch.first * weights.rows;
  if (int8(product)) {
    const bool shared = &codes == &buffers->codes && alone(p);
    p.linear.matmul(weights, view(codes, weights.columns, batch, shared), to, weights.rows, piece, epilogue);
  } else {
    if (from_rows != nullptr)
      from_rows += batch.first;
    else
      from += batch.first * from_stride;
    p.linear.matmul_f32(weights, from, from_stride, from_rows, to, weights.rows, piece, epilogue);
  }
  if (!additions.empty()) additions.add(p, which(product), batch.expert, to, weights.rows, piece);
}

std::uint32_t GatherTokens::pieces(Program& p) noexcept {
  if (p.empty || p.rows_of(e_->x) == 0) return 0;
  e_->gather(p);
  if (!e_->int8(e_->matrices.gate) && !e_->int8(e_->matrices.up)) return 0;
  return e_->alone(p) ? 1 : static_cast<std::uint32_t>(e_->batches.size());
}
void GatherTokens::run(Program& p, std::uint32_t piece, int) noexcept {
  const Experts::Batch& batch = e_->batches[piece];
  const bool alone = e_->alone(p);
  p.linear.quantise(p.at(e_->x), e_->x.width, e_->token_of.data() + batch.first,
                    Experts::view(e_->buffers->codes, e_->x.width, batch, alone), 0, alone ? 1 : batch.count);
}

std::uint32_t GateExperts::pieces(Program& p) noexcept {
  if (p.empty || p.rows_of(e_->x) == 0) return 0;
  e_->next_round();
  e_->begin_additions(false);
  e_->cut(p, e_->matrices.gate.weights, 2);
  return static_cast<std::uint32_t>(e_->units.size());
}
void GateExperts::run(Program& p, std::uint32_t piece, int) noexcept {
  const Experts::Unit& unit = e_->units[piece];
  float *gate = e_->buffers->gate.floats(), *up = e_->buffers->up.floats();
  e_->prefetch_additions(unit, false);
  e_->additions.help(p, false, p.at(e_->x), e_->x.width);
  e_->multiply(p, e_->matrices.gate, e_->buffers->codes, p.at(e_->x), e_->x.width, e_->token_of.data(), gate, unit);
  e_->multiply(p, e_->matrices.up, e_->buffers->codes, p.at(e_->x), e_->x.width, e_->token_of.data(), up, unit);
  const std::int64_t first = e_->batches[static_cast<std::size_t>(unit.batch)].first;
  const std::int64_t inner = e_->matrices.gate.weights.rows;
  for (std::int64_t t = first + unit.token_begin; t < first + unit.token_end; ++t) {
    const std::int64_t at = t * inner + unit.row_begin;
    e_->matrices.how.apply(p.row, gate + at, up + at, gate + at, unit.row_end - unit.row_begin);
  }
}

std::uint32_t QuantiseInner::pieces(Program& p) noexcept {
  if (p.empty || p.rows_of(e_->x) == 0 || !e_->int8(e_->matrices.down)) return 0;
  return e_->round_batches();
}
void QuantiseInner::run(Program& p, std::uint32_t piece, int) noexcept {
  const Experts::Batch& batch = e_->batches[e_->round_begin + piece];
  const std::int64_t inner = e_->matrices.down.weights.columns;
  p.linear.quantise(e_->buffers->gate.floats() + batch.first * inner, inner, nullptr,
                    Experts::view(e_->buffers->inner_codes, inner, batch, false), 0, batch.count);
}

std::uint32_t DownExperts::pieces(Program& p) noexcept {
  if (p.empty || p.rows_of(e_->x) == 0) return 0;
  e_->begin_additions(true);
  e_->cut(p, e_->matrices.down.weights, 1);
  return static_cast<std::uint32_t>(e_->units.size());
}
void DownExperts::run(Program& p, std::uint32_t piece, int) noexcept {
  const ExpertProduct& down = e_->matrices.down;
  e_->prefetch_additions(e_->units[piece], true);
  e_->additions.help(p, true, e_->buffers->gate.floats(), down.weights.columns);
  e_->multiply(p, down, e_->buffers->inner_codes, e_->buffers->gate.floats(), down.weights.columns, nullptr,
               e_->buffers->outputs.floats(), e_->units[piece]);
}

std::uint32_t MixOutputs::pieces(Program& p) noexcept {
  e_->end_rounds();
  return p.empty ? 0 : row_pieces(p.rows_of(e_->x));
}
void MixOutputs::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(e_->x));
  const std::int64_t width = e_->matrices.down.weights.rows, top_k = e_->top_k;
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    p.row.mix(e_->buffers->outputs.floats(), width, e_->pair_of.data() + t * top_k, e_->weight_of.data() + t * top_k,
              top_k, p.at(e_->out) + t * e_->out.width, width);
    if (e_->each.width > 0) show_each(p, t);
  }
}

// pair_of has a token's experts in ascending order, `each` in the order they were chosen.
void MixOutputs::show_each(Program& p, std::int64_t token) noexcept {
  const std::int64_t width = e_->matrices.down.weights.rows, top_k = e_->top_k;
  const auto* picks = reinterpret_cast<const std::int32_t*>(p.at(e_->chosen)) + token * top_k;
  for (std::int64_t i = 0; i < top_k; ++i) {
    const std::int64_t n = std::count_if(picks, picks + top_k, [&](std::int32_t other) { return other < picks[i]; });
    const auto at = static_cast<std::size_t>(token * top_k + n);
    const float* from = e_->buffers->outputs.floats() + e_->pair_of[at] * width;
    float* to = p.at(e_->each) + token * e_->each.width + i * width;
    for (std::int64_t d = 0; d < width; ++d) to[d] = from[d] * e_->weight_of[at];
  }
}

}  // namespace ouvert
