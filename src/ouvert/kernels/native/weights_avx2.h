// Packed weights in AVX2 registers: codes and scales of 8 of the 16 rows of a group. Included by the files of the
// products with AVX2.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <utility>

#include "inline.h"
#include "linear_layout.h"

namespace ouvert {
namespace {

// f(0), f(1), ... f(N - 1), each with its number as a constant.
template <int N, typename F>
OUVERT_INLINE void each(F f) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, I>()), ...);
  }(std::make_integer_sequence<int, N>());
}

constexpr int kHalf = 8;  // rows in one register

typedef std::int32_t __attribute__((may_alias)) Four;  // four activations of one token

OUVERT_INLINE __m256i bytes32(const std::uint8_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
OUVERT_INLINE __m256 halves(const std::uint8_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
OUVERT_INLINE __m128i bytes8(const std::uint8_t* from) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
}

// Of a block of MXINT8 and half of its rows: the bytes of its scales, what they mean, and the codes of a column.
OUVERT_INLINE __m256i mxint8_exponents(const std::uint8_t* block, int half) {
  return _mm256_cvtepu8_epi32(bytes8(block + kHalf * half));
}
OUVERT_INLINE __m256 mxint8_scales(__m256i exponents) { return _mm256_castsi256_ps(_mm256_slli_epi32(exponents, 23)); }
OUVERT_INLINE __m256 mxint8_codes(const std::uint8_t* block, int half, std::int64_t column) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes8(block + kMxint8Scales + 16 * column + kHalf * half)));
}

// Layouts whose codes need all 8 bits: |weight| is multiplied with the activation under the weight's sign.
constexpr bool by_sign(Layout layout) { return layout == Layout::Q8_0 || layout == Layout::IQ4_NL; }

// 16 in every byte whose bit is set.
OUVERT_INLINE __m256i fifth_bits(const std::uint8_t* from) {
  // Byte n of the register gets bit n % 8 of byte n / 8 of the 32 bits.
  const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i bits = _mm256_set1_epi32(load<std::int32_t>(from));
  const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, spread), bit), bit);
  return _mm256_and_si256(is_set, _mm256_set1_epi8(16));
}

// Codes of rows 8 * half to 8 * half + 7 of a block: columns 4 j to 4 j + 3, and those 16 columns further on, which are
// in the same bytes. Layouts by_sign give signed codes, the others unsigned ones.
template <Layout L>
OUVERT_INLINE void unpack_two(const std::uint8_t* from, int half, int j, __m256i& first, __m256i& second) {
  if constexpr (L == Layout::Q8_0) {
    first = bytes32(from + 64 * j + 32 * half);
    second = bytes32(from + 64 * (j + 4) + 32 * half);
  } else {
    const __m256i low = _mm256_set1_epi8(15), both = bytes32(from + 64 * j + 32 * half);
    first = _mm256_and_si256(both, low);
    second = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
  }
  if constexpr (L == Layout::MXFP4 || L == Layout::IQ4_NL) {
    const std::uint8_t* values = L == Layout::MXFP4 ? kMxfp4Values : kIq4Values;
    const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(values)));
    first = _mm256_shuffle_epi8(table, first);
    second = _mm256_shuffle_epi8(table, second);
  }
  if constexpr (L == Layout::Q5_1 || L == Layout::Q5_K) {
    first = _mm256_or_si256(first, fifth_bits(from + 256 + 8 * j + 4 * half));
    second = _mm256_or_si256(second, fifth_bits(from + 256 + 8 * (j + 4) + 4 * half));
  }
  if constexpr (L == Layout::Q6_K) {
    const __m256i two = _mm256_set1_epi8(48);
    const __m256i a = bytes32(from + 256 + 32 * half), b = bytes32(from + 320 + 32 * half);
    const __m256i c = j < 2 ? _mm256_slli_epi16(a, 4 - 2 * j) : _mm256_srli_epi16(a, 2 * j - 4);
    const __m256i d = j < 2 ? _mm256_slli_epi16(b, 4 - 2 * j) : _mm256_srli_epi16(b, 2 * j - 4);
    first = _mm256_or_si256(first, _mm256_and_si256(c, two));
    second = _mm256_or_si256(second, _mm256_and_si256(d, two));
  }
  if constexpr (by_sign(L)) {
    first = _mm256_sub_epi8(first, _mm256_set1_epi8(static_cast<char>(code_offset(L))));
    second = _mm256_sub_epi8(second, _mm256_set1_epi8(static_cast<char>(code_offset(L))));
  }
}

struct BlockScales {
  __m256 scale, minimum;
  __m256i sub[2];  // Q6_K: in both 16-bit halves of each place
};

// What all blocks of a stretch share: d and -dmin of both halves of the rows.
struct StretchScales {
  __m256 scale[2], minimum[2];
};

template <Layout L>
OUVERT_INLINE void load_shared_scales(const std::uint8_t* scales, StretchScales& out) {
  if constexpr (geometry(L).scales_columns == kStretch)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      out.scale[half] = halves(scales + 16 * half);
      if constexpr (has_minimum(L))
        out.minimum[half] = _mm256_xor_ps(halves(scales + 32 + 16 * half), _mm256_set1_ps(-0.0f));
    }
}

template <Layout L>
OUVERT_INLINE void load_scales(const std::uint8_t* scales, const StretchScales& stretch, std::int64_t within, int half,
                               BlockScales& out) {
  constexpr Geometry g = geometry(L);
  if constexpr (L == Layout::MXFP4) {
    const __m256i code = _mm256_cvtepu8_epi32(bytes8(scales + 16 * within + kHalf * half));
    // From code 2 on `bits` is larger, and right; below it `tiny`: see mxfp4_scale.
    const __m256i bits = _mm256_sub_epi32(_mm256_slli_epi32(code, 23), _mm256_set1_epi32(1 << 23));
    const __m256i tiny = _mm256_add_epi32(_mm256_slli_epi32(code, 21), _mm256_set1_epi32(1 << 21));
    out.scale = _mm256_castsi256_ps(_mm256_max_epi32(bits, tiny));
  } else if constexpr (L == Layout::Q4_K || L == Layout::Q5_K) {
    const __m256i low = _mm256_cvtepu8_epi32(bytes8(scales + 64 + 16 * within + kHalf * half));
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(4 * within));
    const __m256i high = _mm256_srl_epi32(bytes32(scales + 192 + 32 * half), shift);
    const __m256i two = _mm256_set1_epi32(48);
    const __m256i s = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(15)),
                                      _mm256_and_si256(_mm256_slli_epi32(high, 4), two));
    const __m256i t = _mm256_or_si256(_mm256_srli_epi32(low, 4),
                                      _mm256_and_si256(_mm256_slli_epi32(high, 2), two));
    out.scale = _mm256_mul_ps(stretch.scale[half], _mm256_cvtepi32_ps(s));
    out.minimum = _mm256_mul_ps(stretch.minimum[half], _mm256_cvtepi32_ps(t));
  } else if constexpr (L == Layout::Q6_K) {
    out.scale = stretch.scale[half];
#pragma GCC unroll 2
    for (int n = 0; n < 2; ++n) {
      const __m256i sub = _mm256_cvtepi8_epi32(bytes8(scales + 32 + 32 * within + 16 * n + kHalf * half));
      out.sub[n] = _mm256_blend_epi16(sub, _mm256_slli_epi32(sub, 16), 0xaa);
    }
  } else {
    out.scale = halves(scales + g.scales * within + 16 * half);
    if constexpr (has_minimum(L)) out.minimum = halves(scales + g.scales * within + 32 + 16 * half);
  }
}

}  // namespace
}  // namespace ouvert
