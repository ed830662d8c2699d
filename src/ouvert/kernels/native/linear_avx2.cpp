// The products with AVX2, FMA and F16C. One register holds 4 columns of 8 rows, so a group of 16 rows is worked on in
// two halves. vpmaddubsw multiplies unsigned codes with signed activations into 16 bits; kAdds of its results fit
// before they are widened. Layouts whose codes need all 8 bits multiply |weight| with the activation under the
// weight's sign instead. A few groups go side by side: see tokens().

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "linear_layout.h"
#include "linear_sets.h"

namespace ouvert {
namespace {

#define OUVERT_INLINE inline __attribute__((always_inline))

// f(0), f(1), ... f(N - 1), each with its number as a constant.
template <int N, typename F>
OUVERT_INLINE void each(F f) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, I>()), ...);
  }(std::make_integer_sequence<int, N>());
}

constexpr int kHalf = 8;  // rows in one register

OUVERT_INLINE __m256i bytes32(const std::uint8_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
OUVERT_INLINE __m256 halves(const std::uint8_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
OUVERT_INLINE __m128i bytes8(const std::uint8_t* from) {
  return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
}

// ---- weights ----------------------------------------------------------------------------------------------------

constexpr bool by_sign(Layout layout) { return layout == Layout::Q8_0 || layout == Layout::IQ4_NL; }

// 16 in every byte whose bit is set.
OUVERT_INLINE __m256i fifth_bits(const std::uint8_t* from) {
  // Byte n of a register wants bit n % 8 of byte n / 8 of its 32 bits.
  const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i bits = _mm256_set1_epi32(load<std::int32_t>(from));
  const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, spread), bit), bit);
  return _mm256_and_si256(is_set, _mm256_set1_epi8(16));
}

// Codes of rows 8 * half to 8 * half + 7 of a block: columns 4 j to 4 j + 3, and the columns 16 further on, which lie in
// the same bytes. For layouts by sign they are whole signed codes, for the others unsigned.
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
    first = _mm256_or_si256(first, _mm256_and_si256(j < 2 ? _mm256_slli_epi16(a, 4 - 2 * j) : _mm256_srli_epi16(a, 2 * j - 4), two));
    second = _mm256_or_si256(second, _mm256_and_si256(j < 2 ? _mm256_slli_epi16(b, 4 - 2 * j) : _mm256_srli_epi16(b, 2 * j - 4), two));
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
    // From code 2 on the first is larger and what we want, below it the second: see mxfp4_scale.
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

// ---- integer sums -----------------------------------------------------------------------------------------------

// How many results of vpmaddubsw (two products of a code and an activation of at most 127) fit into 16 bits together.
constexpr int adds(Layout layout) {
  switch (layout) {
    case Layout::Q5_1:
    case Layout::Q5_K: return 4;              // 4 * 2 * 31 * 127 = 31496
    default: return 8;                        // 8 * 2 * 15 * 127 = 30480
  }
}

// MXFP4's values less 12 are at most 12 in size, so that eight results fit (8 * 2 * 12 * 127 = 24384), and Q6_K's codes
// less 32 at most 32, so that four do (4 * 2 * 32 * 127 = 32512), but not before 12 or 32 is taken off. It is taken off
// beforehand: the sums begin at minus that many times the activations that their 16 bits will see. On the way they may
// wrap around, in the end they are what they should be.
constexpr bool wraps(Layout layout) { return layout == Layout::MXFP4 || layout == Layout::Q6_K; }

// For 32 activations: minus `offset` times the sum of the first two of every four, and of the last two, over each half of
// the columns.
OUVERT_INLINE __m128i wrapped_starts(const std::int8_t* activations, int offset) {
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(activations));
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(static_cast<char>(offset)), x);
  __m256i sums = _mm256_add_epi16(pairs, _mm256_shuffle_epi32(pairs, 0x4e));
  sums = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0xb1));
  sums = _mm256_sub_epi16(_mm256_setzero_si256(), sums);
  return _mm_unpacklo_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
}

// Written out, because g++ 12 would otherwise load all activations before it multiplies, and add all products after,
// and keep both in memory in between.

// Four activations of one token, and the same in all eight places.
typedef std::int32_t __attribute__((may_alias)) Four;
typedef __m256i Spread;

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

// ---- W tokens ---------------------------------------------------------------------------------------------------

struct Destination {
  float* out;
  std::int64_t stride;
  const Epilogue* epilogue;
  std::int64_t first_row;
  std::int64_t rows;  // from there to the matrix's end

  Destination group(std::int64_t n) const { return {out, stride, epilogue, first_row + n * kRowGroup, rows - n * kRowGroup}; }
};

inline void store(const Destination& to, std::int64_t token, int half, __m256 sum) {
  const Epilogue& epilogue = *to.epilogue;
  const std::int64_t first = to.first_row + kHalf * half, rows = to.rows - kHalf * half;
  float* at = to.out + (epilogue.out_rows ? epilogue.out_rows[token] : token) * to.stride + first;
  if (rows >= kHalf) {
    if (epilogue.bias) sum = _mm256_add_ps(sum, _mm256_loadu_ps(epilogue.bias + first));
    if (epilogue.accumulate) sum = _mm256_add_ps(_mm256_loadu_ps(at), sum);
    _mm256_storeu_ps(at, sum);
    return;
  }
  const __m256i place = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i those = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(std::max<std::int64_t>(0, rows))), place);
  if (epilogue.bias) sum = _mm256_add_ps(sum, _mm256_maskload_ps(epilogue.bias + first, those));
  if (epilogue.accumulate) sum = _mm256_add_ps(_mm256_maskload_ps(at, those), sum);
  _mm256_maskstore_ps(at, those, sum);
}

// How many tokens at once have both halves of 16 rows computed together, so that an activation that is spread over a
// register is multiplied twice. Otherwise sums would leave the registers, or it was measured to be slower.
template <Layout L>
constexpr bool in_both_halves(int tokens) {
  if (adds(L) != 8 || L == Layout::Q6_K) return false;
  return tokens == 1 || (by_sign(L) ? tokens == 2 : tokens == 3 || tokens == 4);
}

// What a block of weights needs to know about W tokens, in all eight places of a register. Said once, it serves all groups.
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

  OUVERT_INLINE void look_at(const std::int8_t* codes, const float* token_scales, const std::int32_t* sums,
                             std::int64_t tile_width) {
    activations = codes;
#pragma GCC unroll 8
    for (int t = 0; t < W; ++t) {
      scales[t] = _mm256_set1_ps(token_scales[t]);
      if constexpr (kSpread)
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j)
          spread[j] = _mm256_set1_epi32(load<std::int32_t>(reinterpret_cast<const std::uint8_t*>(codes + t * kBlock + 4 * j)));
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

// sum + dot, scaled as the weights and the token are, and the minimum.
template <Layout L, typename Tokens>
OUVERT_INLINE void add_scaled(__m256i dot, const BlockScales& weights, const Tokens& tokens, int t, __m256& sum) {
  __m256 now = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(weights.scale, tokens.scales[t]), sum);
  if constexpr (has_minimum(L)) now = _mm256_fmadd_ps(weights.minimum, tokens.scaled_sums[t], now);
  sum = now;
}

// Adds a block of 16 rows to the sums [half][token]. `scales` is its stretch's. Codes are unpacked eight columns at a
// time, those that share their bytes, and stay in registers while the tokens pass. Activations come from the first-level
// cache, which gives two a cycle: as many as can be multiplied.
template <Layout L, int W>
OUVERT_INLINE void add_block(const std::uint8_t* packed, const std::uint8_t* scales, const StretchScales& stretch,
                             std::int64_t within, const BlockTokens<L, W>& tokens, __m256 (&sums)[2][W]) {
  constexpr int kSteps = adds(L) / 2;
  const __m256i ones = _mm256_set1_epi16(1);
  // Of few tokens, where memory is the limit, both halves together, so that its lines are asked for one after the other.
  constexpr int kHalves = W <= 2 ? 2 : 1;
  for (int first = 0; first < 2; first += kHalves) {
    // g++ 12 would compute addresses, and load what is the same for both halves, beforehand, and keep it all in memory.
    const BlockTokens<L, W>* known = &tokens;
    const Four* fours = reinterpret_cast<const Four*>(tokens.activations);
    asm volatile("" : "+r"(known), "+r"(fours));
    BlockScales weights[kHalves];
    each<kHalves>([&](auto h) __attribute__((always_inline)) { load_scales<L>(scales, stretch, within, first + h, weights[h]); });
    __m256i all[kHalves][W], pairs[kHalves][W];
    // Q6_K: first the columns of the low halves of the bytes, then those of the high ones, each with a scale of its own.
    each<L == Layout::Q6_K ? 2 : 1>([&](auto part) __attribute__((always_inline)) {
      each<4 * kHalves>([&](auto n) __attribute__((always_inline)) {
        constexpr int j = n / kHalves, h = n % kHalves;
        __m256i low, high;  // columns 4 j to 4 j + 3, and 16 more
        unpack_two<L>(packed, first + h, j, low, high);
        each<W>([&](auto t) __attribute__((always_inline)) {
          const auto& x = four<t, j>(*known, fours);
          const auto& y = four<t, j + 4>(*known, fours);
          __m256i &sum = all[h][t], &pair = pairs[h][t];
          if constexpr (by_sign(L)) {
            if (j == 0) sum = _mm256_setzero_si256();
            add_signed_products(sum, low, _mm256_abs_epi8(low), x);
            add_signed_products(sum, high, _mm256_abs_epi8(high), y);
          } else if constexpr (L == Layout::Q6_K) {
            if (j == 0) pair = known->start[part][t];
            add_products(pair, part ? high : low, part ? y : x);
          } else {
            if (j == 0 && wraps(L)) pair = known->start[0][t];
            if (j % kSteps == 0 && !wraps(L))
              pair = first_products(low, x);
            else
              add_products(pair, low, x);
            add_products(pair, high, y);
            if (kSteps < 4 && j + 1 == kSteps) sum = _mm256_madd_epi16(pair, ones);
          }
        });
      });
      if constexpr (L == Layout::Q6_K && part == 0)
        each<kHalves * W>([&](auto n) __attribute__((always_inline)) {
          all[n / W][n % W] = _mm256_madd_epi16(pairs[n / W][n % W], weights[n / W].sub[0]);
        });
    });
    each<kHalves * W>([&](auto n) __attribute__((always_inline)) {
      constexpr int h = n / W, t = n % W;
      __m256i dot;
      if constexpr (by_sign(L)) {
        dot = all[h][t];
      } else if constexpr (L == Layout::Q6_K) {
        dot = _mm256_add_epi32(all[h][t], _mm256_madd_epi16(pairs[h][t], weights[h].sub[1]));
      } else {
        dot = _mm256_madd_epi16(pairs[h][t], ones);
        if constexpr (kSteps < 4) dot = _mm256_add_epi32(all[h][t], dot);
        if constexpr (!has_minimum(L) && !wraps(L)) dot = _mm256_add_epi32(dot, known->start[0][t]);
      }
      add_scaled<L>(dot, weights[h], *known, t, sums[first + h][t]);
    });
  }
}

// The same where both halves of the rows go together. With one or two tokens memory is the limit, and g++ orders what it
// is given well; with more it would put sums aside.
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

// ---- activations of 16 bits -------------------------------------------------------------------------------------

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

// sum + codes x activations, in 32 bits.
OUVERT_INLINE void add_wide_products(__m256i& sum, __m256i even, __m256i odd, const Four* x) {
  __m256i products, others;
  asm("vpbroadcastd %5, %1\n\tvpbroadcastd %6, %2\n\tvpmaddwd %1, %3, %1\n\tvpmaddwd %2, %4, %2\n\t"
      "vpaddd %1, %0, %0\n\tvpaddd %2, %0, %0"
      : "+x"(sum), "=&x"(products), "=&x"(others)
      : "x"(even), "x"(odd), "m"(x[0]), "m"(x[1]));
}

// The same for codes of two halves of the rows: the activations are spread once.
OUVERT_INLINE void add_wide_products(__m256i& sum, __m256i& other, const __m256i (&even)[2], const __m256i (&odd)[2],
                                     const Four* x) {
  __m256i products, others;
  asm("vpbroadcastd %8, %3\n\tvpmaddwd %3, %4, %2\n\tvpmaddwd %3, %5, %3\n\tvpaddd %2, %0, %0\n\tvpaddd %3, %1, %1\n\t"
      "vpbroadcastd %9, %3\n\tvpmaddwd %3, %6, %2\n\tvpmaddwd %3, %7, %3\n\tvpaddd %2, %0, %0\n\tvpaddd %3, %1, %1"
      : "+x"(sum), "+x"(other), "=&x"(products), "=&x"(others)
      : "x"(even[0]), "x"(even[1]), "x"(odd[0]), "x"(odd[1]), "m"(x[0]), "m"(x[1]));
}

// What a block of weights needs to know about W tokens whose codes have 16 bits.
template <Layout L, int W>
struct WideBlockTokens {
  using Code = std::int16_t;
  static constexpr int kWidest = 4;  // both halves of the rows go together: their sums fill half of the registers
  const Four* activations;  // [token][4 columns][2]
  __m256 scales[W];
  __m256 scaled_sums[W];  // layouts with a minimum
  __m256i start[2][W];    // where the integer sums begin; Q6_K: of both halves of the columns

  OUVERT_INLINE void look_at(const std::int16_t* codes, const float* token_scales, const std::int32_t* sums,
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

// ---- a few groups -----------------------------------------------------------------------------------------------

// Up to kStreams groups side by side, block by block: where memory is the limit, a thread gets a fifth to a third more
// of it from several places at a time than from one; and what is known of a block's tokens serves all of them. What is
// needed kAhead bytes later is asked for, across the ends of pages and of groups, into the second-level cache.
constexpr int kStreams = 4;
constexpr std::int64_t kAhead = 1024;

template <Layout L, int W, template <Layout, int> typename Tokens>
__attribute__((noinline)) void tokens(const std::uint8_t* group, int groups, std::int64_t columns,
                                      const TileOf<typename Tokens<L, W>::Code>& tile, std::int64_t t0,
                                      std::int64_t token, const Destination& to) {
  constexpr Geometry g = geometry(L);
  constexpr std::int64_t kBytes = g.codes + g.scales * kBlock / g.scales_columns;  // of one block
  const std::int64_t bytes = group_bytes(L, columns);
  const auto* activations = tile.codes + t0 * kBlock;
  const float* scales = tile.scales + t0;
  const std::int32_t* code_sums = tile.sums + t0;
  Tokens<L, W> now;
  __m256 sums[kStreams][2][W];
  for (int n = 0; n < groups; ++n)
#pragma GCC unroll 8
    for (int t = 0; t < W; ++t) sums[n][0][t] = sums[n][1][t] = _mm256_setzero_ps();
  std::int64_t stretch = 0, ahead = kAhead;  // from the start of each group
  for (std::int64_t left = columns / kBlock; left > 0; left -= kStretchBlocks) {
    const std::int64_t blocks = std::min(left, kStretchBlocks);
    std::int64_t packed = stretch + stretch_scales(L, blocks);
    StretchScales shared[kStreams];
    for (int n = 0; n < groups; ++n) load_shared_scales<L>(group + n * bytes + stretch, shared[n]);
    for (std::int64_t within = 0; within < blocks; ++within, packed += g.codes, ahead += kBytes) {
      now.look_at(activations, scales, code_sums, tile.width);
      activations += tile.width * kBlock;
      scales += tile.width;
      code_sums += 2 * tile.width;
      const std::uint8_t* from = group;
      const std::int64_t skip = ahead < bytes ? ahead : ahead + (groups - 1) * bytes;
      for (int n = 0; n < groups; ++n, from += bytes) {
#pragma GCC unroll 10
          for (std::int64_t line = 0; line < kBytes; line += 64)
            _mm_prefetch(reinterpret_cast<const char*>(from + skip + line), _MM_HINT_T1);
        if constexpr (sizeof(*activations) == 1 && in_both_halves<L>(W))
          add_block_in_both_halves<L, W>(from + packed, from + stretch, shared[n], within, now, sums[n]);
        else
          add_block<L, W>(from + packed, from + stretch, shared[n], within, now, sums[n]);
      }
    }
    stretch = packed;
  }
  for (int n = 0; n < groups; ++n)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half)
#pragma GCC unroll 8
      for (int t = 0; t < W; ++t) store(to.group(n), token + t, half, sums[n][half][t]);
}

template <typename Code>
using TokensFunction = void(const std::uint8_t*, int, std::int64_t, const TileOf<Code>&, std::int64_t, std::int64_t,
                            const Destination&);

// ---- a piece ----------------------------------------------------------------------------------------------------

template <template <Layout, int> typename T, Layout L>
void matmul_layout(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
                   const Epilogue& epilogue) {
  using Code = typename T<L, 1>::Code;
  constexpr std::int64_t kWidest = T<L, 1>::kWidest;
  const std::int64_t columns = weights.columns, bytes = group_bytes(L, columns);
  constexpr auto kTokens = []<int... N>(std::integer_sequence<int, N...>) {
    return std::array<TokensFunction<Code>*, kWidest>{tokens<L, N + 1, T>...};
  }(std::make_integer_sequence<int, kWidest>());
  // As many tokens at a time as stay in the second-level cache while the rows pass by.
  constexpr std::int64_t kCache = 192 << 10;
  const std::int64_t token_bytes = columns / kBlock * activation_block_bytes(sizeof(Code));
  const std::int64_t chunk = std::max<std::int64_t>(1, kCache / token_bytes / kTokenTile) * kTokenTile;
  for (std::int64_t begin = piece.token_begin, end; begin < piece.token_end; begin = end) {
    end = std::min(piece.token_end, (begin / chunk + 1) * chunk);
    for (std::int64_t row = piece.row_begin; row < piece.row_end; row += kStreams * kRowGroup) {
      const std::uint8_t* group = weights.data + row / kRowGroup * bytes;
      const int groups = static_cast<int>(std::min<std::int64_t>(kStreams, (piece.row_end - row + kRowGroup - 1) / kRowGroup));
      const Destination to{out, stride, &epilogue, row, weights.rows - row};
      for (std::int64_t token = begin; token < end;) {
        const TileOf<Code> tile = tile_at<Code>(x, token / kTokenTile);
        const std::int64_t t0 = token % kTokenTile, left = std::min(tile.width - t0, end - token);
        const std::int64_t width = std::min(left, kWidest);
        kTokens[static_cast<std::size_t>(width - 1)](group, groups, columns, tile, t0, token, to);
        token += width;
      }
    }
  }
}

template <template <Layout, int> typename T>
void multiply(const Matrix& w, const Activations& x, float* out, std::int64_t stride, const Piece& piece, const Epilogue& e) {
  switch (w.layout) {
    case Layout::MXFP4: return matmul_layout<T, Layout::MXFP4>(w, x, out, stride, piece, e);
    case Layout::Q4_0: return matmul_layout<T, Layout::Q4_0>(w, x, out, stride, piece, e);
    case Layout::IQ4_NL: return matmul_layout<T, Layout::IQ4_NL>(w, x, out, stride, piece, e);
    case Layout::Q4_1: return matmul_layout<T, Layout::Q4_1>(w, x, out, stride, piece, e);
    case Layout::Q5_1: return matmul_layout<T, Layout::Q5_1>(w, x, out, stride, piece, e);
    case Layout::Q4_K: return matmul_layout<T, Layout::Q4_K>(w, x, out, stride, piece, e);
    case Layout::Q5_K: return matmul_layout<T, Layout::Q5_K>(w, x, out, stride, piece, e);
    case Layout::Q6_K: return matmul_layout<T, Layout::Q6_K>(w, x, out, stride, piece, e);
    case Layout::Q8_0: return matmul_layout<T, Layout::Q8_0>(w, x, out, stride, piece, e);
    case Layout::BF16:
    case Layout::F16:
    case Layout::F32: return;  // not takes_int8: outside the contract
  }
}

// ---- float activations ------------------------------------------------------------------------------------------

// Weights of `columns` <= 32 columns of one half as floats.
template <Layout L>
OUVERT_INLINE void decode(const std::uint8_t* group, std::int64_t all_columns, std::int64_t block, int half,
                          std::int64_t columns, float (*out)[kHalf]) {
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
      if constexpr (L == Layout::Q6_K) scale = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_srai_epi32(weights.sub[j / 4], 16)));
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
        _mm256_store_ps(out[4 * j + i], weight);
      }
    }
  } else {
    for (std::int64_t c = 0; c < columns; ++c) {
      if constexpr (L == Layout::F32)
        _mm256_store_ps(out[c], _mm256_loadu_ps(reinterpret_cast<const float*>(packed + 64 * c + 32 * half)));
      if constexpr (L == Layout::F16) _mm256_store_ps(out[c], halves(packed + 32 * c + 16 * half));
      if constexpr (L == Layout::BF16) {
        const __m128i upper = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + 32 * c + 16 * half));
        _mm256_store_ps(out[c], _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(upper), 16)));
      }
    }
  }
}

template <Layout L, int W>
__attribute__((noinline)) void tokens_f32(const std::uint8_t* group, std::int64_t all_columns, const float* const* x,
                                          std::int64_t token, int half, const Destination& to) {
  alignas(32) float weights[kBlock][kHalf];
  __m256 partial[W][4];
#pragma GCC unroll 2
  for (int t = 0; t < W; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) partial[t][i] = _mm256_setzero_ps();
  for (std::int64_t column = 0; column < all_columns; column += kBlock) {
    const std::int64_t columns = std::min(kBlock, all_columns - column);
    decode<L>(group, all_columns, column / kBlock, half, columns, weights);
    std::int64_t c = 0;
    for (; c + 4 <= columns; c += 4)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m256 weight = _mm256_load_ps(weights[c + i]);
#pragma GCC unroll 2
        for (int t = 0; t < W; ++t)
          partial[t][i] = _mm256_fmadd_ps(weight, _mm256_set1_ps(x[t][column + c + i]), partial[t][i]);
      }
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i)
      if (c + i < columns)
#pragma GCC unroll 2
        for (int t = 0; t < W; ++t)
          partial[t][i] = _mm256_fmadd_ps(_mm256_load_ps(weights[c + i]), _mm256_set1_ps(x[t][column + c + i]),
                                          partial[t][i]);
  }
#pragma GCC unroll 2
  for (int t = 0; t < W; ++t)
    store(to, token + t, half,
          _mm256_add_ps(_mm256_add_ps(partial[t][0], partial[t][1]), _mm256_add_ps(partial[t][2], partial[t][3])));
}

template <Layout L>
void matmul_f32_layout(const Matrix& weights, const float* x, std::int64_t x_stride, const std::int32_t* from_rows,
                       float* out, std::int64_t stride, const Piece& piece, const Epilogue& epilogue) {
  const std::int64_t columns = weights.columns, bytes = group_bytes(L, columns);
  for (std::int64_t row = piece.row_begin; row < piece.row_end; row += kRowGroup) {
    const std::uint8_t* group = weights.data + row / kRowGroup * bytes;
    const Destination to{out, stride, &epilogue, row, std::min(kRowGroup, weights.rows - row)};
    for (int half = 0; half < 2; ++half)
      for (std::int64_t token = piece.token_begin; token < piece.token_end;) {
        const float* from[2];
        const std::int64_t left = std::min<std::int64_t>(2, piece.token_end - token);
        for (std::int64_t t = 0; t < left; ++t)
          from[t] = x + (from_rows ? from_rows[token + t] : token + t) * x_stride;
        if (left == 2) {
          tokens_f32<L, 2>(group, columns, from, token, half, to);
        } else {
          tokens_f32<L, 1>(group, columns, from, token, half, to);
        }
        token += left;
      }
  }
}

void matmul_f32(const Matrix& w, const float* x, std::int64_t x_stride, const std::int32_t* from_rows, float* out,
                std::int64_t stride, const Piece& piece, const Epilogue& e) {
  switch (w.layout) {
    case Layout::MXFP4: return matmul_f32_layout<Layout::MXFP4>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::Q4_0: return matmul_f32_layout<Layout::Q4_0>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::IQ4_NL: return matmul_f32_layout<Layout::IQ4_NL>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::Q4_1: return matmul_f32_layout<Layout::Q4_1>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::Q5_1: return matmul_f32_layout<Layout::Q5_1>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::Q4_K: return matmul_f32_layout<Layout::Q4_K>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::Q5_K: return matmul_f32_layout<Layout::Q5_K>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::Q6_K: return matmul_f32_layout<Layout::Q6_K>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::Q8_0: return matmul_f32_layout<Layout::Q8_0>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::BF16: return matmul_f32_layout<Layout::BF16>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::F16: return matmul_f32_layout<Layout::F16>(w, x, x_stride, from_rows, out, stride, piece, e);
    case Layout::F32: return matmul_f32_layout<Layout::F32>(w, x, x_stride, from_rows, out, stride, piece, e);
  }
}

// ---- activations ------------------------------------------------------------------------------------------------

// Places of 16 whole numbers from `to` on.
OUVERT_INLINE void narrow(__m256i a, __m256i b, std::int8_t* to) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
}
OUVERT_INLINE void narrow(__m256i a, __m256i b, std::int16_t* to) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
  const __m256i placed = _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(words, 0xd8), 0xd8);  // wide_place
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

void quantise(const float* x, std::int64_t stride, const std::int32_t* from_rows, const Activations& to,
              std::int64_t token_begin, std::int64_t token_end) {
  for (std::int64_t token = token_begin; token < token_end; ++token)
    quantise_token<std::int8_t>(x + (from_rows ? from_rows[token] : token) * stride, to, token);
}

}  // namespace

void quantise_wide_avx2(const float* x, std::int64_t stride, const Activations& to, std::int64_t token_begin,
                        std::int64_t token_end) {
  for (std::int64_t token = token_begin; token < token_end; ++token)
    quantise_token<std::int16_t>(x + token * stride, to, token);
}

void matmul_wide_avx2(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
                      const Epilogue& epilogue) {
  multiply<WideBlockTokens>(weights, x, out, stride, piece, epilogue);
}

const LinearKernels kLinearAvx2 = {quantise, quantise_wide_avx2, multiply<BlockTokens>, matmul_wide_avx2, matmul_f32};

}  // namespace ouvert

#endif
