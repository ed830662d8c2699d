// Transposed products of gradients with packed weights:
// out[token][column] = sum over rows of weight[row][column] * dy[token][row],
// which is the gradient of x in linear.h's products. Weights are read as they are packed; nothing is kept beside them.
//
// Everything here is pure and single-threaded. A caller may cut a product into pieces of columns and tokens and give
// them to any number of threads. The result of a token does not depend on the cut, on the other tokens, or on the
// instruction set. There are three products:
//
// In float32, of every layout. Weights are decoded as matmul_f32 decodes them.
//
//   sum = 0
//   for each panel of kPanelRows rows, in order:
//     part = 0; for each row, in order: part = fma(weight[row][column], dy[row], part)
//     sum += part
//
// Rounded, of layouts that take int8 activations: dy and the weights' scales are rounded to 16 bits (to a share of their
// largest in a panel), codes are exact, and so are the sums of a panel.
//
//   code[row] = round(dy[row] * (32767 / largest |dy|)), unit = largest |dy| / 32767
//   for each block of 32 columns (Q6_K: 16, those that share a scale) and each panel, in order:
//     share[row] = round(scale[row] * (32767 / largest |scale|)), factor = largest |scale| * (32768 / 32767)
//     dot = integer sum over rows of (weight code - centre) * ((code[row] * share[row] + 2^14) >> 15)        exact
//     with a minimum, of minimum[row] + centre * scale[row], the same: sum += (its dot, of ones) * (unit * its factor)
//     sum = fma(dot, unit * factor, sum)
//
// Coarse, of those of them whose codes have 6 bits at most: the same, but a scaled gradient is rounded to 8 bits.
//
//   dot = integer sum over rows of (weight code - centre) * ((word * 127 + 2^14) >> 15), where word is as above    exact
//   sum = fma(dot, unit * (factor * (32768 / 127)), sum)
//
// All: out = accumulate ? out + sum : sum. An infinity or NaN in dy spoils its token, one in a scale its columns.

#pragma once

#include <cstdint>

#include "instruction_set.h"
#include "linear.h"

namespace ouvert {

inline constexpr std::int64_t kStrip = 16;       // tokens that are interleaved
inline constexpr std::int64_t kPanelRows = 64;

// dy as floats: [row / kPanelRows][token / kStrip][row % kPanelRows][kStrip]; missing tokens are zeros. A view; `data` is aligned to 64 and holds
// strips_bytes(tokens, rows) bytes.
struct Strips {
  std::int64_t tokens;
  std::int64_t rows;
  float* data;
};

// dy in 16 bits. For each panel of rows and each strip of tokens: units float[kStrip], then codes
// int16[row / 2][kStrip][row % 2], filled up with zeros. A view; `data` is aligned to 64 and holds
// gradient_bytes(tokens, rows) bytes.
struct Gradients {
  std::int64_t tokens;
  std::int64_t rows;
  std::uint8_t* data;
};

// Whether there is a coarse product.
constexpr bool has_coarse(Layout layout) {
  return takes_int8(layout) && layout != Layout::Q8_0 && layout != Layout::IQ4_NL;
}

// Multiples of 64.
std::int64_t strips_bytes(std::int64_t tokens, std::int64_t rows);
std::int64_t gradient_bytes(std::int64_t tokens, std::int64_t rows);

// A rectangle of a transposed product. Column bounds are multiples of kBlock (column_end may be the matrix's number of
// columns), token bounds multiples of kStrip (token_end may be the number of tokens).
struct ColumnPiece {
  std::int64_t column_begin, column_end;
  std::int64_t token_begin, token_end;
};

// Floats of work space that a piece of so many tokens and columns needs, aligned to 64.
std::int64_t transposed_scratch(std::int64_t tokens, std::int64_t columns);

// The functions of one instruction set. All sets compute the same numbers bit for bit.
struct TransposedKernels {
  // Fill tokens token_begin .. token_end of `to`, bounds as in ColumnPiece. Token t is read from
  // dy + (from_rows ? from_rows[t] : t) * stride.
  void (*gather)(const float* dy, std::int64_t stride, const std::int32_t* from_rows, const Strips& to,
                 std::int64_t token_begin, std::int64_t token_end);
  void (*quantise)(const float* dy, std::int64_t stride, const std::int32_t* from_rows, const Gradients& to,
                   std::int64_t token_begin, std::int64_t token_end);

  // The products. The epilogue has no bias.
  void (*multiply_f32)(const Matrix& weights, const Strips& dy, float* out, std::int64_t stride,
                       const ColumnPiece& piece, const Epilogue& epilogue, float* scratch);
  void (*multiply)(const Matrix& weights, const Gradients& dy, float* out, std::int64_t stride,
                   const ColumnPiece& piece, const Epilogue& epilogue, float* scratch);
  void (*multiply_coarse)(const Matrix& weights, const Gradients& dy, float* out, std::int64_t stride,
                          const ColumnPiece& piece, const Epilogue& epilogue, float* scratch);
};

// The set must be one this machine has (at most best_instruction_set()).
const TransposedKernels& transposed_kernels(InstructionSet set);

}  // namespace ouvert
