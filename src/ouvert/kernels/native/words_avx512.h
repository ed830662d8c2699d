// words_plain.h with AVX-512: the pairs of sixteen tokens in one register.

#pragma once

#include <cstring>

#include "lanes_avx512.h"
#include "weights_avx512.h"

namespace ouvert {
namespace {

constexpr int kStripsTogether = 4, kColumnsTogether = 4;

OUVERT_INLINE __m512i pair_of(const std::int16_t* pair) {
  std::int32_t both;
  std::memcpy(&both, pair, 4);
  return _mm512_set1_epi32(both);
}

struct Words {
  __m512i all_words;

  static OUVERT_INLINE Words load(const std::int16_t* from) { return {_mm512_loadu_si512(from)}; }
  static OUVERT_INLINE Words of(Lanes first, Lanes second) {
    const __m512i a = _mm512_cvtps_epi32(first.all_lanes), b = _mm512_cvtps_epi32(second.all_lanes);
    return {_mm512_mask_blend_epi16(0xaaaaaaaau, a, _mm512_slli_epi32(b, 16))};
  }
  OUVERT_INLINE void store(std::int16_t* to) const { _mm512_storeu_si512(to, all_words); }
};

OUVERT_INLINE Words scaled(Words x, const std::int16_t* pair) {
  return {_mm512_mulhrs_epi16(x.all_words, pair_of(pair))};
}

struct Sums {
  __m512i all_lanes;

  static OUVERT_INLINE Sums zero() { return {_mm512_setzero_si512()}; }
  OUVERT_INLINE Sums negative() const { return {_mm512_sub_epi32(_mm512_setzero_si512(), all_lanes)}; }
  OUVERT_INLINE Lanes floats() const { return {_mm512_cvtepi32_ps(all_lanes)}; }
};

// In assembler, because g++ 12 would move sums from register to register, and some to memory.
OUVERT_INLINE void add_products(Sums& sum, Words x, const std::int16_t* pair) {
  asm("vpdpwssd %2, %1, %0" : "+v"(sum.all_lanes) : "v"(x.all_words), "v"(pair_of(pair)));
}

struct Bytes {
  __m512i all_bytes;

  static OUVERT_INLINE Bytes load(const std::int8_t* from) { return {_mm512_loadu_si512(from)}; }
  static OUVERT_INLINE Bytes of(Words first, Words second) {
    const __m512i to_front = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 2, -1, -1, 4, 6, -1, -1, 8, 10, -1, -1, 12, 14, -1, -1));
    const __m512i to_back = _mm512_broadcast_i32x4(
        _mm_setr_epi8(-1, -1, 0, 2, -1, -1, 4, 6, -1, -1, 8, 10, -1, -1, 12, 14));
    return {_mm512_or_si512(_mm512_shuffle_epi8(first.all_words, to_front),
                            _mm512_shuffle_epi8(second.all_words, to_back))};
  }
  OUVERT_INLINE void store(std::int8_t* to) const { _mm512_storeu_si512(to, all_bytes); }
};

OUVERT_INLINE void add_products(Sums& sum, Bytes x, const std::uint8_t* quad) {
  std::int32_t four;
  std::memcpy(&four, quad, 4);
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.all_lanes) : "v"(_mm512_set1_epi32(four)), "v"(x.all_bytes));
}

OUVERT_INLINE void store_words(Lanes x, std::int16_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x.all_lanes)));
}

OUVERT_INLINE void transpose(Lanes (&x)[16]) {
  __m512 a[16], b[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {  // pairs of rows: 2 x 2
    a[i] = _mm512_unpacklo_ps(x[i].all_lanes, x[i + 1].all_lanes);
    a[i + 1] = _mm512_unpackhi_ps(x[i].all_lanes, x[i + 1].all_lanes);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4)  // 4 x 4 in each quarter
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      b[i + 2 * j] = _mm512_shuffle_ps(a[i + j], a[i + j + 2], 0x44);
      b[i + 2 * j + 1] = _mm512_shuffle_ps(a[i + j], a[i + j + 2], 0xee);
    }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // quarters
    const __m512 p = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88), q = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
    const __m512 r = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd), s = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xdd);
    x[i].all_lanes = _mm512_shuffle_f32x4(p, q, 0x88);
    x[i + 8].all_lanes = _mm512_shuffle_f32x4(p, q, 0xdd);
    x[i + 4].all_lanes = _mm512_shuffle_f32x4(r, s, 0x88);
    x[i + 12].all_lanes = _mm512_shuffle_f32x4(r, s, 0xdd);
  }
}

template <Layout L>
OUVERT_INLINE void decode_floats(const std::uint8_t* group, std::int64_t all_columns, std::int64_t block,
                                 std::int64_t columns, float* out) {
  decode<L>(group, all_columns, block, columns, reinterpret_cast<float(*)[16]>(out));
}

template <Layout L>
OUVERT_INLINE void decode_codes(const std::uint8_t* packed, std::int16_t* out) {
  // Of every four rows and columns [row][column] becomes [column][row].
  const __m512i turned =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  __m512i codes[8];
  unpack_codes<L>(packed, codes);
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    const __m512i values = _mm512_sub_epi8(codes[j], _mm512_set1_epi8(static_cast<char>(centre(L))));
    const __m512i by_column = _mm512_shuffle_epi8(values, turned);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m512i words = _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(by_column, half));
      std::int16_t* to = out + 256 * half + 16 * j;
      _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(words));
      _mm256_store_si256(reinterpret_cast<__m256i*>(to + 128), _mm512_extracti64x4_epi64(words, 1));
    }
  }
}

template <Layout L>
OUVERT_INLINE void decode_scales(const std::uint8_t* scales, int within, float* first, float* second,
                                 float* minimum) {
  BlockScales decoded;
  load_scales<L>(scales, within, decoded);
  if constexpr (L == Layout::Q6_K) {
    _mm512_store_ps(first, _mm512_mul_ps(decoded.scale, _mm512_cvtepi32_ps(decoded.sub[0])));
    _mm512_store_ps(second, _mm512_mul_ps(decoded.scale, _mm512_cvtepi32_ps(decoded.sub[1])));
  } else {
    _mm512_store_ps(first, decoded.scale);
  }
  if constexpr (has_minimum(L)) {
    const __m512 of_centre = _mm512_mul_ps(decoded.scale, _mm512_set1_ps(centre(L)));
    _mm512_store_ps(minimum, _mm512_add_ps(decoded.minimum, of_centre));
  }
}

}  // namespace
}  // namespace ouvert
