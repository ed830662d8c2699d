// Products of activations with weights.

#include "instructions.h"

#include <algorithm>

#include "pieces.h"

namespace ouvert {

const char* Linear::kind() const {
  if (gated_) return gate_.clamped ? "linear, clamped_swiglu" : "linear, swiglu";
  return products_[0].out.offset < 0 ? "unembed" : products_[0].accumulate ? "linear, add" : "linear";
}

std::uint32_t Linear::pieces(Program& p) noexcept {
  const std::int64_t tokens = p.rows_of(x_);
  if (tokens == 0) return 0;
  additions_.begin();
  for (std::size_t i = 0; !additions_.empty() && i < products_.size(); ++i) additions_.want(i);
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

std::int64_t Linear::adapt(const std::vector<AdaptedRows>& adapted) {
  if (floats_.width == 0) return 0;
  std::vector<std::string> names;
  for (const Product& product : products_) names.push_back(product.name);
  additions_.plan(names, x_.rows == Rows::tokens, adapted);
  return additions_.floats();
}

void Linear::multiply(Program& p, const Product& product, Value to, bool accumulate,
                      const Piece& piece) const noexcept {
  const Epilogue epilogue{.bias = product.bias.empty() ? nullptr : product.bias.data(), .accumulate = accumulate};
  if (code_bytes_ != 0)
    (code_bytes_ == 1 ? p.linear.matmul : p.linear.matmul_wide)(product.weights, p.activations(x_), p.at(to), to.width,
                                                                piece, epilogue);
  else
    p.linear.matmul_f32(product.weights, p.at(x_), x_.width, nullptr, p.at(to), to.width, piece, epilogue);
}

void Linear::multiply(Program& p, std::size_t n, const Piece& piece) noexcept {
  const Product& product = products_[n];
  if (!additions_.empty() && additions_.touches(n, piece.token_begin, piece.token_end))
    multiply_adapted(p, n, piece);
  else
    multiply(p, product, product.out, product.accumulate, piece);
}

// The same rounding as if product, additions and residual were instructions of their own.
void Linear::multiply_adapted(Program& p, std::size_t n, const Piece& piece) noexcept {
  const Product& product = products_[n];
  const Value to = product.accumulate ? product.sum : product.out;
  multiply(p, product, to, false, piece);
  additions_.wait();
  additions_.add(p, n, p.at(to), to.width, piece);
  if (!product.accumulate) return;
  for (std::int64_t t = piece.token_begin; t < piece.token_end; ++t) {
    float* out = p.at(product.out) + t * product.out.width + piece.row_begin;
    p.row.add(out, p.at(to) + t * to.width + piece.row_begin, out, piece.row_end - piece.row_begin);
  }
}

void Linear::run(Program& p, std::uint32_t number, int) noexcept {
  std::int64_t n = number % pieces_per_token_step_;
  Piece piece{};
  piece.token_begin = number / pieces_per_token_step_ * token_step_;
  piece.token_end = std::min(p.rows_of(x_), piece.token_begin + token_step_);
  std::size_t i = 0;
  if (!gated_)
    for (std::int64_t pieces; n >= (pieces = parts(products_[i].weights.rows, row_step_[i])); ++i) n -= pieces;
  piece.row_begin = n * row_step_[i];
  piece.row_end = std::min(products_[i].weights.rows, piece.row_begin + row_step_[i]);
  if (!additions_.empty()) {
    additions_.prefetch(i, piece);
    if (gated_) additions_.prefetch(1, piece);
    additions_.help(p, p.at(floats_), floats_.width);
  }
  multiply(p, i, piece);
  if (!gated_) return;
  multiply(p, 1, piece);
  const std::int64_t width = products_[0].out.width;
  for (std::int64_t t = piece.token_begin; t < piece.token_end; ++t) {
    float* gate = p.at(products_[0].out) + t * width + piece.row_begin;
    const float* up = p.at(products_[1].out) + t * width + piece.row_begin;
    gate_.apply(p.row, gate, up, gate, piece.row_end - piece.row_begin);
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
  const std::int64_t end = std::min(p.rows_of(out_), begin + kTokensPerPiece);
  const auto skipped = [&](std::int64_t t) { return !of_all_ && out_.rows == Rows::tokens && p.expanded(t); };
  for (std::int64_t t = begin, stop = 0; t < end; t = stop) {
    stop = t + 1;
    if (skipped(t)) continue;
    while (stop < end && !skipped(stop)) ++stop;
    p.linear.matmul_f32(weights, p.at(x_) + head * weights.columns, x_.width, nullptr,
                        p.at(out_) + head * weights.rows, out_.width, {0, weights.rows, t, stop}, {});
  }
}

}  // namespace ouvert
