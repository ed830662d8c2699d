// Activations as int8 and int16 with AVX2.

#if defined(__x86_64__)

#include <immintrin.h>

#include <bit>
#include <limits>

#include "inline.h"
#include "linear_layout.h"
#include "linear_sets.h"

namespace ouvert {
namespace {

// Stores 16 whole numbers as codes.
OUVERT_INLINE void narrow(__m256i a, __m256i b, std::int8_t* to) {
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}
OUVERT_INLINE void narrow(__m256i a, __m256i b, std::int16_t* to) {
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
  const __m256i placed = _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(halves, 0xd8), 0xd8);  // wide_place
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), placed);
}

OUVERT_INLINE std::int32_t sum(__m256i a, __m256i b) {
  const __m256i both = _mm256_add_epi32(a, b);
  __m128i x = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}

// One block of token t of a tile.
template <typename Code>
OUVERT_INLINE void quantise_block(const float* from, const TileOf<Code>& tile, std::int64_t t, std::int64_t block) {
  constexpr float kLargest = kLargestCode<Code>;
  __m256 values[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) values[i] = _mm256_loadu_ps(from + 8 * i);
  __m256i sizes = _mm256_setzero_si256();
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    sizes = _mm256_max_epi32(sizes, _mm256_and_si256(_mm256_castps_si256(values[i]), _mm256_set1_epi32(0x7fffffff)));
  __m128i most = _mm_max_epi32(_mm256_castsi256_si128(sizes), _mm256_extracti128_si256(sizes, 1));
  most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
  most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1));
  const std::int32_t largest_bits = _mm_cvtsi128_si32(most);  // infinities and NaN are the largest
  const float largest = std::bit_cast<float>(largest_bits);
  const bool finite = largest_bits < 0x7f800000, zero = !finite || largest < kSmallestActivation;
  const float scale = !finite ? std::numeric_limits<float>::quiet_NaN() : zero ? 0.0f : largest / kLargest;
  const std::int64_t at = block * tile.width + t;
  __m256i codes[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
  if (!zero) {
    const __m256 inverse = _mm256_set1_ps(kLargest / largest);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) codes[i] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i], inverse));
  }
  narrow(codes[0], codes[1], tile.codes + at * kBlock);
  narrow(codes[2], codes[3], tile.codes + at * kBlock + 16);
  tile.scales[at] = scale;
  tile.sums[(block * 2 + 0) * tile.width + t] = sum(codes[0], codes[1]);
  tile.sums[(block * 2 + 1) * tile.width + t] = sum(codes[2], codes[3]);
}

template <typename Code>
OUVERT_INLINE void quantise_token(const float* from, const Activations& to, std::int64_t token) {
  const TileOf<Code> tile = tile_at<Code>(to, token / kTokenTile);
  for (std::int64_t block = 0; block < to.columns / kBlock; ++block)
    quantise_block(from + block * kBlock, tile, token % kTokenTile, block);
}

}  // namespace

void quantise_avx2(const float* x, std::int64_t stride, const std::int32_t* from_rows, const Activations& to,
                   std::int64_t token_begin, std::int64_t token_end) {
  for (std::int64_t token = token_begin; token < token_end; ++token)
    quantise_token<std::int8_t>(x + (from_rows ? from_rows[token] : token) * stride, to, token);
}

void quantise_wide_avx2(const float* x, std::int64_t stride, const Activations& to, std::int64_t token_begin,
                        std::int64_t token_end) {
  for (std::int64_t token = token_begin; token < token_end; ++token)
    quantise_token<std::int16_t>(x + token * stride, to, token);
}

}  // namespace ouvert

#endif
