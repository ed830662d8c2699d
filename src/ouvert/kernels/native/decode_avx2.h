// Packed weights as floats, with AVX2.

#pragma once

#include "weights_avx2.h"

namespace ouvert {
namespace {

// Weights of `columns` <= 32 columns of one half as floats, those of each column `stride` further on.
template <Layout L>
OUVERT_INLINE void decode(const std::uint8_t* group, std::int64_t all_columns, std::int64_t block, int half,
                          std::int64_t columns, float* out, std::int64_t stride) {
  const auto [scales, within, packed] = block_at(L, group, all_columns, block);
  if constexpr (takes_int8(L)) {
    __m256i codes[8];
    BlockScales weights;
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) unpack_two<L>(packed, half, j, codes[j], codes[j + 4]);
    StretchScales shared;
    load_shared_scales<L>(scales, shared);
    load_scales<L>(scales, shared, within, half, weights);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      __m256 scale = weights.scale;
      if constexpr (L == Layout::Q6_K)
        scale = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_srai_epi32(weights.sub[j / 4], 16)));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {  // byte i of each row's four
        __m256i value;
        if constexpr (by_sign(L)) {
          value = _mm256_srai_epi32(_mm256_slli_epi32(codes[j], 24 - 8 * i), 24);
        } else {
          value = _mm256_and_si256(_mm256_srli_epi32(codes[j], 8 * i), _mm256_set1_epi32(255));
          value = _mm256_sub_epi32(value, _mm256_set1_epi32(code_offset(L)));
        }
        __m256 weight = _mm256_mul_ps(_mm256_cvtepi32_ps(value), scale);
        if constexpr (has_minimum(L)) weight = _mm256_add_ps(weight, weights.minimum);
        _mm256_store_ps(out + (4 * j + i) * stride, weight);
      }
    }
  } else {
    for (std::int64_t c = 0; c < columns; ++c) {
      if constexpr (L == Layout::MXINT8)
        _mm256_store_ps(out + c * stride, _mm256_mul_ps(mxint8_codes(packed, half, c), mxint8_scales(mxint8_exponents(packed, half))));
      if constexpr (L == Layout::F32)
        _mm256_store_ps(out + c * stride, _mm256_loadu_ps(reinterpret_cast<const float*>(packed + 64 * c + 32 * half)));
      if constexpr (L == Layout::F16) _mm256_store_ps(out + c * stride, halves(packed + 32 * c + 16 * half));
      if constexpr (L == Layout::BF16) {
        const __m128i upper = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + 32 * c + 16 * half));
        _mm256_store_ps(out + c * stride, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(upper), 16)));
      }
    }
  }
}

}  // namespace
}  // namespace ouvert
