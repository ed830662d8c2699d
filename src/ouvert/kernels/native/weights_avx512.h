// Packed weights in AVX-512 registers: codes and scales of the 16 rows of a group, and decoded. Included by the files of
// the products with AVX-512.

#pragma once

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12 warns of its own intrinsics

#include <immintrin.h>

#include <cstdint>

#include "inline.h"
#include "linear_layout.h"

namespace ouvert {
namespace {

template <Layout L>
OUVERT_INLINE void unpack_codes(const std::uint8_t* from, __m512i (&codes)[8]) {
  if constexpr (L == Layout::Q8_0) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) codes[j] = _mm512_loadu_si512(from + 64 * j);
    return;
  }
  const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i both = _mm512_loadu_si512(from + 64 * j);
    codes[j] = _mm512_and_si512(both, low);
    codes[j + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
  }
  if constexpr (L == Layout::MXFP4 || L == Layout::IQ4_NL) {
    const std::uint8_t* values = L == Layout::MXFP4 ? kMxfp4Values : kIq4Values;
    const __m512i table = _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(values)));
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) codes[j] = _mm512_shuffle_epi8(table, codes[j]);
  }
  if constexpr (L == Layout::Q5_1 || L == Layout::Q5_K) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      const __mmask64 high = load<std::uint64_t>(from + 256 + 8 * j);
      codes[j] = _mm512_mask_add_epi8(codes[j], high, codes[j], _mm512_set1_epi8(16));
    }
  }
  if constexpr (L == Layout::Q6_K) {
    const __m512i two = _mm512_set1_epi8(48);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m512i high = _mm512_loadu_si512(from + 256 + 64 * half);
      __m512i* to = codes + 4 * half;
      to[0] = _mm512_or_si512(to[0], _mm512_and_si512(_mm512_slli_epi16(high, 4), two));
      to[1] = _mm512_or_si512(to[1], _mm512_and_si512(_mm512_slli_epi16(high, 2), two));
      to[2] = _mm512_or_si512(to[2], _mm512_and_si512(high, two));
      to[3] = _mm512_or_si512(to[3], _mm512_and_si512(_mm512_srli_epi16(high, 2), two));
    }
  }
}

struct BlockScales {
  __m512 scale, minimum;
  __m512i sub[2];  // Q6_K
};

OUVERT_INLINE __m512 halves(const std::uint8_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
OUVERT_INLINE __m128i bytes16(const std::uint8_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

template <Layout L>
OUVERT_INLINE void load_scales(const std::uint8_t* scales, std::int64_t within, BlockScales& out) {
  constexpr Geometry g = geometry(L);
  if constexpr (L == Layout::MXFP4) {
    const __m512i code = _mm512_cvtepu8_epi32(bytes16(scales + 16 * within));
    const __m512i bits = _mm512_slli_epi32(_mm512_sub_epi32(code, _mm512_set1_epi32(1)), 23);
    const __mmask16 tiny = _mm512_cmplt_epi32_mask(code, _mm512_set1_epi32(2));
    out.scale = _mm512_castsi512_ps(_mm512_mask_sllv_epi32(bits, tiny, _mm512_set1_epi32(0x00200000), code));
  } else if constexpr (L == Layout::Q4_K || L == Layout::Q5_K) {
    const __m512i low = _mm512_cvtepu8_epi32(bytes16(scales + 64 + 16 * within));
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(4 * within));
    const __m512i high = _mm512_srl_epi32(_mm512_loadu_si512(scales + 192), shift);
    const __m512i two = _mm512_set1_epi32(48);
    const __m512i s = _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi32(15)),
                                      _mm512_and_si512(_mm512_slli_epi32(high, 4), two));
    const __m512i t = _mm512_or_si512(_mm512_srli_epi32(low, 4),
                                      _mm512_and_si512(_mm512_slli_epi32(high, 2), two));
    out.scale = _mm512_mul_ps(halves(scales), _mm512_cvtepi32_ps(s));
    const __m512 minus = _mm512_mul_ps(halves(scales + 32), _mm512_cvtepi32_ps(t));
    out.minimum = _mm512_xor_ps(minus, _mm512_set1_ps(-0.0f));
  } else if constexpr (L == Layout::Q6_K) {
    out.scale = halves(scales);
    out.sub[0] = _mm512_cvtepi8_epi32(bytes16(scales + 32 + 32 * within));
    out.sub[1] = _mm512_cvtepi8_epi32(bytes16(scales + 48 + 32 * within));
  } else {
    out.scale = halves(scales + g.scales * within);
    if constexpr (has_minimum(L)) out.minimum = halves(scales + g.scales * within + 32);
  }
}

// Of a block of MXINT8: the bytes of its scales, what they mean, and the codes of a column.
OUVERT_INLINE __m512i mxint8_exponents(const std::uint8_t* block) { return _mm512_cvtepu8_epi32(bytes16(block)); }
OUVERT_INLINE __m512 mxint8_scales(__m512i exponents) { return _mm512_castsi512_ps(_mm512_slli_epi32(exponents, 23)); }
OUVERT_INLINE __m512 mxint8_codes(const std::uint8_t* block, std::int64_t column) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes16(block + kMxint8Scales + 16 * column)));
}

// Weights of `columns` <= 32 columns of a block as floats.
template <Layout L>
OUVERT_INLINE void decode(const std::uint8_t* group, std::int64_t all_columns, std::int64_t block,
                          std::int64_t columns, float (*out)[16]) {
  const auto [scales, within, packed] = block_at(L, group, all_columns, block);
  if constexpr (takes_int8(L)) {
    __m512i codes[8];
    BlockScales weights;
    unpack_codes<L>(packed, codes);
    load_scales<L>(scales, within, weights);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      __m512 scale = weights.scale;
      if constexpr (L == Layout::Q6_K) scale = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(weights.sub[j / 4]));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {  // byte i of each row's four
        const __m512i code = _mm512_and_si512(_mm512_srli_epi32(codes[j], 8 * i), _mm512_set1_epi32(255));
        const __m512i value = _mm512_sub_epi32(code, _mm512_set1_epi32(code_offset(L)));
        __m512 weight = _mm512_mul_ps(_mm512_cvtepi32_ps(value), scale);
        if constexpr (has_minimum(L)) weight = _mm512_add_ps(weight, weights.minimum);
        _mm512_store_ps(out[4 * j + i], weight);
      }
    }
  } else {
    for (std::int64_t c = 0; c < columns; ++c) {
      if constexpr (L == Layout::MXINT8)
        _mm512_store_ps(out[c], _mm512_mul_ps(mxint8_codes(packed, c), mxint8_scales(mxint8_exponents(packed))));
      if constexpr (L == Layout::F32) _mm512_store_ps(out[c], _mm512_loadu_ps(packed + 64 * c));
      if constexpr (L == Layout::F16) _mm512_store_ps(out[c], halves(packed + 32 * c));
      if constexpr (L == Layout::BF16) {
        const __m256i upper = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed + 32 * c));
        _mm512_store_si512(out[c], _mm512_slli_epi32(_mm512_cvtepu16_epi32(upper), 16));
      }
    }
  }
}

}  // namespace
}  // namespace ouvert
