// The products with AVX-512 and VNNI. One register holds 4 columns of 16 rows: vpdpbusd adds 4 products to the lane of
// each row, and one 4-byte broadcast of activations serves 16 rows. An unpacked block of weights (8 registers) stays in
// registers for up to 16 tokens. The offset of the unsigned codes is subtracted where the integer sums begin, which
// costs nothing. Activations of 16 bits are split into two parts of 8 bits, block by block: x = 128 * first + second.

#if defined(__x86_64__)

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12 warns of its own intrinsics

#include <immintrin.h>

#include <algorithm>
#include <limits>

#include "inline.h"
#include "linear_layout.h"
#include "linear_sets.h"
#include "weights_avx512.h"

namespace ouvert {
namespace {

// ---- one group of rows, W tokens --------------------------------------------------------------------------------

typedef std::int32_t __attribute__((may_alias)) Four;  // four activations of one token

// sum + codes x activations, four products to a lane. Written out because g++ 12 loads the broadcast by an instruction
// of its own, which costs 3 to 5 % of a whole product.
OUVERT_INLINE void add_products(__m512i& sum, __m512i codes, const std::int8_t* activations) {
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(codes), "m"(*reinterpret_cast<const Four*>(activations)));
}

// Of how many parts of 8 bits a code of activations consists.
template <typename Code>
constexpr int kParts = sizeof(Code);

// One block of W tokens.
struct BlockTokens {
  const std::int8_t* activations;  // [token][part][column]
  const float* scales;
  const std::int32_t (&start)[2][16];  // where the integer sums of both halves begin (Q6_K), or of the block
  const float (&scaled_sum)[16];       // layouts with a minimum
};

// The 32 activations of a block and a token, which lie in the order of wide_place, as [part][column].
OUVERT_INLINE void split(const std::int16_t* codes, std::int8_t* parts) {
  const __m512i in_order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
  const __m512i whole = _mm512_shuffle_epi8(_mm512_loadu_si512(codes), in_order);
  const auto store = [&](int part, __m512i values) __attribute__((always_inline)) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(parts + part * kBlock), _mm512_cvtepi16_epi8(values));
  };
  store(0, _mm512_srai_epi16(whole, 7));
  store(1, _mm512_and_si512(whole, _mm512_set1_epi16(127)));
}

// The integer sum of a code's parts, whose products were summed one by one.
template <int P>
OUVERT_INLINE __m512i joined(const __m512i (&parts)[P]) {
  if constexpr (P == 1)
    return parts[0];
  else
    return _mm512_add_epi32(_mm512_slli_epi32(parts[0], 7), parts[1]);
}

// Adds one block to the sums. P: parts of a code of activations.
template <Layout L, int W, int P>
OUVERT_INLINE void add_block(const __m512i (&codes)[8], const BlockScales& weights, const BlockTokens& tokens,
                             __m512 (&sums)[W]) {
  constexpr int kMost = 4 / P;  // tokens whose integer sums are built at the same time: hides latency
  constexpr int kTogether = W < kMost ? W : kMost;
#pragma GCC unroll 8
  for (int from = 0; from < W; from += kTogether) {
    __m512i dots[kTogether][P], seconds[kTogether][P];
#pragma GCC unroll 4
    for (int t = 0; t < kTogether; ++t) {
      dots[t][0] = seconds[t][0] = _mm512_setzero_si512();
      if constexpr (!has_minimum(L)) dots[t][P - 1] = _mm512_set1_epi32(tokens.start[0][from + t]);
      else dots[t][P - 1] = _mm512_setzero_si512();
      if constexpr (L == Layout::Q6_K) seconds[t][P - 1] = _mm512_set1_epi32(tokens.start[1][from + t]);
    }
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j)
#pragma GCC unroll 4
      for (int n = 0; n < kTogether * P; ++n) {
        const int t = n / P, part = n % P;
        add_products(L == Layout::Q6_K && j >= 4 ? seconds[t][part] : dots[t][part], codes[j],
                     tokens.activations + (from * P + n) * kBlock + 4 * j);
      }
#pragma GCC unroll 4
    for (int t = 0; t < kTogether; ++t) {
      __m512i dot = joined<P>(dots[t]);
      if constexpr (L == Layout::Q6_K)
        dot = _mm512_add_epi32(_mm512_mullo_epi32(dot, weights.sub[0]),
                               _mm512_mullo_epi32(joined<P>(seconds[t]), weights.sub[1]));
      __m512& sum = sums[from + t];
      const __m512 scale = _mm512_mul_ps(weights.scale, _mm512_set1_ps(tokens.scales[from + t]));
      sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, sum);
      if constexpr (has_minimum(L))
        sum = _mm512_fmadd_ps(weights.minimum, _mm512_set1_ps(tokens.scaled_sum[from + t]), sum);
    }
  }
}

// Where the integer sums of up to 16 tokens begin (Q6_K: of both halves of the columns), or, for layouts with a
// minimum, the scaled sums of their activations.
template <Layout L>
OUVERT_INLINE void find_starts(__mmask16 those, const std::int32_t* code_sums, std::int64_t tile_width,
                               const float* scales, std::int32_t (&start)[2][16], float (&scaled_sum)[16]) {
  const __m512i first = _mm512_maskz_loadu_epi32(those, code_sums);
  const __m512i second = _mm512_maskz_loadu_epi32(those, code_sums + tile_width);
  const __m512 activation_scales = _mm512_maskz_loadu_ps(those, scales);
  if constexpr (L == Layout::Q6_K) {
    _mm512_store_si512(start[0], _mm512_slli_epi32(_mm512_sub_epi32(_mm512_setzero_si512(), first), 5));
    _mm512_store_si512(start[1], _mm512_slli_epi32(_mm512_sub_epi32(_mm512_setzero_si512(), second), 5));
  } else if constexpr (has_minimum(L)) {
    const __m512 all = _mm512_cvtepi32_ps(_mm512_add_epi32(first, second));
    _mm512_store_ps(scaled_sum, _mm512_mul_ps(activation_scales, all));
  } else {
    const __m512i offset = _mm512_set1_epi32(-code_offset(L));
    _mm512_store_si512(start[0], _mm512_mullo_epi32(_mm512_add_epi32(first, second), offset));
  }
}

// For few tokens memory is the limit, and a thread reads faster from several places at a time than from one: that many
// groups of rows go side by side, block by block. Memory is prefetched kAhead bytes ahead, across the ends of pages and
// groups, into the second-level cache: the first allows too few requests at a time.
constexpr std::int64_t kStreams = 4, kAhead = 4096;
constexpr bool few(int tokens) { return tokens <= 4; }

// The finished sums of G groups of rows and W tokens, from token t0 of the tile on.
template <Layout L, int G, int W, typename Code>
OUVERT_INLINE void groups_times_tokens(const std::uint8_t* group, std::int64_t columns, const TileOf<Code>& tile,
                                       std::int64_t t0, __m512 (&sums)[G][W]) {
  constexpr Geometry g = geometry(L);
  constexpr int P = kParts<Code>;
  const std::int64_t bytes = group_bytes(L, columns);
  const Code* activations = tile.codes + t0 * kBlock;
  alignas(64) std::int8_t parts[P == 1 ? 1 : W * P * kBlock];
  const float* scales = tile.scales + t0;
  const std::int32_t* code_sums = tile.sums + t0;
  const __mmask16 those = static_cast<__mmask16>((1u << W) - 1);
  alignas(64) std::int32_t start[2][16];
  alignas(64) float scaled_sum[16];
  constexpr std::int64_t kBytes = g.codes + g.scales * kBlock / g.scales_columns;  // of one block
  std::int64_t ahead = kAhead;

#pragma GCC unroll 4
  for (int n = 0; n < G; ++n)
#pragma GCC unroll 16
    for (int t = 0; t < W; ++t) sums[n][t] = _mm512_setzero_ps();
  std::int64_t stretch = 0;  // from the start of each group
  for (std::int64_t left = columns / kBlock; left > 0; left -= kStretchBlocks) {
    const std::int64_t blocks = std::min(left, kStretchBlocks);
    std::int64_t packed = stretch + stretch_scales(L, blocks);
    for (std::int64_t within = 0; within < blocks; ++within) {
      find_starts<L>(those, code_sums, tile.width, scales, start, scaled_sum);
      // They are read from memory one by one. Otherwise g++ shuffles them out of a register that the products need.
      asm volatile("" : : "r"(start), "r"(scaled_sum) : "memory");
      const std::int8_t* of_eight_bits = parts;
      if constexpr (P == 1) {
        of_eight_bits = activations;
      } else {
#pragma GCC unroll 8
        for (int t = 0; t < W; ++t) split(activations + t * kBlock, parts + t * P * kBlock);
        asm volatile("" : : "r"(of_eight_bits) : "memory");  // as above
      }
      const std::int64_t skip = ahead < bytes ? ahead : ahead + (G - 1) * bytes;
#pragma GCC unroll 4
      for (int n = 0; n < G; ++n) {
        const std::uint8_t* from = group + n * bytes;
        if constexpr (few(W)) {
#pragma GCC unroll 10
          for (std::int64_t line = 0; line < kBytes; line += 64)
            _mm_prefetch(reinterpret_cast<const char*>(from + skip + line), _MM_HINT_T1);
        }
        __m512i codes[8];
        BlockScales weights;
        unpack_codes<L>(from + packed, codes);
        load_scales<L>(from + stretch, within, weights);
        add_block<L, W, P>(codes, weights, {of_eight_bits, scales, start, scaled_sum}, sums[n]);
      }
      ahead += kBytes;
      packed += g.codes;
      activations += tile.width * kBlock;
      scales += tile.width;
      code_sums += 2 * tile.width;
    }
    stretch = packed;
  }
}

// ---- storing ----------------------------------------------------------------------------------------------------

struct Destination {
  float* out;
  std::int64_t stride;
  const Epilogue* epilogue;
  std::int64_t first_row;
  std::int64_t rows;  // from the first on

  Destination group(std::int64_t n) const {
    return {out, stride, epilogue, first_row + n * kRowGroup, rows - n * kRowGroup};
  }
};

OUVERT_INLINE void store(const Destination& to, std::int64_t token, __m512 sum) {
  const Epilogue& epilogue = *to.epilogue;
  const auto rows = static_cast<__mmask16>((1u << std::min(kRowGroup, to.rows)) - 1);
  float* at = to.out + (epilogue.out_rows ? epilogue.out_rows[token] : token) * to.stride + to.first_row;
  if (epilogue.bias) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(rows, epilogue.bias + to.first_row));
  if (epilogue.accumulate) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(rows, at), sum);
  _mm512_mask_storeu_ps(at, rows, sum);
}

template <Layout L, int G, int W, typename Code>
__attribute__((noinline)) void tokens(const std::uint8_t* group, std::int64_t columns, const TileOf<Code>& tile,
                                      std::int64_t t0, std::int64_t token, const Destination& to) {
  __m512 sums[G][W];
  groups_times_tokens<L, G, W, Code>(group, columns, tile, t0, sums);
#pragma GCC unroll 4
  for (int n = 0; n < G; ++n)
#pragma GCC unroll 16
    for (int t = 0; t < W; ++t) store(to.group(n), token + t, sums[n][t]);
}

// W tokens and `groups` groups of rows.
template <Layout L, int W, typename Code>
OUVERT_INLINE void tokens_of_groups(const std::uint8_t* group, std::int64_t groups, std::int64_t columns,
                                    const TileOf<Code>& tile, std::int64_t t0, std::int64_t token,
                                    const Destination& to) {
  if constexpr (few(W))
    if (groups == kStreams) return tokens<L, kStreams, W, Code>(group, columns, tile, t0, token, to);
  const std::int64_t bytes = group_bytes(L, columns);
  for (std::int64_t n = 0; n < groups; ++n)
    tokens<L, 1, W, Code>(group + n * bytes, columns, tile, t0, token, to.group(n));
}

// ---- a piece ----------------------------------------------------------------------------------------------------

template <Layout L, typename Code>
void matmul_layout(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
                   const Epilogue& epilogue) {
  const std::int64_t columns = weights.columns, bytes = group_bytes(L, columns);
  // As many tokens at a time as stay in the second-level cache while the rows pass by.
  constexpr std::int64_t kCache = 512 << 10;
  const std::int64_t token_bytes = columns / kBlock * activation_block_bytes(sizeof(Code));
  const std::int64_t chunk = std::max<std::int64_t>(1, kCache / token_bytes / kTokenTile) * kTokenTile;
  for (std::int64_t begin = piece.token_begin, end; begin < piece.token_end; begin = end) {
    end = std::min(piece.token_end, (begin / chunk + 1) * chunk);
    const std::int64_t together = few(static_cast<int>(std::min<std::int64_t>(end - begin, kTokenTile))) ? kStreams : 1;
    for (std::int64_t row = piece.row_begin; row < piece.row_end; row += together * kRowGroup) {
      const std::uint8_t* group = weights.data + row / kRowGroup * bytes;
      const std::int64_t groups = std::min(together, (piece.row_end - row + kRowGroup - 1) / kRowGroup);
      const Destination to{out, stride, &epilogue, row, weights.rows - row};
      for (std::int64_t token = begin; token < end;) {
        const TileOf<Code> tile = tile_at<Code>(x, token / kTokenTile);
        const std::int64_t t0 = token % kTokenTile, left = std::min(tile.width - t0, end - token);
        constexpr int kWidest = 16 / kParts<Code>;  // as many as have their sums in registers
        const auto some = [&](auto width) __attribute__((always_inline)) {
          tokens_of_groups<L, width, Code>(group, groups, columns, tile, t0, token, to);
          token += width;
        };
        if (left >= kWidest) {
          some(std::integral_constant<int, kWidest>());
        } else if (left >= 8) {
          some(std::integral_constant<int, 8>());
        } else if (left >= 4) {
          some(std::integral_constant<int, 4>());
        } else if (left >= 2) {
          some(std::integral_constant<int, 2>());
        } else {
          some(std::integral_constant<int, 1>());
        }
      }
    }
  }
}

template <typename Code>
void matmul(const Matrix& w, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
            const Epilogue& e) {
  with_int8_layout(w.layout, [&](auto layout) { matmul_layout<layout, Code>(w, x, out, stride, piece, e); });
}

// ---- float activations ------------------------------------------------------------------------------------------

// The weights of a block as floats.
template <Layout L>
struct Floats {
  alignas(64) float all[kBlock][kRowGroup];

  OUVERT_INLINE Floats(const std::uint8_t* group, std::int64_t all_columns, std::int64_t block) {
    decode<L>(group, all_columns, block, kBlock, all);
  }
  OUVERT_INLINE __m512 column(std::int64_t c) const { return _mm512_load_ps(all[c]); }
};

// Those that are floats, or codes of MXINT8, are read where they are.
template <Layout L>
  requires(!takes_int8(L))
struct Floats<L> {
  const std::uint8_t* packed;

  OUVERT_INLINE Floats(const std::uint8_t* group, std::int64_t all_columns, std::int64_t block)
      : packed(block_at(L, group, all_columns, block).codes) {}
  OUVERT_INLINE __m512 column(std::int64_t c) const {
    if constexpr (L == Layout::F32) return _mm512_loadu_ps(packed + 64 * c);
    if constexpr (L == Layout::F16) return halves(packed + 32 * c);
    if constexpr (L == Layout::MXINT8) return mxint8_codes(packed, c);
    const __m256i upper = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed + 32 * c));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(upper), 16));
  }
};

// The scale that sums of MXINT8 are counted in; of other layouts it is 1.
template <Layout L>
struct Unit {
  OUVERT_INLINE Unit(const std::uint8_t*) {}
  template <int W>
  OUVERT_INLINE void become(const std::uint8_t*, __m512 (&)[W][4]) {}
  OUVERT_INLINE __m512 times(__m512 sum) const { return sum; }
};

template <>
struct Unit<Layout::MXINT8> {
  __m512i exponents;

  OUVERT_INLINE Unit(const std::uint8_t* group) : exponents(mxint8_exponents(group)) {}
  // That of another block, for sums so far.
  template <int W>
  OUVERT_INLINE void become(const std::uint8_t* block, __m512 (&partial)[W][4]) {
    const __m512i next = mxint8_exponents(block);
    const __m512 ratio =
        mxint8_scales(_mm512_add_epi32(_mm512_sub_epi32(exponents, next), _mm512_set1_epi32(127)));
#pragma GCC unroll 6
    for (int t = 0; t < W; ++t)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) partial[t][i] = _mm512_mul_ps(partial[t][i], ratio);
    exponents = next;
  }
  OUVERT_INLINE __m512 times(__m512 sum) const { return _mm512_mul_ps(sum, mxint8_scales(exponents)); }
};

template <Layout L, int W>
__attribute__((noinline)) void tokens_f32(const std::uint8_t* group, std::int64_t all_columns,
                                          const float* const* x, std::int64_t token, const Destination& to) {
  constexpr std::int64_t block_bytes = geometry(L).codes;
  __m512 partial[W][4];
#pragma GCC unroll 6
  for (int t = 0; t < W; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) partial[t][i] = _mm512_setzero_ps();
  Unit<L> unit(group);
  for (std::int64_t column = 0; column < all_columns; column += kBlock) {
    const std::int64_t columns = std::min(kBlock, all_columns - column);
    const Floats<L> weights(group, all_columns, column / kBlock);
    if constexpr (!takes_int8(L) && few(W))
      for (std::int64_t line = 0; line < block_bytes; line += 64)
        _mm_prefetch(reinterpret_cast<const char*>(weights.packed + kAhead + line), _MM_HINT_T1);
    if constexpr (!takes_int8(L))
      if (column > 0) unit.become(weights.packed, partial);
    std::int64_t c = 0;
    for (; c + 4 <= columns; c += 4)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m512 weight = weights.column(c + i);
#pragma GCC unroll 6
        for (int t = 0; t < W; ++t)
          partial[t][i] = _mm512_fmadd_ps(weight, _mm512_set1_ps(x[t][column + c + i]), partial[t][i]);
      }
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i)
      if (c + i < columns)
#pragma GCC unroll 6
        for (int t = 0; t < W; ++t)
          partial[t][i] = _mm512_fmadd_ps(weights.column(c + i), _mm512_set1_ps(x[t][column + c + i]), partial[t][i]);
  }
#pragma GCC unroll 6
  for (int t = 0; t < W; ++t)
    store(to, token + t, unit.times(_mm512_add_ps(_mm512_add_ps(partial[t][0], partial[t][1]),
                                                  _mm512_add_ps(partial[t][2], partial[t][3]))));
}

// One token's products with so many groups of C columns, as those of `b` of an adapter: the token stays in registers.
template <Layout L, int C>
  requires(!takes_int8(L))
__attribute__((noinline)) void narrow_f32(const std::uint8_t* group, std::int64_t groups, const float* x,
                                          std::int64_t token, const Destination& to) {
  __m512 from[C];
#pragma GCC unroll 16
  for (int c = 0; c < C; ++c) from[c] = _mm512_set1_ps(x[c]);
  for (std::int64_t n = 0; n < groups; ++n, group += group_bytes(L, C)) {
    const Floats<L> weights(group, C, 0);
    const Unit<L> unit(group);
    __m512 partial[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) partial[i] = _mm512_setzero_ps();
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) partial[c % 4] = _mm512_fmadd_ps(weights.column(c), from[c], partial[c % 4]);
    store(to.group(n), token, unit.times(_mm512_add_ps(_mm512_add_ps(partial[0], partial[1]),
                                                       _mm512_add_ps(partial[2], partial[3]))));
  }
}

// Whether it was one token and a number of columns that narrow_f32 takes.
template <Layout L>
bool narrow_product(const Matrix& weights, const float* x, float* out, std::int64_t stride, const Piece& piece,
                    const Epilogue& epilogue) {
  if constexpr (!takes_int8(L)) {
    const std::int64_t columns = weights.columns;
    const auto groups = (piece.row_end - piece.row_begin + kRowGroup - 1) / kRowGroup;
    const std::uint8_t* group = weights.data + piece.row_begin / kRowGroup * group_bytes(L, columns);
    const Destination to{out, stride, &epilogue, piece.row_begin, weights.rows - piece.row_begin};
    if (columns == 16) return narrow_f32<L, 16>(group, groups, x, piece.token_begin, to), true;
    if (columns == 8) return narrow_f32<L, 8>(group, groups, x, piece.token_begin, to), true;
  }
  return false;
}

template <Layout L>
void matmul_f32_layout(const Matrix& weights, const float* x, std::int64_t x_stride, const std::int32_t* from_rows,
                       float* out, std::int64_t stride, const Piece& piece, const Epilogue& epilogue) {
  const std::int64_t columns = weights.columns, bytes = group_bytes(L, columns), first = piece.token_begin;
  if (piece.token_end - first == 1 &&
      narrow_product<L>(weights, x + (from_rows ? from_rows[first] : first) * x_stride, out, stride, piece, epilogue))
    return;
  for (std::int64_t row = piece.row_begin; row < piece.row_end; row += kRowGroup) {
    const std::uint8_t* group = weights.data + row / kRowGroup * bytes;
    const Destination to{out, stride, &epilogue, row, weights.rows - row};
    for (std::int64_t token = piece.token_begin; token < piece.token_end;) {
      const float* from[6];
      const std::int64_t left = std::min<std::int64_t>(6, piece.token_end - token);
      for (std::int64_t t = 0; t < left; ++t) from[t] = x + (from_rows ? from_rows[token + t] : token + t) * x_stride;
      if (left == 6) {
        tokens_f32<L, 6>(group, columns, from, token, to), token += 6;
      } else if (left >= 2) {
        tokens_f32<L, 2>(group, columns, from, token, to), token += 2;
      } else {
        tokens_f32<L, 1>(group, columns, from, token, to), token += 1;
      }
    }
  }
}

void matmul_f32(const Matrix& w, const float* x, std::int64_t x_stride, const std::int32_t* from_rows, float* out,
                std::int64_t stride, const Piece& piece, const Epilogue& e) {
  with_layout(w.layout, [&](auto layout) {
    matmul_f32_layout<layout>(w, x, x_stride, from_rows, out, stride, piece, e);
  });
}

// ---- activations ------------------------------------------------------------------------------------------------

// One block of token t of a tile.
OUVERT_INLINE void quantise_block(__m512 a, __m512 b, const Tile& tile, std::int64_t t, std::int64_t block) {
  const __m512i without_sign = _mm512_set1_epi32(0x7fffffff);
  const __m512i sizes = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(a), without_sign),
                                         _mm512_and_si512(_mm512_castps_si512(b), without_sign));
  const std::int32_t largest_bits = _mm512_reduce_max_epi32(sizes);  // infinities and NaN are the largest
  const float largest = std::bit_cast<float>(largest_bits);
  const bool finite = largest_bits < 0x7f800000, zero = !finite || largest < kSmallestActivation;
  const float scale = !finite ? std::numeric_limits<float>::quiet_NaN() : zero ? 0.0f : largest / 127.0f;
  const std::int64_t at = block * tile.width + t;
  __m512i p = _mm512_setzero_si512(), q = p;
  if (!zero) {
    const __m512 inverse = _mm512_set1_ps(127.0f / largest);
    p = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
    q = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
  }
  _mm_storeu_si128(reinterpret_cast<__m128i*>(tile.codes + at * kBlock), _mm512_cvtepi32_epi8(p));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(tile.codes + at * kBlock + 16), _mm512_cvtepi32_epi8(q));
  tile.scales[at] = scale;
  tile.sums[(block * 2 + 0) * tile.width + t] = _mm512_reduce_add_epi32(p);
  tile.sums[(block * 2 + 1) * tile.width + t] = _mm512_reduce_add_epi32(q);
}

void quantise(const float* x, std::int64_t stride, const std::int32_t* from_rows, const Activations& to,
              std::int64_t token_begin, std::int64_t token_end) {
  for (std::int64_t token = token_begin; token < token_end; ++token) {
    const Tile tile = tile_at(to, token / kTokenTile);
    const float* from = x + (from_rows ? from_rows[token] : token) * stride;
    for (std::int64_t block = 0; block < to.columns / kBlock; ++block, from += kBlock)
      quantise_block(_mm512_loadu_ps(from), _mm512_loadu_ps(from + 16), tile, token % kTokenTile, block);
  }
}

}  // namespace

const LinearKernels kLinearAvx512 = {quantise, quantise_wide_avx2, matmul<std::int8_t>, matmul<std::int16_t>,
                                     matmul_f32};

}  // namespace ouvert

#endif
