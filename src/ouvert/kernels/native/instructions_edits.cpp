// The instruction that edits a value, and what an edit does to a row.

#include <algorithm>

#include "instructions.h"
#include "pieces.h"

namespace ouvert {

// Eight sums side by side, joined in the end.
double RowEdit::dot(const float* row, const float* v) const noexcept {
  double sums[8] = {};
  for (const auto& [from, to] : columns)
    for (std::int64_t i = from; i < to; ++i) sums[(i - from) % 8] += static_cast<double>(row[i]) * *v++;
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

void RowEdit::apply(std::int64_t position, float* row, const std::int32_t* chosen,
                    std::int64_t row_width) const noexcept {
  if (!experts.empty()) {
    for (std::int64_t i = 0; i < row_width; ++i)
      if (std::find(experts.begin(), experts.end(), chosen[i]) != experts.end())
        row[i] = strength == 0.0f ? 0.0f : row[i] * strength;
    return;
  }
  const bool one = static_cast<std::int64_t>(values.size()) == width;
  const float* v = values.data() + (one ? 0 : (position - start) * width);
  const float part = kind == EditKind::project_out ? static_cast<float>(strength * dot(row, v)) : strength;
  for (const auto& [from, to] : columns)
    for (std::int64_t i = from; i < to; ++i) switch (kind) {
        case EditKind::add: row[i] += *v++; break;
        case EditKind::project_out: row[i] -= part * *v++; break;
        case EditKind::blend: row[i] = part == 1.0f ? *v : row[i] + part * (*v - row[i]), ++v; break;
        case EditKind::scale: row[i] = part == 0.0f ? 0.0f : row[i] * part; break;
      }
}

std::uint32_t EditRows::pieces(Program& p) noexcept { return row_pieces(p.rows_of(out_)); }
void EditRows::run(Program& p, std::uint32_t piece, int) noexcept {
  const Range r = rows_of_piece(piece, p.rows_of(out_));
  float* out = p.at(out_);
  const float* x = p.at(x_);
  if (out != x) std::copy(x + r.begin * x_.width, x + r.end * x_.width, out + r.begin * out_.width);
  const Part* part = nullptr;
  const std::vector<RowEdit>* edits = nullptr;
  for (std::int64_t i = r.begin; i < r.end; ++i) {
    const std::int64_t token = out_.rows == Rows::tokens ? i : p.wanted_rows()[static_cast<std::size_t>(i)];
    const Part& of = p.parts()[static_cast<std::size_t>(p.part_of()[static_cast<std::size_t>(token)])];
    if (&of != part) {
      part = &of, edits = nullptr;
      if (of.sequence->edits != nullptr)
        if (const auto found = of.sequence->edits->find(name_); found != of.sequence->edits->end())
          edits = &found->second;
    }
    if (edits == nullptr) continue;
    const std::int64_t position = p.positions()[static_cast<std::size_t>(token)];
    const std::int32_t* chosen =
        chosen_.width == 0 ? nullptr : reinterpret_cast<const std::int32_t*>(p.at(chosen_)) + i * chosen_.width;
    for (const RowEdit& edit : *edits)
      if (edit.changes(position)) edit.apply(position, out + i * out_.width, chosen, out_.width);
  }
}

}  // namespace ouvert
