// Pairs of 16-bit numbers of sixteen tokens in standard C++, what is computed with them, and weights decoded for that.
// words_avx2.h and words_avx512.h compute the same bits.

#pragma once

#include <cstdint>

#include "decode_plain.h"
#include "lanes_plain.h"

namespace ouvert {
namespace {

constexpr int kStripsTogether = 1, kColumnsTogether = 4;  // strips and columns that a product computes side by side

// [token][2].
struct Words {
  std::int16_t word[32];

  static Words load(const std::int16_t* from) {
    Words out;
    for (int i = 0; i < 32; ++i) out.word[i] = from[i];
    return out;
  }
  // Whole numbers of 16 bits; any number for NaN.
  static Words of(Lanes first, Lanes second) {
    const auto whole = [](float x) { return static_cast<std::int16_t>(x == x ? std::nearbyint(x) : 0.0f); };
    Words out;
    for (int i = 0; i < 16; ++i) {
      out.word[2 * i] = whole(first.lane[i]);
      out.word[2 * i + 1] = whole(second.lane[i]);
    }
    return out;
  }
  void store(std::int16_t* to) const {
    for (int i = 0; i < 32; ++i) to[i] = word[i];
  }
};

// (x * pair + 2^14) >> 15 of both words of every token.
inline Words scaled(Words x, const std::int16_t* pair) {
  for (int i = 0; i < 32; ++i) x.word[i] = static_cast<std::int16_t>((x.word[i] * pair[i % 2] + (1 << 14)) >> 15);
  return x;
}

// A whole number for every token.
struct Sums {
  std::int32_t lane[16];

  static Sums zero() { return {}; }
  Sums negative() const {
    Sums out;
    for (int i = 0; i < 16; ++i) out.lane[i] = -lane[i];
    return out;
  }
  Lanes floats() const {
    return each_lane([&](int i) { return static_cast<float>(lane[i]); });
  }
};

// sum += x[0] * pair[0] + x[1] * pair[1].
inline void add_products(Sums& sum, Words x, const std::int16_t* pair) {
  for (int i = 0; i < 32; ++i) sum.lane[i / 2] += x.word[i] * pair[i % 2];
}

// [token][4], from -128 to 127.
struct Bytes {
  std::int8_t byte[64];

  static Bytes load(const std::int8_t* from) {
    Bytes out;
    for (int i = 0; i < 64; ++i) out.byte[i] = from[i];
    return out;
  }
  // Of words that are such numbers.
  static Bytes of(Words first, Words second) {
    Bytes out;
    for (int i = 0; i < 64; ++i)
      out.byte[i] = static_cast<std::int8_t>((i % 4 < 2 ? first : second).word[i / 4 * 2 + i % 2]);
    return out;
  }
  void store(std::int8_t* to) const {
    for (int i = 0; i < 64; ++i) to[i] = byte[i];
  }
};

// sum += x[0] * quad[0] + ... + x[3] * quad[3], of weights of at most 6 bits.
inline void add_products(Sums& sum, Bytes x, const std::uint8_t* quad) {
  for (int i = 0; i < 64; ++i) sum.lane[i / 4] += x.byte[i] * quad[i % 4];
}

// Rounds to nearest, ties to even; any number for NaN.
inline void store_words(Lanes x, std::int16_t* to) {
  for (int i = 0; i < 16; ++i) to[i] = static_cast<std::int16_t>(x.lane[i] == x.lane[i] ? std::nearbyint(x.lane[i]) : 0);
}

// Lane i of x[j] and lane j of x[i] change places.
inline void transpose(Lanes (&x)[16]) {
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < i; ++j) std::swap(x[i].lane[j], x[j].lane[i]);
}

// Weights of `columns` <= 32 columns of a block, [column][row].
template <Layout L>
void decode_floats(const std::uint8_t* group, std::int64_t all_columns, std::int64_t block, std::int64_t,
                   float* out) {
  decode(L, group, all_columns, block, 0, kRowGroup, reinterpret_cast<float(*)[kRowGroup]>(out));
}

// Codes of a block less their centre, [row / 4][column][row % 4].
template <Layout L>
void decode_codes(const std::uint8_t* codes, std::int16_t* out) {
  for (int n = 0; n < kBlock * kRowGroup; ++n) {
    const int row = n / 4 % kRowGroup, column = n / 64 * 4 + n % 4;
    out[row / 4 * 128 + column * 4 + row % 4] = static_cast<std::int16_t>(code_at(L, codes, n) - centre(L));
  }
}

// Scales of 16 rows (Q6_K: of both halves of the columns) and minimums less those of the centre.
template <Layout L>
void decode_scales(const std::uint8_t* scales, int within, float* first, float* second, float* minimum) {
  Scales decoded;
  unpack_scales(L, scales, within, 0, kRowGroup, decoded);
  for (int row = 0; row < kRowGroup; ++row) {
    const float scale = decoded.scale[row];
    first[row] = L == Layout::Q6_K ? scale * static_cast<float>(decoded.sub[0][row]) : scale;
    if (L == Layout::Q6_K) second[row] = scale * static_cast<float>(decoded.sub[1][row]);
    if (has_minimum(L)) minimum[row] = decoded.minimum[row] + scale * static_cast<float>(centre(L));
  }
}

}  // namespace
}  // namespace ouvert
