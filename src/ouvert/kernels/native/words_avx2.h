// words_plain.h with AVX2: the pairs of sixteen tokens in two registers.

#pragma once

#include <cstring>

#include "decode_avx2.h"
#include "lanes_avx2.h"

namespace ouvert {
namespace {

constexpr int kStripsTogether = 1, kColumnsTogether = 6;

OUVERT_INLINE __m256i pair_of(const std::int16_t* pair) {
  std::int32_t both;
  std::memcpy(&both, pair, 4);
  return _mm256_set1_epi32(both);
}

struct Words {
  __m256i low, high;

  static OUVERT_INLINE Words load(const std::int16_t* from) {
    const auto* at = reinterpret_cast<const __m256i*>(from);
    return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
  }
  static OUVERT_INLINE Words of(Lanes first, Lanes second) {
    const auto both = [](__m256 a, __m256 b) {
      return _mm256_blend_epi16(_mm256_cvtps_epi32(a), _mm256_slli_epi32(_mm256_cvtps_epi32(b), 16), 0xaa);
    };
    return {both(first.low, second.low), both(first.high, second.high)};
  }
  OUVERT_INLINE void store(std::int16_t* to) const {
    auto* at = reinterpret_cast<__m256i*>(to);
    _mm256_storeu_si256(at, low);
    _mm256_storeu_si256(at + 1, high);
  }
};

OUVERT_INLINE Words scaled(Words x, const std::int16_t* pair) {
  const __m256i both = pair_of(pair);
  return {_mm256_mulhrs_epi16(x.low, both), _mm256_mulhrs_epi16(x.high, both)};
}

struct Sums {
  __m256i low, high;

  static OUVERT_INLINE Sums zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  OUVERT_INLINE Sums negative() const {
    const __m256i zero = _mm256_setzero_si256();
    return {_mm256_sub_epi32(zero, low), _mm256_sub_epi32(zero, high)};
  }
  OUVERT_INLINE Lanes floats() const { return {_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)}; }
};

// In assembler, because g++ 12 would join products of several pairs before it adds them, and keep sums in memory.
OUVERT_INLINE void add_products(Sums& sum, Words x, const std::int16_t* pair) {
  __m256i products, others;
  asm("vpbroadcastd %6, %3\n\tvpmaddwd %3, %4, %2\n\tvpmaddwd %3, %5, %3\n\tvpaddd %2, %0, %0\n\tvpaddd %3, %1, %1"
      : "+x"(sum.low), "+x"(sum.high), "=&x"(products), "=&x"(others)
      : "x"(x.low), "x"(x.high), "m"(*reinterpret_cast<const Four*>(pair)));
}

struct Bytes {
  __m256i low, high;

  static OUVERT_INLINE Bytes load(const std::int8_t* from) {
    const auto* at = reinterpret_cast<const __m256i*>(from);
    return {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
  }
  static OUVERT_INLINE Bytes of(Words first, Words second) {
    const __m256i to_front = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, -1, -1, 4, 6, -1, -1, 8, 10, -1, -1, 12, 14, -1, -1));
    const __m256i to_back = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(-1, -1, 0, 2, -1, -1, 4, 6, -1, -1, 8, 10, -1, -1, 12, 14));
    const auto both = [&](__m256i a, __m256i b) {
      return _mm256_or_si256(_mm256_shuffle_epi8(a, to_front), _mm256_shuffle_epi8(b, to_back));
    };
    return {both(first.low, second.low), both(first.high, second.high)};
  }
  OUVERT_INLINE void store(std::int8_t* to) const {
    auto* at = reinterpret_cast<__m256i*>(to);
    _mm256_storeu_si256(at, low);
    _mm256_storeu_si256(at + 1, high);
  }
};

OUVERT_INLINE void add_products(Sums& sum, Bytes x, const std::uint8_t* quad) {
  std::int32_t four;
  std::memcpy(&four, quad, 4);
  const __m256i weights = _mm256_set1_epi32(four), ones = _mm256_set1_epi16(1);
  sum.low = _mm256_add_epi32(sum.low, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, x.low), ones));
  sum.high = _mm256_add_epi32(sum.high, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, x.high), ones));
}

OUVERT_INLINE void store_words(Lanes x, std::int16_t* to) {
  const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permute4x64_epi64(words, 0xd8));
}

OUVERT_INLINE void transpose_quarter(__m256 (&x)[8]) {
  __m256 a[8], b[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      b[i + 2 * j] = _mm256_shuffle_ps(a[i + j], a[i + j + 2], 0x44);
      b[i + 2 * j + 1] = _mm256_shuffle_ps(a[i + j], a[i + j + 2], 0xee);
    }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
    x[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
  }
}

OUVERT_INLINE void transpose(Lanes (&x)[16]) {
  __m256 quarter[2][2][8];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    quarter[i / 8][0][i % 8] = x[i].low;
    quarter[i / 8][1][i % 8] = x[i].high;
  }
#pragma GCC unroll 4
  for (int n = 0; n < 4; ++n) transpose_quarter(quarter[n / 2][n % 2]);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) x[i] = {quarter[0][i / 8][i % 8], quarter[1][i / 8][i % 8]};
}

template <Layout L>
OUVERT_INLINE void decode_floats(const std::uint8_t* group, std::int64_t all_columns, std::int64_t block,
                                 std::int64_t columns, float* out) {
  for (int half = 0; half < 2; ++half) decode<L>(group, all_columns, block, half, columns, out + kHalf * half, 16);
}

template <Layout L>
OUVERT_INLINE void decode_codes(const std::uint8_t* packed, std::int16_t* out) {
  // Of every four rows and columns [row][column] becomes [column][row].
  const __m256i turned =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const auto store = [&](__m256i values, std::int16_t* to) __attribute__((always_inline)) {
    if constexpr (!by_sign(L)) values = _mm256_sub_epi8(values, _mm256_set1_epi8(static_cast<char>(centre(L))));
    const __m256i by_column = _mm256_shuffle_epi8(values, turned);
    auto* at = reinterpret_cast<__m256i*>(to);
    _mm256_store_si256(at, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(by_column)));
    _mm256_store_si256(at + 8, _mm256_cvtepi8_epi16(_mm256_extracti128_si256(by_column, 1)));
  };
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      __m256i first, second;
      unpack_two<L>(packed, half, j, first, second);
      store(first, out + 256 * half + 16 * j);
      store(second, out + 256 * half + 16 * (j + 4));
    }
}

template <Layout L>
OUVERT_INLINE void decode_scales(const std::uint8_t* scales, int within, float* first, float* second,
                                 float* minimum) {
  StretchScales shared;
  load_shared_scales<L>(scales, shared);
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    BlockScales decoded;
    load_scales<L>(scales, shared, within, half, decoded);
    if constexpr (L == Layout::Q6_K) {
      const auto sub = [&](int n) { return _mm256_cvtepi32_ps(_mm256_srai_epi32(decoded.sub[n], 16)); };
      _mm256_store_ps(first + kHalf * half, _mm256_mul_ps(decoded.scale, sub(0)));
      _mm256_store_ps(second + kHalf * half, _mm256_mul_ps(decoded.scale, sub(1)));
    } else {
      _mm256_store_ps(first + kHalf * half, decoded.scale);
    }
    if constexpr (has_minimum(L)) {
      const __m256 of_centre = _mm256_mul_ps(decoded.scale, _mm256_set1_ps(centre(L)));
      _mm256_store_ps(minimum + kHalf * half, _mm256_add_ps(decoded.minimum, of_centre));
    }
  }
}

}  // namespace
}  // namespace ouvert
