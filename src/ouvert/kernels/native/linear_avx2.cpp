// The products of int8 activations with AVX2, FMA and F16C. One register holds 4 columns of 8 rows, so a group of 16
// rows is computed in two halves. vpmaddubsw multiplies unsigned codes with signed activations into 16 bits;
// adds(layout) of its results fit before they are widened. Layouts whose codes need all 8 bits multiply |weight| with
// the activation under the weight's sign instead. A few groups go side by side: see tokens() in groups_avx2.h.

#if defined(__x86_64__)

#include "groups_avx2.h"
#include "linear_sets.h"

namespace ouvert {
namespace {

// ---- integer sums -----------------------------------------------------------------------------------------------

// How many results of vpmaddubsw (each two products of a code and an activation of at most 127) can be added in 16
// bits.
constexpr int adds(Layout layout) {
  switch (layout) {
    case Layout::Q5_1:
    case Layout::Q5_K: return 4;              // 4 * 2 * 31 * 127 = 31496
    default: return 8;                        // 8 * 2 * 15 * 127 = 30480
  }
}

// The values of MXFP4 minus 12 are at most 12 in size, so eight results fit (8 * 2 * 12 * 127 = 24384). The codes of
// Q6_K minus 32 are at most 32, so four results fit (4 * 2 * 32 * 127 = 32512). But the unsigned codes are up to 24 and
// 63. So the sums begin at minus 12 or 32 times the activations that they will be added from. They may wrap around on
// the way; the final sum is right.
constexpr bool wraps(Layout layout) { return layout == Layout::MXFP4 || layout == Layout::Q6_K; }

// For 32 activations: minus `offset` times the sum of the first two of every four, and of the last two, over each half
// of the columns.
OUVERT_INLINE __m128i wrapped_starts(const std::int8_t* activations, int offset) {
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(activations));
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(static_cast<char>(offset)), x);
  __m256i sums = _mm256_add_epi16(pairs, _mm256_shuffle_epi32(pairs, 0x4e));
  sums = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0xb1));
  sums = _mm256_sub_epi16(_mm256_setzero_si256(), sums);
  return _mm_unpacklo_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

// Written in assembler: g++ 12 would load all activations first, then multiply, then add, and keep the intermediate
// values in memory.

typedef __m256i Spread;  // Four in all eight places

OUVERT_INLINE __m256i first_products(__m256i codes, const Four& x) {
  __m256i products;
  asm("vpbroadcastd %2, %0\n\tvpmaddubsw %0, %1, %0" : "=&x"(products) : "x"(codes), "m"(x));
  return products;
}
OUVERT_INLINE __m256i first_products(__m256i codes, const Spread& x) {
  __m256i products;
  asm("vpmaddubsw %2, %1, %0" : "=x"(products) : "x"(codes), "m"(x));
  return products;
}

// pairs + codes x activations, in 16 bits.
OUVERT_INLINE void add_products(__m256i& pairs, __m256i codes, const Four& x) {
  __m256i products;
  asm("vpbroadcastd %3, %1\n\tvpmaddubsw %1, %2, %1\n\tvpaddw %1, %0, %0"
      : "+x"(pairs), "=&x"(products)
      : "x"(codes), "m"(x));
}
OUVERT_INLINE void add_products(__m256i& pairs, __m256i codes, const Spread& x) {
  __m256i products;
  asm("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0" : "+x"(pairs), "=&x"(products) : "x"(codes), "m"(x));
}

// The same for codes of two halves of the rows: the activations are spread once.
OUVERT_INLINE void first_products(__m256i (&pairs)[2], __m256i first, __m256i second, const Four& x) {
  asm("vpbroadcastd %4, %1\n\tvpmaddubsw %1, %2, %0\n\tvpmaddubsw %1, %3, %1"
      : "=&x"(pairs[0]), "=&x"(pairs[1])
      : "x"(first), "x"(second), "m"(x));
}
OUVERT_INLINE void add_products(__m256i (&pairs)[2], __m256i first, __m256i second, const Four& x) {
  __m256i products, others;
  asm("vpbroadcastd %6, %3\n\tvpmaddubsw %3, %4, %2\n\tvpmaddubsw %3, %5, %3\n\tvpaddw %2, %0, %0\n\tvpaddw %3, %1, %1"
      : "+x"(pairs[0]), "+x"(pairs[1]), "=&x"(products), "=&x"(others)
      : "x"(first), "x"(second), "m"(x));
}

// sum + |codes| x activations under their sign, in 32 bits.
OUVERT_INLINE void add_signed_products(__m256i& sum, __m256i codes, __m256i sizes, const Four& x) {
  __m256i products;
  asm("vpbroadcastd %4, %1\n\tvpsignb %3, %1, %1\n\tvpmaddubsw %1, %2, %1\n\tvpmaddwd %5, %1, %1\n\tvpaddd %1, %0, %0"
      : "+x"(sum), "=&x"(products)
      : "x"(sizes), "x"(codes), "m"(x), "x"(_mm256_set1_epi16(1)));
}
OUVERT_INLINE void add_signed_products(__m256i& sum, __m256i codes, __m256i sizes, const Spread& x) {
  const __m256i products = _mm256_maddubs_epi16(sizes, _mm256_sign_epi8(x, codes));
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)));
}

// ---- blocks -----------------------------------------------------------------------------------------------------

// For how many tokens at once both halves of 16 rows are computed together, so that an activation that is spread over a
// register is multiplied twice. With others, sums would not fit into registers, or it was measured to be slower.
template <Layout L>
constexpr bool in_both_halves(int tokens) {
  if (adds(L) != 8 || L == Layout::Q6_K) return false;
  return tokens == 1 || (by_sign(L) ? tokens == 2 : tokens == 3 || tokens == 4);
}

// A block of W tokens, each number in all eight places of a register. Prepared once, it serves all groups.
template <Layout L, int W>
struct BlockTokens {
  using Code = std::int8_t;
  static constexpr int kWidest = 8;
  static constexpr bool kSpread = W == 1 && !in_both_halves<L>(W);
  const std::int8_t* activations;
  Spread spread[8];  // of a single token: several are spread as they are needed
  __m256 scales[W];
  __m256 scaled_sums[W];  // layouts with a minimum
  __m256i start[2][W];    // where the integer sums begin; Q6_K: of both halves of the columns

  OUVERT_INLINE void prepare(const std::int8_t* codes, const float* token_scales, const std::int32_t* sums,
                             std::int64_t tile_width) {
    activations = codes;
#pragma GCC unroll 8
    for (int t = 0; t < W; ++t) {
      scales[t] = _mm256_set1_ps(token_scales[t]);
      if constexpr (kSpread)
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j)
          spread[j] = _mm256_set1_epi32(
              load<std::int32_t>(reinterpret_cast<const std::uint8_t*>(codes + t * kBlock + 4 * j)));
      const std::int32_t sum = sums[t] + sums[tile_width + t];
      if constexpr (L == Layout::Q6_K) {
        const __m128i both = wrapped_starts(codes + t * kBlock, code_offset(L));
        start[0][t] = _mm256_broadcastd_epi32(both);
        start[1][t] = _mm256_broadcastd_epi32(_mm_unpackhi_epi64(both, both));
      } else if constexpr (wraps(L)) {
        const __m128i both = wrapped_starts(codes + t * kBlock, code_offset(L));
        start[0][t] = _mm256_broadcastd_epi32(_mm_add_epi16(both, _mm_unpackhi_epi64(both, both)));
      } else if constexpr (has_minimum(L)) {
        scaled_sums[t] = _mm256_set1_ps(token_scales[t] * static_cast<float>(sum));
      } else if constexpr (!by_sign(L)) {
        start[0][t] = _mm256_set1_epi32(-code_offset(L) * sum);
      }
    }
  }
};

template <int t, int j, Layout L, int W>
OUVERT_INLINE const auto& four(const BlockTokens<L, W>& tokens, const Four* fours) {
  if constexpr (BlockTokens<L, W>::kSpread) {
    return tokens.spread[j];
  } else {
    return fours[8 * t + j];
  }
}

// Adds columns 4 j to 4 j + 3 (`low`) and those 16 further on (`high`) of one token: `x` and `y` are their activations.
// Q6_K takes one of them in each part.
template <Layout L, int W, int part, int j, typename X>
OUVERT_INLINE void add_columns(__m256i low, __m256i high, const X& x, const X& y, const __m256i (&start)[2][W], int t,
                               __m256i& sum, __m256i& pair) {
  constexpr int kSteps = adds(L) / 2;
  if constexpr (by_sign(L)) {
    if (j == 0) sum = _mm256_setzero_si256();
    add_signed_products(sum, low, _mm256_abs_epi8(low), x);
    add_signed_products(sum, high, _mm256_abs_epi8(high), y);
  } else if constexpr (L == Layout::Q6_K) {
    if (j == 0) pair = start[part][t];
    add_products(pair, part ? high : low, part ? y : x);
  } else {
    if (j == 0 && wraps(L)) pair = start[0][t];
    if (j % kSteps == 0 && !wraps(L))
      pair = first_products(low, x);
    else
      add_products(pair, low, x);
    add_products(pair, high, y);
    if (kSteps < 4 && j + 1 == kSteps) sum = _mm256_madd_epi16(pair, _mm256_set1_epi16(1));
  }
}

// The dot product of a block and one token, from what add_columns left.
template <Layout L, int W>
OUVERT_INLINE __m256i dot_of(__m256i sum, __m256i pair, const BlockScales& weights, const __m256i (&start)[2][W],
                             int t) {
  if constexpr (by_sign(L)) return sum;
  if constexpr (L == Layout::Q6_K) return _mm256_add_epi32(sum, _mm256_madd_epi16(pair, weights.sub[1]));
  __m256i dot = _mm256_madd_epi16(pair, _mm256_set1_epi16(1));
  if constexpr (adds(L) < 8) dot = _mm256_add_epi32(sum, dot);
  if constexpr (!has_minimum(L) && !wraps(L)) dot = _mm256_add_epi32(dot, start[0][t]);
  return dot;
}

// Adds a block of 16 rows to the sums [half][token], one half (or, for few tokens, both) at a time. `scales` are those
// of its stretch. Codes are unpacked eight columns at a time, those that share their bytes, and stay in registers for
// all tokens. Activations come from the first-level cache, which delivers two a cycle: as many as can be multiplied.
template <Layout L, int W>
OUVERT_INLINE void add_block_by_halves(const std::uint8_t* packed, const std::uint8_t* scales,
                                       const StretchScales& stretch, std::int64_t within,
                                       const BlockTokens<L, W>& tokens, __m256 (&sums)[2][W]) {
  // For few tokens memory is the limit: both halves together, so that its lines are read in order.
  constexpr int kHalves = W <= 2 ? 2 : 1;
  for (int first = 0; first < 2; first += kHalves) {
    // g++ 12 would compute addresses, and load what is the same for both halves, beforehand, and keep it all in memory.
    const BlockTokens<L, W>* known = &tokens;
    const Four* fours = reinterpret_cast<const Four*>(tokens.activations);
    asm volatile("" : "+r"(known), "+r"(fours));
    BlockScales weights[kHalves];
    each<kHalves>([&](auto h) __attribute__((always_inline)) {
      load_scales<L>(scales, stretch, within, first + h, weights[h]);
    });
    __m256i all[kHalves][W], pairs[kHalves][W];
    // Q6_K: first the columns of the low halves of the bytes, then those of the high ones, each with a scale of its
    // own.
    each<L == Layout::Q6_K ? 2 : 1>([&](auto part) __attribute__((always_inline)) {
      each<4 * kHalves>([&](auto n) __attribute__((always_inline)) {
        constexpr int j = n / kHalves, h = n % kHalves;
        __m256i low, high;  // columns 4 j to 4 j + 3, and 16 more
        unpack_two<L>(packed, first + h, j, low, high);
        each<W>([&](auto t) __attribute__((always_inline)) {
          add_columns<L, W, part, j>(low, high, four<t, j>(*known, fours), four<t, j + 4>(*known, fours),
                                     known->start, t, all[h][t], pairs[h][t]);
        });
      });
      if constexpr (L == Layout::Q6_K && part == 0)
        each<kHalves * W>([&](auto n) __attribute__((always_inline)) {
          all[n / W][n % W] = _mm256_madd_epi16(pairs[n / W][n % W], weights[n / W].sub[0]);
        });
    });
    each<kHalves * W>([&](auto n) __attribute__((always_inline)) {
      constexpr int h = n / W, t = n % W;
      const __m256i dot = dot_of<L>(all[h][t], pairs[h][t], weights[h], known->start, t);
      add_scaled<L>(dot, weights[h], *known, t, sums[first + h][t]);
    });
  }
}


// The same, with both halves of the rows in each step. For one or two tokens intrinsics are as fast as assembler; for
// more g++ would move sums to memory.
template <Layout L, int W>
OUVERT_INLINE void add_block_in_both_halves(const std::uint8_t* packed, const std::uint8_t* scales,
                                            const StretchScales& stretch, std::int64_t within,
                                            const BlockTokens<L, W>& tokens, __m256 (&sums)[2][W]) {
  const __m256i ones = _mm256_set1_epi16(1);
  const Four* fours = reinterpret_cast<const Four*>(tokens.activations);
  BlockScales weights[2];
  const auto read_scales = [&]() __attribute__((always_inline)) {
    each<2>([&](auto h) __attribute__((always_inline)) { load_scales<L>(scales, stretch, within, h, weights[h]); });
  };
  if constexpr (W > 2) read_scales();
  __m256i pairs[W][2];  // by_sign: sums of 32 bits
  each<W>([&](auto t) __attribute__((always_inline)) {
    if constexpr (wraps(L)) pairs[t][0] = pairs[t][1] = tokens.start[0][t];
    if constexpr (by_sign(L)) pairs[t][0] = pairs[t][1] = _mm256_setzero_si256();
  });
  each<4>([&](auto j) __attribute__((always_inline)) {
    __m256i low[2], high[2];
    each<2>([&](auto h) __attribute__((always_inline)) { unpack_two<L>(packed, h, j, low[h], high[h]); });
    each<W>([&](auto t) __attribute__((always_inline)) {
      if constexpr (W > 2) {
        if constexpr (j == 0 && !wraps(L))
          first_products(pairs[t], low[0], low[1], fours[8 * t]);
        else
          add_products(pairs[t], low[0], low[1], fours[8 * t + j]);
        add_products(pairs[t], high[0], high[1], fours[8 * t + j + 4]);
      } else {
        const __m256i x = _mm256_set1_epi32(fours[8 * t + j]), y = _mm256_set1_epi32(fours[8 * t + j + 4]);
        each<2>([&](auto h) __attribute__((always_inline)) {
          __m256i& sum = pairs[t][h];
          if constexpr (by_sign(L)) {
            add_signed_products(sum, low[h], _mm256_abs_epi8(low[h]), x);
            add_signed_products(sum, high[h], _mm256_abs_epi8(high[h]), y);
          } else {
            const __m256i first = _mm256_maddubs_epi16(low[h], x);
            sum = j == 0 && !wraps(L) ? first : _mm256_add_epi16(sum, first);
            sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(high[h], y));
          }
        });
      }
    });
  });
  if constexpr (W <= 2) read_scales();
  each<2>([&](auto h) __attribute__((always_inline)) {
    each<W>([&](auto t) __attribute__((always_inline)) {
      __m256i dot = by_sign(L) ? pairs[t][h] : _mm256_madd_epi16(pairs[t][h], ones);
      if constexpr (!has_minimum(L) && !wraps(L) && !by_sign(L)) dot = _mm256_add_epi32(dot, tokens.start[0][t]);
      add_scaled<L>(dot, weights[h], tokens, t, sums[h][t]);
    });
  });
}

template <Layout L, int W>
OUVERT_INLINE void add_block(const std::uint8_t* packed, const std::uint8_t* scales, const StretchScales& stretch,
                             std::int64_t within, const BlockTokens<L, W>& tokens, __m256 (&sums)[2][W]) {
  if constexpr (in_both_halves<L>(W))
    add_block_in_both_halves(packed, scales, stretch, within, tokens, sums);
  else
    add_block_by_halves(packed, scales, stretch, within, tokens, sums);
}

}  // namespace

const LinearKernels kLinearAvx2 = {quantise_avx2, quantise_wide_avx2, multiply<BlockTokens>, matmul_wide_avx2,
                                   matmul_f32_avx2};

}  // namespace ouvert

#endif
