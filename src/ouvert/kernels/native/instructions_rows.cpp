// Instructions that compute every row by itself.

#include "instructions.h"

#include <algorithm>
#include <cmath>

#include "pieces.h"

namespace ouvert {

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
  const auto weights = static_cast<std::int64_t>(weight_.size());
  for (std::int64_t i = 0; i < (r.end - r.begin) * x_.width; i += width_)
    p.row.rms_norm(x + i, weight_.data() + i % weights, out + i, width_, eps_);
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
      p.row.rotate(p.at(x_) + t * x_.width + h, angles, angles + half, p.at(out_) + t * out_.width + h, head_dim_,
                   half);
  }
}

std::uint32_t JoinColumns::pieces(Program& p) noexcept { return row_pieces(p.rows_of(out_)); }
void JoinColumns::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(out_));
  const std::int64_t first = a_.width / heads_, second = b_.width / heads_;
  for (std::int64_t t = r.begin; t < r.end; ++t) {
    if (!of_all_ && out_.rows == Rows::tokens && p.expanded(t)) continue;  // a query that nobody looks at
    const float *a = p.at(a_) + t * a_.width, *b = p.at(b_) + t * b_.width;
    float* to = p.at(out_) + t * out_.width;
    for (std::int64_t h = 0; h < heads_; ++h, a += first, b += second)
      to = std::copy(b, b + second, std::copy(a, a + first, to));
  }
}

}  // namespace ouvert
