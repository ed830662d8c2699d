// Edits of a sequence: changes of named values while its tokens are computed. docs/formats/edits.md has the formulas.
//
// A program with a place for a value's edits has an instruction there, which changes the rows of the sequences that have
// some and leaves all others as they are. The order of additions is fixed: the numbers are the same for every
// instruction set and however tokens share steps.

#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace ouvert {

// add: x + v. project_out: x - s (x . v) v, of a v of length 1. blend: x + s (v - x), or v itself where s is 1.
// scale: x s, or 0 where s is 0.
enum class EditKind : std::uint8_t { add, project_out, blend, scale };

struct RowEdit {
  EditKind kind;
  float strength;             // s
  std::int64_t start, stop;   // positions of the tokens that it changes
  std::vector<std::pair<std::int64_t, std::int64_t>> columns;  // ranges of the row
  std::int64_t width;         // numbers of a row of values; 0: it has none
  std::vector<float> values;  // v: one row, or one for each token
  std::vector<std::int32_t> experts;  // of the weights of chosen experts: the experts whose weights it changes

  bool changes(std::int64_t position) const { return position >= start && position < stop; }
  // The row of a token that it changes. chosen: the experts of this token, where there are experts.
  void apply(std::int64_t position, float* row, const std::int32_t* chosen, std::int64_t row_width) const noexcept;

 private:
  double dot(const float* row, const float* v) const noexcept;
};

// By the name of the value.
using Edits = std::unordered_map<std::string, std::vector<RowEdit>>;

}  // namespace ouvert
