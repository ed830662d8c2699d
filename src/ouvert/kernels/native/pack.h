// From weights as files encode them to the packed layouts of linear.h. Layouts are described in docs/formats/packed.md.

#pragma once

#include <cstdint>

#include "linear.h"

namespace ouvert {

// Encodings of weights in files: those of GGUF (ggml-common.h).
enum class Encoding : std::uint8_t {
  F32,
  F16,
  BF16,
  Q4_0,
  Q4_1,
  Q5_0,
  Q5_1,
  Q8_0,
  Q2_K,
  Q3_K,
  Q4_K,
  Q5_K,
  Q6_K,
  IQ4_NL,
  MXFP4,
};

const char* name(Encoding encoding);

// Bytes of one encoded row.
std::int64_t encoded_row_bytes(Encoding encoding, std::int64_t columns);

// Columns of one encoded block.
std::int64_t encoded_block(Encoding encoding);

// Whether `pack` can pack this encoding as this layout. All pairs are exact, except those that round: F32, F16, BF16
// as fewer bits, and Q2_K as Q8_0.
bool can_pack(Encoding from, Layout to);

struct Source {
  Encoding encoding;
  std::int64_t rows, columns;
  const std::uint8_t* data;  // rows, one after the other
};

// What packing lost, over the weights packed so far. All zero when the layout holds the encoding exactly.
struct Loss {
  double squared_error = 0;
  double squares = 0;         // of the weights themselves
  std::int64_t refused = 0;   // blocks whose scale the layout cannot hold: the packed bytes must not be used
};

// Packs groups group_begin .. group_end - 1 of kRowGroup rows; `packed` is where the matrix begins. Every byte of the
// groups is written: rows that do not exist and padding are zeros. can_pack(source.encoding, layout) must hold. Floats
// are rounded with the instructions of `set`, to the same bits with any.
void pack(const Source& source, Layout layout, std::int64_t group_begin, std::int64_t group_end, std::uint8_t* packed,
          InstructionSet set, Loss& loss);

}  // namespace ouvert
