// Products of activations with packed weights:
// out[token][row] = sum over columns of weight[row][column] * x[token][column].
//
// Everything here is pure and single-threaded: no allocation, no state, pointers in, numbers out. A caller may cut a
// product into pieces of rows and tokens and give them to any number of threads. The result of a token does not depend
// on the cut, on the other tokens, or on the instruction set:
//
//   sum = 0
//   for each block of 32 columns, in order:
//     dot = integer sum of code[row][column] * activation code[column]                    exact
//     sum = fma(dot, scale[row][block] * activation scale[block], sum)                    the product rounds once
//     sum = fma(minimum[row][block], activation scale[block] * activation sum[block], sum)  layouts with a minimum
//   sum += bias; out = accumulate ? out + sum : sum
//
// Where 8 bits are too coarse for activations (unembeddings), they have 16; all else is as above.
//
// The layouts are described in docs/formats/packed.md; packing is in pack.h.

#pragma once

#include <cstddef>
#include <cstdint>

#include "instruction_set.h"

namespace ouvert {

// How weights are laid out in memory. Rows are interleaved by kRowGroup; a group of rows is contiguous and begins at a
// multiple of 64 bytes (MXINT8: of 16). The name is that of an encoding that the layout holds without loss.
enum class Layout : std::uint8_t {
  MXFP4,   // 4.25 bits a weight. 4-bit floats, scale 2^n per 32
  Q4_0,    // 4.5   (q - 8) * d
  IQ4_NL,  // 4.5   table[q] * d
  Q4_1,    // 5     q * d + m
  Q5_1,    // 6     q * d + m, 5-bit q; also holds Q5_0 exactly
  Q4_K,    // 4.5   q * (d * s) - (dmin * t), 6-bit s, t per 32; d, dmin per 256
  Q5_K,    // 5.5
  Q6_K,    // 6.625 (q - 32) * (d * s), 8-bit s per 16; also holds Q3_K exactly
  Q8_0,    // 8.5   q * d
  BF16,    // 16
  F16,     // 16
  F32,     // 32
  MXINT8,  // 8.25  q * 2^n, 8-bit signed q, n of up to 32 columns of a row: only of adapters
};

inline constexpr std::int64_t kRowGroup = 16;   // rows that are interleaved; pieces of rows start at multiples of it
inline constexpr std::int64_t kBlock = 32;      // columns that share one activation scale
inline constexpr std::int64_t kTokenTile = 16;  // tokens that are interleaved; pieces of tokens best start at multiples

// Whether products with this layout take int8 activations (matmul); the others take floats (matmul_f32).
static constexpr bool takes_int8(Layout layout) { return layout < Layout::BF16; }

// Columns must be a multiple of this: 32, 256 for the K layouts, 1 for those of floats.
std::int64_t columns_multiple(Layout layout);

// Bytes of one group of kRowGroup rows, a multiple of 64 (MXINT8: of 16), and of a whole matrix (rows are padded to full
// groups), a multiple of 64.
std::int64_t packed_group_bytes(Layout layout, std::int64_t columns);
std::int64_t packed_bytes(Layout layout, std::int64_t rows, std::int64_t columns);

const char* name(Layout layout);

// A view; owns nothing. `data` is aligned to 64 and holds packed_bytes(layout, rows, columns) bytes. The matrices of
// experts follow one another: expert e is at data + e * packed_bytes(...).
struct Matrix {
  Layout layout;
  std::int64_t rows;
  std::int64_t columns;
  const std::uint8_t* data;
};

// Activations as whole numbers: for every 32 columns the codes, a float scale, and the sums of the first and last 16
// codes. Codes are int8 in -127 .. 127, or int16 in -16383 .. 16383, so that sums of 32 products with the codes of any
// layout (Q6_K: scaled ones) fit into 32 bits. A view; `data` is aligned to 64 and holds activation_bytes(tokens,
// columns, bytes of a code) bytes. columns is a multiple of 32.
struct Activations {
  std::int64_t tokens;
  std::int64_t columns;
  std::uint8_t* data;
};

// A multiple of 64.
std::int64_t activation_bytes(std::int64_t tokens, std::int64_t columns, std::int64_t code_bytes = 1);

// What is done with a finished sum.
struct Epilogue {
  const float* bias = nullptr;             // added: one per row of the matrix
  bool accumulate = false;                 // out += sum (a residual), else out = sum
  const std::int32_t* out_rows = nullptr;  // token t is stored at out + out_rows[t] * stride, else at out + t * stride
};

// A rectangle of a product. Row bounds are multiples of kRowGroup (row_end may be the matrix's number of rows).
struct Piece {
  std::int64_t row_begin, row_end;
  std::int64_t token_begin, token_end;
};

// The functions of one instruction set. All sets compute the same numbers bit for bit.
struct LinearKernels {
  // Quantises tokens token_begin .. token_end of `to` (the others are left alone). Token t is read from
  // x + (from_rows ? from_rows[t] : t) * stride: with from_rows, one expert's tokens are gathered.
  // code = round-half-to-even(x * (127 / largest)), scale = largest / 127, largest = max |x| over the block. A block
  // whose largest is below 2^-100 counts as zeros. An infinity or NaN makes the scale NaN, and so all products of this
  // token (and of no other).
  void (*quantise)(const float* x, std::int64_t stride, const std::int32_t* from_rows, const Activations& to,
                   std::int64_t token_begin, std::int64_t token_end);

  // The same in 16 bits: 16383 in place of 127.
  void (*quantise_wide)(const float* x, std::int64_t stride, const Activations& to, std::int64_t token_begin,
                        std::int64_t token_end);

  // out[token][row] for a piece, from int8 activations. takes_int8(weights.layout); x.columns == weights.columns.
  void (*matmul)(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
                 const Epilogue& epilogue);

  // The same from int16 activations.
  void (*matmul_wide)(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
                      const Epilogue& epilogue);

  // The same from float activations, for every layout: weights are decoded exactly, products and sums are float32
  // (four partial sums by column modulo 4, joined as (0 + 1) + (2 + 3)). Those of MXINT8 are counted in the scale of the
  // block under way, a power of two, so they are the same numbers as in any layout that holds the weights. Token t is read from
  // x + (from_rows ? from_rows[t] : t) * x_stride.
  void (*matmul_f32)(const Matrix& weights, const float* x, std::int64_t x_stride, const std::int32_t* from_rows,
                     float* out, std::int64_t stride, const Piece& piece, const Epilogue& epilogue);
};

// The set must be one this machine has (at most best_instruction_set()).
const LinearKernels& linear_kernels(InstructionSet set);

// Rows of the matrix as floats, exactly as their encoding says: out[i] = row rows[i], `stride` floats apart.
// For embeddings and tests.
void dequantise_rows(const Matrix& weights, const std::int32_t* rows, std::int64_t count, float* out,
                     std::int64_t stride);

}  // namespace ouvert
