#include "instructions.h"

#include <algorithm>
#include <cmath>
#include <new>

namespace ouvert {
namespace {

// Rows that one piece of a rowwise instruction does: one tile of activations.
constexpr std::int64_t kRowsPerPiece = kTokenTile;

std::uint32_t row_pieces(std::int64_t rows) {
  return static_cast<std::uint32_t>((rows + kRowsPerPiece - 1) / kRowsPerPiece);
}

struct Range {
  std::int64_t begin, end;
};

Range rows_of_piece(std::uint32_t piece, std::int64_t rows) {
  const std::int64_t begin = piece * kRowsPerPiece;
  return {begin, std::min(rows, begin + kRowsPerPiece)};
}

// How a product is cut. A piece should take 10 to 30 microseconds, and every thread should have a few, whether memory
// (few tokens) or arithmetic (many) is the limit.
constexpr std::int64_t kPieceBytes = 192 << 10;
constexpr std::int64_t kLeastPieceBytes = 12 << 10;
constexpr std::int64_t kPieceProducts = 4 << 20;
constexpr std::int64_t kPiecesPerThread = 6;
constexpr std::int64_t kTokensPerPiece = 64;
constexpr std::int64_t kGroupsTogether = 4;  // products are fastest with multiples of so many groups of rows

// Rows of one piece, where all matrices of the instruction together have `bytes`, and are gone through `times` for
// `tokens` each time.
std::int64_t row_step(const Matrix& weights, std::int64_t bytes, std::int64_t tokens, std::int64_t times, int threads) {
  const std::int64_t wanted = kPiecesPerThread * threads, group = packed_group_bytes(weights.layout, weights.columns);
  const std::int64_t by_bytes = std::clamp(bytes / wanted, kLeastPieceBytes, kPieceBytes) / group;
  const std::int64_t by_products = kPieceProducts / (tokens * weights.columns * kRowGroup);
  const std::int64_t groups = std::max<std::int64_t>(1, std::min(by_bytes, by_products));
  if (groups >= kGroupsTogether) return kRowGroup * (groups / kGroupsTogether * kGroupsTogether);
  return kRowGroup * (bytes / (kGroupsTogether * group) * times >= wanted ? kGroupsTogether : groups);
}

std::int64_t parts(std::int64_t whole, std::int64_t step) { return (whole + step - 1) / step; }

}  // namespace

// --- rowwise ---

std::uint32_t Embed::pieces(Program& p) noexcept { return row_pieces(p.rows_of(out_)); }
void Embed::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(out_));
  dequantise_rows(table_, p.ids() + r.begin, r.end - r.begin, p.at(out_) + r.begin * out_.width, out_.width);
}

std::uint32_t Angles::pieces(Program& p) noexcept { return row_pieces(p.rows_of(out_)); }
void Angles::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(out_));
  const std::size_t half = frequencies_.size();
  float* out = p.at(out_) + r.begin * out_.width;
  for (std::int64_t t = r.begin; t < r.end; ++t, out += out_.width) {
    const auto position = static_cast<float>(p.positions()[static_cast<std::size_t>(t)]);
    for (std::size_t i = 0; i < half; ++i) {
      const float angle = position * frequencies_[i];
      out[i] = std::cos(angle) * magnitude_;
      out[half + i] = std::sin(angle) * magnitude_;
    }
  }
}

std::uint32_t Quantise::pieces(Program& p) noexcept { return row_pieces(p.rows_of(x_)); }
void Quantise::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(x_));
  if (code_bytes_ == 1)
    p.linear.quantise(p.at(x_), x_.width, nullptr, p.activations(out_), r.begin, r.end);
  else
    p.linear.quantise_wide(p.at(x_), x_.width, p.activations(out_), r.begin, r.end);
}

std::uint32_t Norm::pieces(Program& p) noexcept { return row_pieces(p.rows_of(x_)); }
void Norm::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(x_));
  const float* x = p.at(x_) + r.begin * x_.width;
  float* out = p.at(out_) + r.begin * out_.width;
  const auto width = static_cast<std::int64_t>(weight_.size());
  for (std::int64_t i = 0; i < (r.end - r.begin) * x_.width; i += width)
    p.row.rms_norm(x + i, weight_.data(), out + i, width, eps_);
  if (quantised_.width != 0)
    p.linear.quantise(p.at(out_), out_.width, nullptr, p.activations(quantised_), r.begin, r.end);
}

std::uint32_t Add::pieces(Program& p) noexcept { return row_pieces(p.rows_of(out_)); }
void Add::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(out_));
  const std::int64_t from = r.begin * out_.width, count = (r.end - r.begin) * out_.width;
  p.row.add(p.at(a_) + from, p.at(b_) + from, p.at(out_) + from, count);
}

std::uint32_t Select::pieces(Program& p) noexcept { return row_pieces(p.rows_of(out_)); }
void Select::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(out_));
  for (std::int64_t i = r.begin; i < r.end; ++i) {
    const float* from = p.at(x_) + p.wanted_rows()[static_cast<std::size_t>(i)] * x_.width;
    std::copy(from, from + x_.width, p.at(out_) + i * out_.width);
  }
}

std::uint32_t Gated::pieces(Program& p) noexcept { return row_pieces(p.rows_of(out_)); }
void Gated::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(out_));
  const std::int64_t from = r.begin * out_.width, count = (r.end - r.begin) * out_.width;
  how_.apply(p.row, p.at(gate_) + from, p.at(up_) + from, p.at(out_) + from, count);
}

std::uint32_t Rotate::pieces(Program& p) noexcept { return row_pieces(p.rows_of(x_)); }
void Rotate::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(x_));
  const std::int64_t half = angles_.width / 2;
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    const float* angles = p.at(angles_) + t * angles_.width;
    for (std::int64_t h = 0; h < x_.width; h += head_dim_)
      p.row.rotate(p.at(x_) + t * x_.width + h, angles, angles + half, p.at(out_) + t * out_.width + h, head_dim_, half);
  }
}

// --- products ---

const char* Linear::kind() const {
  if (gated_) return gate_.clamped ? "linear, clamped_swiglu" : "linear, swiglu";
  return products_[0].out.offset < 0 ? "unembed" : products_[0].accumulate ? "linear, add" : "linear";
}

std::uint32_t Linear::pieces(Program& p) noexcept {
  const std::int64_t tokens = p.rows_of(x_);
  if (tokens == 0) return 0;
  token_step_ = std::min(tokens, kTokensPerPiece);
  std::int64_t bytes = 0;
  for (const Product& product : products_)
    bytes += packed_bytes(product.weights.layout, product.weights.rows, product.weights.columns);
  pieces_per_token_step_ = 0;
  for (std::size_t i = 0; i < products_.size(); ++i) {
    row_step_[i] = row_step(products_[i].weights, gated_ ? bytes / 2 : bytes, token_step_, parts(tokens, token_step_),
                            p.threads());
    if (!gated_ || i == 0) pieces_per_token_step_ += parts(products_[i].weights.rows, row_step_[i]);
  }
  return static_cast<std::uint32_t>(pieces_per_token_step_ * parts(tokens, token_step_));
}

void Linear::multiply(Program& p, const Product& product, const Piece& piece) const noexcept {
  const Epilogue epilogue{.bias = product.bias.empty() ? nullptr : product.bias.data(),
                          .accumulate = product.accumulate};
  if (code_bytes_ != 0)
    (code_bytes_ == 1 ? p.linear.matmul : p.linear.matmul_wide)(product.weights, p.activations(x_), p.at(product.out),
                                                                product.out.width, piece, epilogue);
  else
    p.linear.matmul_f32(product.weights, p.at(x_), x_.width, nullptr, p.at(product.out), product.out.width, piece,
                        epilogue);
}

void Linear::run(Program& p, std::uint32_t number, int) noexcept {
  std::int64_t n = number % pieces_per_token_step_;
  Piece piece{};
  piece.token_begin = number / pieces_per_token_step_ * token_step_;
  piece.token_end = std::min(p.rows_of(x_), piece.token_begin + token_step_);
  std::size_t i = 0;
  if (!gated_)
    for (; n >= parts(products_[i].weights.rows, row_step_[i]); ++i) n -= parts(products_[i].weights.rows, row_step_[i]);
  piece.row_begin = n * row_step_[i];
  piece.row_end = std::min(products_[i].weights.rows, piece.row_begin + row_step_[i]);
  multiply(p, products_[i], piece);
  if (!gated_) return;
  multiply(p, products_[1], piece);
  const std::int64_t width = products_[0].out.width;
  for (std::int64_t t = piece.token_begin; t < piece.token_end; ++t) {
    float* gate = p.at(products_[0].out) + t * width + piece.row_begin;
    const float* up = p.at(products_[1].out) + t * width + piece.row_begin;
    gate_.apply(p.row, gate, up, gate, piece.row_end - piece.row_begin);
  }
}

// --- attention ---

std::uint32_t Remember::pieces(Program& p) noexcept {
  // A block's worth of tokens: neighbours write into the same cache lines.
  return static_cast<std::uint32_t>(parts(p.tokens(), kBlockKeys));
}
void Remember::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const LayerMemory& layer = p.cache().layers()[static_cast<std::size_t>(layer_)];
  const std::int64_t group = p.cache().group_of(layer_), offset = p.cache().offset_of(layer_);
  const std::int64_t stretch = head_block_bytes(layer.head_dim, p.cache().type());
  const std::int64_t half = angles_.width / 2, bytes = element_bytes(p.cache().type());
  float* turned = p.scratch(thread);
  const std::int64_t end = std::min(p.tokens(), (piece + 1) * kBlockKeys);
  for (std::int64_t t = piece * kBlockKeys; t < end; ++t) {
    const Part& part = p.parts()[static_cast<std::size_t>(p.part_of()[static_cast<std::size_t>(t)])];
    const std::int64_t position = p.positions()[static_cast<std::size_t>(t)];
    std::uint8_t* block = part.sequence->blocks(group)[position / kBlockKeys] + offset;
    const float* angles = turns_ ? p.at(angles_) + t * angles_.width : nullptr;
    // A key goes into as many cache lines as it has values; waiting for one after the other would take longer than
    // everything else here.
    if (t == piece * kBlockKeys || position % kBlockKeys == 0)
      for (std::int64_t h = 0; h < layer.kv_heads; ++h)
        for (std::int64_t i = 0; i < layer.head_dim; ++i)
          __builtin_prefetch(block + h * stretch + (i * kBlockKeys + position % kBlockKeys) * bytes, 1);
    if (turns_) {
      float* q = p.at(q_) + t * q_.width;
      for (std::int64_t h = 0; h < q_.width; h += layer.head_dim)
        p.row.rotate(q + h, angles, angles + half, q + h, layer.head_dim, half);
    }
    // The key of another token of this step, h'th head, as it is remembered.
    const auto key = [&](std::int64_t token, std::int64_t h, float* to) -> const float* {
      const float* k = p.at(k_) + token * k_.width + h * layer.head_dim;
      if (!turns_) return k;
      const float* at = p.at(angles_) + token * angles_.width;
      p.row.rotate(k, at, at + half, to, layer.head_dim, half);
      return to;
    };
    // The block's first token, if another thread may be writing it now.
    const std::int64_t slot = position % kBlockKeys, first = t - slot;
    const bool beside = first < piece * kBlockKeys && first >= 0 &&
                        p.part_of()[static_cast<std::size_t>(first)] == p.part_of()[static_cast<std::size_t>(t)];
    for (std::int64_t h = 0; h < layer.kv_heads; ++h)
      p.attention.remember(key(t, h, turned), p.at(v_) + t * v_.width + h * layer.head_dim, layer.head_dim,
                           p.cache().type(), block + h * stretch, slot,
                           beside ? key(first, h, turned + layer.head_dim) : nullptr);
  }
}

std::uint32_t RememberLatent::pieces(Program& p) noexcept { return row_pieces(p.tokens()); }
void RememberLatent::run(Program& p, std::uint32_t piece, int) noexcept {
  const std::int64_t group = p.cache().group_of(layer_), offset = p.cache().offset_of(layer_);
  const Range r = rows_of_piece(piece, p.tokens());
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    const Part& part = p.parts()[static_cast<std::size_t>(p.part_of()[static_cast<std::size_t>(t)])];
    const std::int64_t position = p.positions()[static_cast<std::size_t>(t)];
    p.attention.remember_latent(p.at(x_) + t * x_.width, x_.width, p.cache().type(),
                                part.sequence->blocks(group)[position / kBlockKeys] + offset, position % kBlockKeys);
  }
}

std::uint32_t JoinColumns::pieces(Program& p) noexcept { return row_pieces(p.rows_of(out_)); }
void JoinColumns::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(out_));
  const std::int64_t first = a_.width / heads_, second = b_.width / heads_;
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    const float *a = p.at(a_) + t * a_.width, *b = p.at(b_) + t * b_.width;
    float* to = p.at(out_) + t * out_.width;
    for (std::int64_t h = 0; h < heads_; ++h, a += first, b += second)
      to = std::copy(b, b + second, std::copy(a, a + first, to));
  }
}

std::uint32_t LinearHeads::pieces(Program& p) noexcept {
  const std::int64_t heads = out_.width / product_.weights.rows;
  return static_cast<std::uint32_t>(heads * parts(p.rows_of(out_), kTokensPerPiece));
}
void LinearHeads::run(Program& p, std::uint32_t piece, int) noexcept {
  const std::int64_t heads = out_.width / product_.weights.rows, head = piece % heads;
  const std::int64_t begin = piece / heads * kTokensPerPiece;
  const Matrix weights = product_.expert(head);
  p.linear.matmul_f32(weights, p.at(x_) + head * weights.columns, x_.width, nullptr, p.at(out_) + head * weights.rows,
                      out_.width, {0, weights.rows, begin, std::min(p.rows_of(out_), begin + kTokensPerPiece)}, {});
}

namespace {

// Some channels of one sequence's tokens in a step, and where its state is kept.
struct Channels {
  const Part& part;
  std::int64_t begin, count, all;  // channels
  std::uint8_t* const* blocks;
  std::int64_t offset;

  Channels(Program& p, std::int64_t layer, std::int64_t channels, std::uint32_t piece)
      : part(p.parts()[piece / static_cast<std::uint32_t>(parts(channels, kChannels))]),
        begin(piece % static_cast<std::uint32_t>(parts(channels, kChannels)) * kChannels),
        count(std::min(kChannels, channels - begin)),
        all(channels),
        blocks(part.sequence->blocks(p.cache().group_of(layer))),
        offset(p.cache().offset_of(layer)) {}

  // Number `row` of these channels, as it was before the step; null if nothing was.
  const float* before(std::int64_t row) const {
    return part.position == 0 ? nullptr : at(part.position - 1, row);
  }
  float* at(std::int64_t position, std::int64_t row) const {
    return reinterpret_cast<float*>(blocks[position / kBlockKeys] + offset) + row * all + begin;
  }
  // Whether what the step's t-th token leaves is kept.
  bool keeps(std::int64_t t) const { return t + 1 == part.tokens || (part.position + t + 1) % kBlockKeys == 0; }
};

std::uint32_t channel_pieces(const Program& p, std::int64_t channels) {
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(p.parts().size()) * parts(channels, kChannels));
}

}  // namespace

std::uint32_t Convolve::pieces(Program& p) noexcept { return channel_pieces(p, x_.width); }
void Convolve::run(Program& p, std::uint32_t piece, int) noexcept {
  const Channels of(p, layer_, x_.width, piece);
  const std::int64_t kept = taps() - 1;
  float before[kMostTaps][kChannels] = {};  // a copy: its place may be written to on the way
  for (std::int64_t k = 0; k < kept; ++k)
    if (const float* from = of.before(k)) std::copy(from, from + of.count, before[k]);
  const auto input = [&](std::int64_t t) -> const float* {
    return t < 0 ? before[kept + t] : p.at(x_) + (of.part.first + t) * x_.width + of.begin;
  };
  for (std::int64_t t = 0; t < of.part.tokens; ++t) {
    const float* rows[kMostTaps];
    for (std::int64_t tap = 0; tap <= kept; ++tap) rows[tap] = input(t + tap - kept);
    p.row.convolve(rows, kept + 1, weight_.data() + of.begin, of.all, bias_.data() + of.begin,
                   p.at(out_) + (of.part.first + t) * out_.width + of.begin, of.count);
    if (!of.keeps(t)) continue;
    for (std::int64_t k = 0; k < kept; ++k) {
      const float* from = input(t + 1 + k - kept);
      std::copy(from, from + of.count, of.at(of.part.position + t, k));
    }
  }
}

Scan::Scan(std::int64_t layer, Value x, Value step, std::vector<float> decay, Value b, Value c, std::vector<float> skip,
           Value out)
    : layer_(layer), x_(x), step_(step), decay_(std::move(decay)), b_(b), c_(c), skip_(std::move(skip)), out_(out) {
  constexpr float kLog2OfE = 1.44269504088896340736f;
  for (float& each : decay_) each *= kLog2OfE;
}

std::uint32_t Scan::pieces(Program& p) noexcept { return channel_pieces(p, x_.width); }
void Scan::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const Channels of(p, layer_, x_.width, piece);
  const std::int64_t inputs = p.cache().layers()[static_cast<std::size_t>(layer_)].head_dim - states();
  float* state = p.scratch(thread);  // [states][kChannels]
  for (std::int64_t s = 0; s < states(); ++s) {
    const float* from = of.before(inputs + s);
    for (std::int64_t i = 0; i < of.count; ++i) state[s * kChannels + i] = from == nullptr ? 0.0f : from[i];
  }
  for (std::int64_t t = 0; t < of.part.tokens; ++t) {
    const std::int64_t row = of.part.first + t;
    p.row.scan(p.at(x_) + row * x_.width + of.begin, p.at(step_) + row * step_.width + of.begin,
               decay_.data() + of.begin, of.all, p.at(b_) + row * b_.width, p.at(c_) + row * c_.width,
               skip_.data() + of.begin, state, kChannels, states(), p.at(out_) + row * out_.width + of.begin, of.count);
    if (!of.keeps(t)) continue;
    for (std::int64_t s = 0; s < states(); ++s)
      std::copy(state + s * kChannels, state + s * kChannels + of.count, of.at(of.part.position + t, inputs + s));
  }
}

void AttentionPlan::make(Program& p) noexcept {
  if (made_for_ == p.step_number()) return;
  made_for_ = p.step_number();
  const std::int64_t tile_tokens = std::max<std::int64_t>(1, kTileRows / group);
  std::int64_t tiles = 0;
  for (const Part& part : p.parts()) tiles += parts(part.tokens, tile_tokens);
  // With few tiles, long pasts are cut into segments so that all threads have something to do. The numbers are the same.
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
    for (std::int64_t tile = parts(part.tokens, tile_tokens); tile-- > 0;) {  // the last tokens have most to look at
      const std::int64_t token = tile * tile_tokens, tokens = std::min(tile_tokens, part.tokens - token);
      const AttentionTile shape{.q = nullptr, .q_stride = 0, .tokens = tokens, .group = group, .head_dim = head_dim,
                                .position = part.position + token, .window = window, .scale = 0, .type = CacheType::f16,
                                .blocks = nullptr, .offset = 0, .value_dim = value_dim};
      const std::int64_t first = shape.first_segment(), segments = shape.end_segment() - first;
      Item item{static_cast<std::int32_t>(n), static_cast<std::int32_t>(token), static_cast<std::int32_t>(tokens), -1, 0};
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
  const std::int64_t stretch = head_block_bytes(plan_->head_dim, p.cache().type());
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
          .offset = p.cache().offset_of(layer_) + head * stretch,
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
  if (item.segment < 0) {
    const float* sinks = sinks_.empty() ? nullptr : sinks_.data() + head * plan_->group;
    p.attention.attend(t, sinks, p.scratch(thread), out(p, item.part, item.token, head), out_.width);
  } else {
    const std::int64_t floats = t.rows() * state_stride(plan_->value_dim), segments = t.end_segment() - t.first_segment();
    p.attention.attend_segment(t, item.segment, p.scratch(thread),
                               plan_->states.floats() + item.state + head * segments * floats);
  }
}

std::uint32_t Join::pieces(Program&) noexcept {
  const auto joins = static_cast<std::uint32_t>(attend_.plan_->splits.size() * static_cast<std::size_t>(attend_.plan_->kv_heads));
  return joins == 0 ? 0 : static_cast<std::uint32_t>(attend_.plan_->splits.size());
}
void Join::run(Program& p, std::uint32_t piece, int) noexcept {
  AttentionPlan& plan = *attend_.plan_;
  const AttentionPlan::Split& split = plan.splits[piece];
  const std::int64_t floats = plan.state_floats(split);
  for (std::int64_t head = 0; head < plan.kv_heads; ++head) {
    const float* sinks = attend_.sinks_.empty() ? nullptr : attend_.sinks_.data() + head * plan.group;
    p.attention.join(attend_.tile(p, split.part, split.token, split.tokens, head),
                     plan.states.floats() + split.state + head * split.segments * floats, split.segments, floats, sinks,
                     attend_.out(p, split.part, split.token, head), attend_.out_.width);
  }
}

// --- experts ---

namespace {

// Puts index `i` into a list of at most `most`, sorted by values, behind those that are as large.
void insert(std::int32_t* list, std::int64_t& have, std::int64_t most, const float* values, std::int64_t i) {
  std::int64_t at = have;
  while (at > 0 && values[i] > values[list[at - 1]]) --at;
  if (at == most) return;
  if (have < most) ++have;
  for (std::int64_t j = have - 1; j > at; --j) list[j] = list[j - 1];
  list[at] = static_cast<std::int32_t>(i);
}

}  // namespace

std::uint32_t BestFew::pieces(Program& p) noexcept { return row_pieces(p.rows_of(scores_)); }
void BestFew::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(scores_));
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    const float* scores = p.at(scores_) + t * scores_.width;
    auto* chosen = reinterpret_cast<std::int32_t*>(p.at(chosen_) + t * kept_);
    float* share = p.at(share_) + t * kept_;
    std::int64_t have = 0;
    for (std::int64_t e = 0; e < scores_.width; ++e) insert(chosen, have, kept_, scores, e);
    float total = 0.0f;
    for (std::int64_t i = 0; i < kept_; ++i) {
      share[i] = std::exp(scores[chosen[i]] - scores[chosen[0]]);
      total += share[i];
    }
    for (std::int64_t i = 0; i < kept_; ++i) share[i] /= total;
  }
}

std::uint32_t BestFewOfGroups::pieces(Program& p) noexcept { return row_pieces(p.rows_of(scores_)); }
void BestFewOfGroups::run(Program& p, std::uint32_t piece, int thread) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(scores_));
  const std::int64_t experts = scores_.width, each = experts / groups_;
  float *likings = p.scratch(thread), *corrected = likings + experts, *worth = corrected + experts;
  auto* groups = reinterpret_cast<std::int32_t*>(worth + groups_);
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    const float* scores = p.at(scores_) + t * experts;
    auto* chosen = reinterpret_cast<std::int32_t*>(p.at(chosen_) + t * kept_);
    float* share = p.at(share_) + t * kept_;
    for (std::int64_t e = 0; e < experts; ++e) {
      likings[e] = 1.0f / (1.0f + std::exp(-scores[e]));
      corrected[e] = likings[e] + correction_[static_cast<std::size_t>(e)];
    }
    std::int64_t have = 0;
    for (std::int64_t g = 0; g < groups_; ++g) {
      std::int32_t best[2];
      std::int64_t two = 0;
      for (std::int64_t e = g * each; e < (g + 1) * each; ++e) insert(best, two, 2, corrected, e);
      worth[g] = corrected[best[0]] + corrected[best[1]];
      insert(groups, have, groups_kept_, worth, g);
    }
    std::sort(groups, groups + groups_kept_);  // experts in ascending order, so that the lower index wins a tie
    have = 0;
    for (std::int64_t g = 0; g < groups_kept_; ++g)
      for (std::int64_t e = groups[g] * each; e < (groups[g] + 1) * each; ++e) insert(chosen, have, kept_, corrected, e);
    float total = 0.0f;
    for (std::int64_t i = 0; i < kept_; ++i) total += share[i] = likings[chosen[i]];
    for (std::int64_t i = 0; i < kept_; ++i) share[i] = (normalised_ ? share[i] / total : share[i]) * factor_;
  }
}

void Experts::prepare(Program&, std::int64_t tokens) {
  const std::int64_t pairs = tokens * kept, hidden = gate.weights.columns, inner = gate.weights.rows;
  const std::int64_t padded = pairs + experts * kTokenTile;
  const auto count = static_cast<std::size_t>(pairs);
  token_of.reserve(count), pair_of.reserve(count), share_of.reserve(count);
  stretches.reserve(static_cast<std::size_t>(experts)), next_.reserve(static_cast<std::size_t>(experts));
  const std::int64_t most_rows = std::max(inner, down.weights.rows) / kRowGroup + 1;
  units.reserve(static_cast<std::size_t>((experts + parts(pairs, kTokensPerPiece)) * most_rows));
  if (int8(gate) || int8(up)) buffers->codes.grow(activation_bytes(padded, hidden));
  buffers->gate.grow(pairs * inner * 4);
  buffers->up.grow(pairs * inner * 4);
  if (int8(down)) buffers->inner_codes.grow(activation_bytes(padded, inner));
  buffers->answers.grow(pairs * down.weights.rows * 4);
}

void Experts::gather(Program& p) noexcept {
  const std::int64_t tokens = p.rows_of(x), pairs = tokens * kept;
  const auto* picks = reinterpret_cast<const std::int32_t*>(p.at(chosen));
  const float* shares = p.at(share);
  next_.assign(static_cast<std::size_t>(experts), 0);
  for (std::int64_t i = 0; i < pairs; ++i) ++next_[static_cast<std::size_t>(picks[i])];
  stretches.clear();
  std::int64_t first = 0, padded_first = 0;
  for (std::int64_t e = 0; e < experts; ++e) {
    const std::int64_t count = next_[static_cast<std::size_t>(e)];
    next_[static_cast<std::size_t>(e)] = first;
    if (count > 0) stretches.push_back({e, first, count, padded_first});
    first += count;
    padded_first += parts(count, kTokenTile) * kTokenTile;
  }
  token_of.resize(static_cast<std::size_t>(pairs));
  pair_of.resize(static_cast<std::size_t>(pairs));
  share_of.resize(static_cast<std::size_t>(pairs));
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::int64_t before = -1;
    for (std::int64_t n = 0; n < kept; ++n) {  // its experts in ascending order
      std::int64_t best = -1;
      for (std::int64_t i = 0; i < kept; ++i)
        if (picks[t * kept + i] > before && (best < 0 || picks[t * kept + i] < picks[t * kept + best])) best = i;
      before = picks[t * kept + best];
      const std::int64_t pair = next_[static_cast<std::size_t>(before)]++;
      token_of[static_cast<std::size_t>(pair)] = static_cast<std::int32_t>(t);
      pair_of[static_cast<std::size_t>(t * kept + n)] = static_cast<std::int32_t>(pair);
      share_of[static_cast<std::size_t>(t * kept + n)] = shares[t * kept + best];
    }
  }
}

// Cuts the products of all stretches with matrices of this shape (`matrices` of them in each piece) into units.
void Experts::cut(Program& p, const Matrix& weights, std::int64_t matrices) noexcept {
  units.clear();
  const std::int64_t bytes = packed_bytes(weights.layout, weights.rows, weights.columns) *
                             static_cast<std::int64_t>(stretches.size());
  for (std::size_t s = 0; s < stretches.size(); ++s) {
    const std::int64_t count = stretches[s].count, token_step = std::min(count, kTokensPerPiece);
    const std::int64_t rows = row_step(weights, bytes, token_step * matrices, parts(count, token_step), p.threads());
    for (std::int64_t t = 0; t < count; t += token_step)
      for (std::int64_t r = 0; r < weights.rows; r += rows)
        units.push_back({static_cast<std::int32_t>(s), static_cast<std::int32_t>(r),
                         static_cast<std::int32_t>(std::min(weights.rows, r + rows)), static_cast<std::int32_t>(t),
                         static_cast<std::int32_t>(std::min(count, t + token_step))});
  }
}

Activations Experts::view(const Buffer& codes, std::int64_t columns, const Stretch& stretch, bool shared) {
  if (shared) return {1, columns, codes.data()};
  return {stretch.count, columns, codes.data() + activation_bytes(stretch.padded_first, columns)};
}

// to: the pairs' rows, of all stretches.
void Experts::multiply(Program& p, const ExpertProduct& product, const Buffer& codes, const float* from,
                       std::int64_t from_stride, const std::int32_t* from_rows, float* to,
                       const Unit& unit) const noexcept {
  const Stretch& stretch = stretches[static_cast<std::size_t>(unit.stretch)];
  const Matrix weights = product.expert(stretch.expert);
  const Piece piece{unit.row_begin, unit.row_end, unit.token_begin, unit.token_end};
  const Epilogue epilogue = product.epilogue(stretch.expert);
  to += stretch.first * weights.rows;
  if (int8(product)) {
    const bool shared = &codes == &buffers->codes && alone(p);
    p.linear.matmul(weights, view(codes, weights.columns, stretch, shared), to, weights.rows, piece, epilogue);
  } else {
    if (from_rows != nullptr)
      from_rows += stretch.first;
    else
      from += stretch.first * from_stride;
    p.linear.matmul_f32(weights, from, from_stride, from_rows, to, weights.rows, piece, epilogue);
  }
}

std::uint32_t GatherTokens::pieces(Program& p) noexcept {
  if (p.empty || p.rows_of(e_->x) == 0) return 0;
  e_->gather(p);
  if (!e_->int8(e_->gate) && !e_->int8(e_->up)) return 0;
  return e_->alone(p) ? 1 : static_cast<std::uint32_t>(e_->stretches.size());
}
void GatherTokens::run(Program& p, std::uint32_t piece, int) noexcept {
  const Experts::Stretch& stretch = e_->stretches[piece];
  const bool alone = e_->alone(p);
  p.linear.quantise(p.at(e_->x), e_->x.width, e_->token_of.data() + stretch.first,
                    Experts::view(e_->buffers->codes, e_->x.width, stretch, alone), 0, alone ? 1 : stretch.count);
}

std::uint32_t GateExperts::pieces(Program& p) noexcept {
  if (p.empty || p.rows_of(e_->x) == 0) return 0;
  e_->cut(p, e_->gate.weights, 2);
  return static_cast<std::uint32_t>(e_->units.size());
}
void GateExperts::run(Program& p, std::uint32_t piece, int) noexcept {
  const Experts::Unit& unit = e_->units[piece];
  float *gate = e_->buffers->gate.floats(), *up = e_->buffers->up.floats();
  e_->multiply(p, e_->gate, e_->buffers->codes, p.at(e_->x), e_->x.width, e_->token_of.data(), gate, unit);
  e_->multiply(p, e_->up, e_->buffers->codes, p.at(e_->x), e_->x.width, e_->token_of.data(), up, unit);
  const std::int64_t first = e_->stretches[static_cast<std::size_t>(unit.stretch)].first, inner = e_->gate.weights.rows;
  for (std::int64_t t = first + unit.token_begin; t < first + unit.token_end; ++t) {
    const std::int64_t at = t * inner + unit.row_begin;
    e_->how.apply(p.row, gate + at, up + at, gate + at, unit.row_end - unit.row_begin);
  }
}

std::uint32_t QuantiseInner::pieces(Program& p) noexcept {
  if (p.empty || p.rows_of(e_->x) == 0 || !e_->int8(e_->down)) return 0;
  return static_cast<std::uint32_t>(e_->stretches.size());
}
void QuantiseInner::run(Program& p, std::uint32_t piece, int) noexcept {
  const Experts::Stretch& stretch = e_->stretches[piece];
  const std::int64_t inner = e_->down.weights.columns;
  p.linear.quantise(e_->buffers->gate.floats() + stretch.first * inner, inner, nullptr,
                    Experts::view(e_->buffers->inner_codes, inner, stretch, false), 0, stretch.count);
}

std::uint32_t DownExperts::pieces(Program& p) noexcept {
  if (p.empty || p.rows_of(e_->x) == 0) return 0;
  e_->cut(p, e_->down.weights, 1);
  return static_cast<std::uint32_t>(e_->units.size());
}
void DownExperts::run(Program& p, std::uint32_t piece, int) noexcept {
  e_->multiply(p, e_->down, e_->buffers->inner_codes, e_->buffers->gate.floats(), e_->down.weights.columns, nullptr,
               e_->buffers->answers.floats(), e_->units[piece]);
}

std::uint32_t MixAnswers::pieces(Program& p) noexcept { return p.empty ? 0 : row_pieces(p.rows_of(e_->x)); }
void MixAnswers::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(e_->x));
  const std::int64_t width = e_->down.weights.rows, kept = e_->kept;
  for (std::int64_t t = r.begin; t < r.end; ++t)
    p.row.mix(e_->buffers->answers.floats(), width, e_->pair_of.data() + t * kept, e_->share_of.data() + t * kept, kept,
              p.at(e_->out) + t * e_->out.width, width);
}

}  // namespace ouvert
