// The transposed product in standard C++: the other instruction sets must give the same bits.

#include <algorithm>
#include <cmath>

#include "decode_plain.h"
#include "linear_layout.h"
#include "linear_sets.h"

namespace ouvert {
namespace {

// Adds one group of rows of a panel, times one token, to that panel's sums.
void add_group(const float (&weights)[kBlock][kRowGroup], std::int64_t rows, const float* dy, float (&sums)[kBlock]) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (int column = 0; column < kBlock; ++column)
      sums[column] = std::fma(weights[column][row], dy[row * kStrip], sums[column]);
}

}  // namespace

void strips_plain(const float* dy, std::int64_t stride, const std::int32_t* from_rows, const Strips& to,
                  std::int64_t token_begin, std::int64_t token_end) {
  for (std::int64_t token = token_begin; token < (token_end + kStrip - 1) / kStrip * kStrip; ++token) {
    const float* from = token < token_end ? dy + (from_rows ? from_rows[token] : token) * stride : nullptr;
    float* at = to.data + token / kStrip * kStrip * to.rows + token % kStrip;
    for (std::int64_t row = 0; row < to.rows; ++row) at[row * kStrip] = from ? from[row] : 0.0f;
  }
}

void transposed_plain(const Matrix& weights, const Strips& dy, float* out, std::int64_t stride,
                      const ColumnPiece& piece, const Epilogue& epilogue) {
  float values[kPanelRows / kRowGroup][kBlock][kRowGroup] = {};
  for (std::int64_t column = piece.column_begin; column < piece.column_end; column += kBlock)
    for (std::int64_t first = 0; first < weights.rows; first += kPanelRows) {
      const std::int64_t rows = std::min(kPanelRows, weights.rows - first);
      for (std::int64_t row = 0; row < rows; row += kRowGroup)
        decode(weights.layout,
               weights.data + (first + row) / kRowGroup * group_bytes(weights.layout, weights.columns),
               weights.columns, column / kBlock, 0, kRowGroup, values[row / kRowGroup]);
      for (std::int64_t token = piece.token_begin; token < piece.token_end; ++token) {
        const float* from = dy.data + (token / kStrip * dy.rows + first) * kStrip + token % kStrip;
        float sums[kBlock] = {};
        for (std::int64_t row = 0; row < rows; row += kRowGroup)
          add_group(values[row / kRowGroup], std::min(kRowGroup, rows - row), from + row * kStrip, sums);
        float* to = out + (epilogue.out_rows ? epilogue.out_rows[token] : token) * stride + column;
        const std::int64_t columns = std::min(kBlock, piece.column_end - column);
        for (std::int64_t c = 0; c < columns; ++c) to[c] = first > 0 || epilogue.accumulate ? to[c] + sums[c] : sums[c];
      }
    }
}

}  // namespace ouvert
