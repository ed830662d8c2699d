// How instructions are cut into pieces, which the threads of a pool share.

#pragma once

#include <algorithm>
#include <cstdint>

#include "linear.h"

namespace ouvert {

inline std::int64_t parts(std::int64_t whole, std::int64_t step) { return (whole + step - 1) / step; }

// Rows that one piece of a rowwise instruction does: one tile of activations.
inline constexpr std::int64_t kRowsPerPiece = kTokenTile;

inline std::uint32_t row_pieces(std::int64_t rows) { return static_cast<std::uint32_t>(parts(rows, kRowsPerPiece)); }

struct Range {
  std::int64_t begin, end;
};

inline Range rows_of_piece(std::uint32_t piece, std::int64_t rows) {
  const std::int64_t begin = piece * kRowsPerPiece;
  return {begin, std::min(rows, begin + kRowsPerPiece)};
}

// How a product is cut. A piece should take 10 to 30 microseconds, and every thread should get a few, whether memory
// (few tokens) or arithmetic (many) is the limit.
inline constexpr std::int64_t kPieceBytes = 192 << 10;
inline constexpr std::int64_t kLeastPieceBytes = 12 << 10;
inline constexpr std::int64_t kPieceProducts = 4 << 20;
inline constexpr std::int64_t kPiecesPerThread = 6;
inline constexpr std::int64_t kTokensPerPiece = 64;
inline constexpr std::int64_t kGroupsTogether = 4;  // products are fastest with multiples of so many groups of rows

// Rows of one piece, if all matrices of the instruction together have `bytes` bytes and are read `times` times, each
// time for `tokens` tokens.
inline std::int64_t row_step(const Matrix& weights, std::int64_t bytes, std::int64_t tokens, std::int64_t times,
                             int threads) {
  const std::int64_t wanted = kPiecesPerThread * threads, group = packed_group_bytes(weights.layout, weights.columns);
  const std::int64_t by_bytes = std::clamp(bytes / wanted, kLeastPieceBytes, kPieceBytes) / group;
  const std::int64_t by_products = kPieceProducts / (tokens * weights.columns * kRowGroup);
  const std::int64_t groups = std::max<std::int64_t>(1, std::min(by_bytes, by_products));
  if (groups >= kGroupsTogether) return kRowGroup * (groups / kGroupsTogether * kGroupsTogether);
  return kRowGroup * (bytes / (kGroupsTogether * group) * times >= wanted ? kGroupsTogether : groups);
}

}  // namespace ouvert
