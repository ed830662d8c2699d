// The products of int16 activations with AVX2. Otherwise as in linear_avx2.cpp.

#if defined(__x86_64__)

#include "groups_avx2.h"
#include "linear_sets.h"

namespace ouvert {
namespace {

// Four codes of each of eight rows as two pairs of 16 bits: columns 0 and 2, 1 and 3.
template <Layout L>
OUVERT_INLINE void widen(__m256i codes, __m256i& even, __m256i& odd) {
  if constexpr (by_sign(L)) {
    even = _mm256_srai_epi16(_mm256_slli_epi16(codes, 8), 8);
    odd = _mm256_srai_epi16(codes, 8);
  } else {
    even = _mm256_and_si256(codes, _mm256_set1_epi16(255));
    odd = _mm256_srli_epi16(codes, 8);
  }
}

// sums + codes x activations, in 32 bits, for codes of both halves of the rows: the activations are spread once.
OUVERT_INLINE void add_wide_products(__m256i& sum, __m256i& other, const __m256i (&even)[2], const __m256i (&odd)[2],
                                     const Four* x) {
  __m256i products, others;
  asm("vpbroadcastd %8, %3\n\tvpmaddwd %3, %4, %2\n\tvpmaddwd %3, %5, %3\n\tvpaddd %2, %0, %0\n\tvpaddd %3, %1, %1\n\t"
      "vpbroadcastd %9, %3\n\tvpmaddwd %3, %6, %2\n\tvpmaddwd %3, %7, %3\n\tvpaddd %2, %0, %0\n\tvpaddd %3, %1, %1"
      : "+x"(sum), "+x"(other), "=&x"(products), "=&x"(others)
      : "x"(even[0]), "x"(even[1]), "x"(odd[0]), "x"(odd[1]), "m"(x[0]), "m"(x[1]));
}

// A block of W tokens whose codes have 16 bits.
template <Layout L, int W>
struct WideBlockTokens {
  using Code = std::int16_t;
  static constexpr int kWidest = 4;  // both halves of the rows go together: their sums fill half of the registers
  const Four* activations;  // [token][4 columns][2]
  __m256 scales[W];
  __m256 scaled_sums[W];  // layouts with a minimum
  __m256i start[2][W];    // where the integer sums begin; Q6_K: of both halves of the columns

  OUVERT_INLINE void prepare(const std::int16_t* codes, const float* token_scales, const std::int32_t* sums,
                             std::int64_t tile_width) {
    activations = reinterpret_cast<const Four*>(codes);
#pragma GCC unroll 8
    for (int t = 0; t < W; ++t) {
      scales[t] = _mm256_set1_ps(token_scales[t]);
      const std::int32_t first = sums[t], second = sums[tile_width + t];
      if constexpr (L == Layout::Q6_K) {
        start[0][t] = _mm256_set1_epi32(-code_offset(L) * first);
        start[1][t] = _mm256_set1_epi32(-code_offset(L) * second);
      } else if constexpr (has_minimum(L)) {
        scaled_sums[t] = _mm256_set1_ps(token_scales[t] * static_cast<float>(first + second));
      } else if constexpr (!by_sign(L)) {
        start[0][t] = _mm256_set1_epi32(-code_offset(L) * (first + second));
      }
    }
  }
};

template <Layout L, int W>
OUVERT_INLINE void add_block(const std::uint8_t* packed, const std::uint8_t* scales, const StretchScales& stretch,
                             std::int64_t within, const WideBlockTokens<L, W>& tokens, __m256 (&sums)[2][W]) {
  const WideBlockTokens<L, W>* known = &tokens;
  const Four* fours = tokens.activations;
  asm volatile("" : "+r"(known), "+r"(fours));
  __m256i dots[W][2], before[W][2];
  // Q6_K: first the columns of the low halves of the bytes, then those of the high ones, each with a scale of its own.
  constexpr bool kParts = L == Layout::Q6_K;
  each<kParts ? 2 : 1>([&](auto part) __attribute__((always_inline)) {
    each<W>([&](auto t) __attribute__((always_inline)) {
      dots[t][0] = dots[t][1] = by_sign(L) || has_minimum(L) ? _mm256_setzero_si256() : known->start[part][t];
    });
    each<4>([&](auto j) __attribute__((always_inline)) {
      __m256i low[2], high[2];  // columns 4 j to 4 j + 3, and 16 more
      each<2>([&](auto h) __attribute__((always_inline)) { unpack_two<L>(packed, h, j, low[h], high[h]); });
      each<2>([&](auto side) __attribute__((always_inline)) {
        if constexpr (!kParts || side == part) {
          __m256i even[2], odd[2];
          each<2>([&](auto h) __attribute__((always_inline)) { widen<L>(side ? high[h] : low[h], even[h], odd[h]); });
          each<W>([&](auto t) __attribute__((always_inline)) {
            add_wide_products(dots[t][0], dots[t][1], even, odd, fours + 16 * t + 2 * (j + 4 * side));
          });
        }
      });
    });
    if constexpr (kParts)
      each<2>([&](auto h) __attribute__((always_inline)) {
        BlockScales weights;
        load_scales<L>(scales, stretch, within, h, weights);
        each<W>([&](auto t) __attribute__((always_inline)) {
          const __m256i scaled = _mm256_mullo_epi32(dots[t][h], _mm256_srai_epi32(weights.sub[part], 16));
          if constexpr (part == 0)
            before[t][h] = scaled;
          else
            dots[t][h] = _mm256_add_epi32(before[t][h], scaled);
        });
      });
  });
  each<2>([&](auto h) __attribute__((always_inline)) {
    BlockScales weights;
    load_scales<L>(scales, stretch, within, h, weights);
    each<W>([&](auto t) __attribute__((always_inline)) { add_scaled<L>(dots[t][h], weights, *known, t, sums[h][t]); });
  });
}

}  // namespace

void matmul_wide_avx2(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
                      const Epilogue& epilogue) {
  multiply<WideBlockTokens>(weights, x, out, stride, piece, epilogue);
}

}  // namespace ouvert

#endif
