// The products with AVX2, FMA and F16C. One register holds 4 columns of 8 rows, so a group of 16 rows is worked on in
// two halves. vpmaddubsw multiplies unsigned codes with signed activations into 16 bits; kAdds of its results fit
// before they are widened. Layouts whose codes need all 8 bits multiply |weight| with the activation under the
// weight's sign instead.

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <limits>

#include "linear_layout.h"
#include "linear_sets.h"

namespace ouvert {
namespace {

#define OUVERT_INLINE inline __attribute__((always_inline))

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

// Codes of rows 8 * half .. 8 * half + 7 of a block.
template <Layout L>
OUVERT_INLINE void unpack_codes(const std::uint8_t* from, int half, __m256i (&codes)[8]) {
  if constexpr (L == Layout::Q8_0) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) codes[j] = bytes32(from + 64 * j + 32 * half);
    return;
  }
  const __m256i low = _mm256_set1_epi8(15);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m256i both = bytes32(from + 64 * j + 32 * half);
    codes[j] = _mm256_and_si256(both, low);
    codes[j + 4] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
  }
  if constexpr (L == Layout::MXFP4 || L == Layout::IQ4_NL) {
    const std::uint8_t* values = L == Layout::MXFP4 ? kMxfp4Values : kIq4Values;
    const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(values)));
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) codes[j] = _mm256_shuffle_epi8(table, codes[j]);
  }
  if constexpr (L == Layout::Q5_1 || L == Layout::Q5_K) {
    // Byte n of a register wants bit n % 8 of byte n / 8 of its 32 bits.
    const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      const __m256i bits = _mm256_set1_epi32(load<std::int32_t>(from + 256 + 8 * j + 4 * half));
      const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, spread), bit), bit);
      codes[j] = _mm256_or_si256(codes[j], _mm256_and_si256(is_set, _mm256_set1_epi8(16)));
    }
  }
  if constexpr (L == Layout::Q6_K) {
    const __m256i two = _mm256_set1_epi8(48);
#pragma GCC unroll 2
    for (int quarter = 0; quarter < 2; ++quarter) {
      const __m256i high = bytes32(from + 256 + 64 * quarter + 32 * half);
      __m256i* to = codes + 4 * quarter;
      to[0] = _mm256_or_si256(to[0], _mm256_and_si256(_mm256_slli_epi16(high, 4), two));
      to[1] = _mm256_or_si256(to[1], _mm256_and_si256(_mm256_slli_epi16(high, 2), two));
      to[2] = _mm256_or_si256(to[2], _mm256_and_si256(high, two));
      to[3] = _mm256_or_si256(to[3], _mm256_and_si256(_mm256_srli_epi16(high, 2), two));
    }
  }
}

struct BlockScales {
  __m256 scale, minimum;
  __m256i sub[2];
};

template <Layout L>
OUVERT_INLINE void load_scales(const std::uint8_t* scales, std::int64_t within, int half, BlockScales& out) {
  constexpr Geometry g = geometry(L);
  if constexpr (L == Layout::MXFP4) {
    const __m256i code = _mm256_cvtepu8_epi32(bytes8(scales + 16 * within + kHalf * half));
    const __m256i bits = _mm256_slli_epi32(_mm256_sub_epi32(code, _mm256_set1_epi32(1)), 23);
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), code);
    const __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), code);
    out.scale = _mm256_castsi256_ps(_mm256_blendv_epi8(bits, small, tiny));
  } else if constexpr (L == Layout::Q4_K || L == Layout::Q5_K) {
    const __m256i low = _mm256_cvtepu8_epi32(bytes8(scales + 64 + 16 * within + kHalf * half));
    const __m128i shift = _mm_cvtsi32_si128(static_cast<int>(4 * within));
    const __m256i high = _mm256_srl_epi32(bytes32(scales + 192 + 32 * half), shift);
    const __m256i two = _mm256_set1_epi32(48);
    const __m256i s = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(15)),
                                      _mm256_and_si256(_mm256_slli_epi32(high, 4), two));
    const __m256i t = _mm256_or_si256(_mm256_srli_epi32(low, 4),
                                      _mm256_and_si256(_mm256_slli_epi32(high, 2), two));
    out.scale = _mm256_mul_ps(halves(scales + 16 * half), _mm256_cvtepi32_ps(s));
    const __m256 minus = _mm256_mul_ps(halves(scales + 32 + 16 * half), _mm256_cvtepi32_ps(t));
    out.minimum = _mm256_xor_ps(minus, _mm256_set1_ps(-0.0f));
  } else if constexpr (L == Layout::Q6_K) {
    out.scale = halves(scales + 16 * half);
    out.sub[0] = _mm256_cvtepi8_epi32(bytes8(scales + 32 + 32 * within + kHalf * half));
    out.sub[1] = _mm256_cvtepi8_epi32(bytes8(scales + 48 + 32 * within + kHalf * half));
  } else {
    out.scale = halves(scales + g.scales * within + 16 * half);
    if constexpr (has_minimum(L)) out.minimum = halves(scales + g.scales * within + 32 + 16 * half);
  }
}

// ---- integer sums -----------------------------------------------------------------------------------------------

constexpr bool by_sign(Layout layout) { return layout == Layout::Q8_0 || layout == Layout::IQ4_NL; }

// How many results of vpmaddubsw (two products of a code and an activation of at most 127) fit into 16 bits together.
constexpr int adds(Layout layout) {
  switch (layout) {
    case Layout::MXFP4:                       // 4 * 2 * 24 * 127 = 24384
    case Layout::Q5_1:
    case Layout::Q5_K: return 4;              // 4 * 2 * 31 * 127 = 31496
    case Layout::Q6_K: return 2;              // 2 * 2 * 63 * 127 = 32004
    case Layout::Q8_0:
    case Layout::IQ4_NL: return 1;            // 1 * 2 * 128 * 127 = 32512
    default: return 8;                        // 8 * 2 * 15 * 127 = 30480
  }
}

OUVERT_INLINE __m256i broadcast4(const std::int8_t* from) {
  std::int32_t four;
  std::memcpy(&four, from, 4);
  return _mm256_set1_epi32(four);
}

// start + sum over registers kBegin .. kEnd - 1 of codes times activations.
template <Layout L, int kBegin, int kEnd>
OUVERT_INLINE __m256i dot(const __m256i (&codes)[8], const std::int8_t* activations, __m256i start) {
  const __m256i ones = _mm256_set1_epi16(1);
  constexpr int kAdds = adds(L);
#pragma GCC unroll 8
  for (int j = kBegin; j < kEnd; j += kAdds) {
    __m256i pairs = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int i = j; i < j + kAdds; ++i) {
      const __m256i x = broadcast4(activations + 4 * i);
      const __m256i products = by_sign(L)
                                   ? _mm256_maddubs_epi16(_mm256_abs_epi8(codes[i]), _mm256_sign_epi8(x, codes[i]))
                                   : _mm256_maddubs_epi16(codes[i], x);
      pairs = i == j ? products : _mm256_add_epi16(pairs, products);
    }
    start = _mm256_add_epi32(start, _mm256_madd_epi16(pairs, ones));
  }
  return start;
}

// ---- W tokens ---------------------------------------------------------------------------------------------------

struct Destination {
  float* out;
  std::int64_t stride;
  const Epilogue* epilogue;
  std::int64_t first_row;
  std::int64_t rows;  // of the group; below 16 at the matrix's end
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
  alignas(32) float values[kHalf];
  _mm256_store_ps(values, sum);
  for (std::int64_t row = 0; row < rows; ++row) {
    const float value = epilogue.bias ? values[row] + epilogue.bias[first + row] : values[row];
    at[row] = epilogue.accumulate ? at[row] + value : value;
  }
}

// H halves of a group, from half `half` on. One token takes both at once, so that memory is read in one stream; more
// tokens take one after the other, so that sums stay in registers.
template <Layout L, int W, int H>
__attribute__((noinline)) void tokens(const std::uint8_t* group, std::int64_t columns, const Tile& tile,
                                      std::int64_t t0, std::int64_t token, int half, const Destination& to) {
  constexpr Geometry g = geometry(L);
  const std::int8_t* activations = tile.codes + t0 * kBlock;
  const float* scales = tile.scales + t0;
  const std::int32_t* code_sums = tile.sums + t0;
  // One token: memory is the limit. What is needed kAhead bytes later is asked for, across the ends of pages and
  // groups, into the second-level cache: the first has too few requests under way to keep up.
  constexpr std::int64_t kAhead = 8192;
  constexpr std::int64_t kBytes = g.codes + g.scales * kBlock / g.scales_columns;  // of one block
  const std::uint8_t* ahead = group + kAhead;
  __m256 sums[H][W];
#pragma GCC unroll 2
  for (int h = 0; h < H; ++h)
#pragma GCC unroll 4
    for (int t = 0; t < W; ++t) sums[h][t] = _mm256_setzero_ps();
  const std::uint8_t* stretch = group;
  for (std::int64_t left = columns / kBlock; left > 0; left -= kStretchBlocks) {
    const std::int64_t blocks = std::min(left, kStretchBlocks);
    const std::uint8_t* packed = stretch + stretch_scales(L, blocks);
    for (std::int64_t within = 0; within < blocks; ++within) {
      if constexpr (W == 1) {
#pragma GCC unroll 10
        for (std::int64_t line = 0; line < kBytes; line += 64)
          _mm_prefetch(reinterpret_cast<const char*>(ahead + line), _MM_HINT_T1);
        ahead += kBytes;
      }
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h) {
        __m256i codes[8];
        BlockScales weights;
        unpack_codes<L>(packed, half + h, codes);
        load_scales<L>(stretch, within, half + h, weights);
        if constexpr (by_sign(L)) {
#pragma GCC unroll 8
          for (int j = 0; j < 8; ++j)
            codes[j] = _mm256_sub_epi8(codes[j], _mm256_set1_epi8(static_cast<char>(code_offset(L))));
        }
#pragma GCC unroll 4
        for (int t = 0; t < W; ++t) {
          const std::int8_t* x = activations + t * kBlock;
          const std::int32_t first = code_sums[t], second = code_sums[tile.width + t];
          const __m256 scale = _mm256_mul_ps(weights.scale, _mm256_set1_ps(scales[t]));
          __m256i all;
          if constexpr (L == Layout::Q6_K) {
            const __m256i a = dot<L, 0, 4>(codes, x, _mm256_set1_epi32(-code_offset(L) * first));
            const __m256i b = dot<L, 4, 8>(codes, x, _mm256_set1_epi32(-code_offset(L) * second));
            all = _mm256_add_epi32(_mm256_mullo_epi32(a, weights.sub[0]), _mm256_mullo_epi32(b, weights.sub[1]));
          } else if constexpr (by_sign(L) || has_minimum(L)) {
            all = dot<L, 0, 8>(codes, x, _mm256_setzero_si256());
          } else {
            all = dot<L, 0, 8>(codes, x, _mm256_set1_epi32(-code_offset(L) * (first + second)));
          }
          sums[h][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(all), scale, sums[h][t]);
          if constexpr (has_minimum(L)) {
            const __m256 scaled_sum = _mm256_set1_ps(scales[t] * static_cast<float>(first + second));
            sums[h][t] = _mm256_fmadd_ps(weights.minimum, scaled_sum, sums[h][t]);
          }
        }
      }
      packed += g.codes;
      activations += tile.width * kBlock;
      scales += tile.width;
      code_sums += 2 * tile.width;
    }
    stretch = packed;
  }
#pragma GCC unroll 2
  for (int h = 0; h < H; ++h)
#pragma GCC unroll 4
    for (int t = 0; t < W; ++t) store(to, token + t, half + h, sums[h][t]);
}

// ---- a piece ----------------------------------------------------------------------------------------------------

template <Layout L>
void matmul_layout(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
                   const Epilogue& epilogue) {
  const std::int64_t columns = weights.columns, bytes = group_bytes(L, columns);
  // As many tokens at a time as stay in the second-level cache while the rows pass by.
  constexpr std::int64_t kCache = 192 << 10;
  const std::int64_t token_bytes = columns / kBlock * kActivationBytes;
  const std::int64_t chunk = std::max<std::int64_t>(1, kCache / token_bytes / kTokenTile) * kTokenTile;
  for (std::int64_t begin = piece.token_begin, end; begin < piece.token_end; begin = end) {
    end = std::min(piece.token_end, (begin / chunk + 1) * chunk);
    for (std::int64_t row = piece.row_begin; row < piece.row_end; row += kRowGroup) {
      const std::uint8_t* group = weights.data + row / kRowGroup * bytes;
      const Destination to{out, stride, &epilogue, row, std::min(kRowGroup, weights.rows - row)};
      for (std::int64_t token = begin; token < end;) {
        const Tile tile = tile_at(x, token / kTokenTile);
        const std::int64_t t0 = token % kTokenTile, left = std::min(tile.width - t0, end - token);
        if (left >= 4) {
          tokens<L, 4, 1>(group, columns, tile, t0, token, 0, to);
          tokens<L, 4, 1>(group, columns, tile, t0, token, 1, to);
          token += 4;
        } else if (left >= 2) {
          tokens<L, 2, 1>(group, columns, tile, t0, token, 0, to);
          tokens<L, 2, 1>(group, columns, tile, t0, token, 1, to);
          token += 2;
        } else {
          tokens<L, 1, 2>(group, columns, tile, t0, token, 0, to);
          token += 1;
        }
      }
    }
  }
}

void matmul(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
            const Epilogue& epilogue) {
  switch (weights.layout) {
    case Layout::MXFP4: return matmul_layout<Layout::MXFP4>(weights, x, out, stride, piece, epilogue);
    case Layout::Q4_0: return matmul_layout<Layout::Q4_0>(weights, x, out, stride, piece, epilogue);
    case Layout::IQ4_NL: return matmul_layout<Layout::IQ4_NL>(weights, x, out, stride, piece, epilogue);
    case Layout::Q4_1: return matmul_layout<Layout::Q4_1>(weights, x, out, stride, piece, epilogue);
    case Layout::Q5_1: return matmul_layout<Layout::Q5_1>(weights, x, out, stride, piece, epilogue);
    case Layout::Q4_K: return matmul_layout<Layout::Q4_K>(weights, x, out, stride, piece, epilogue);
    case Layout::Q5_K: return matmul_layout<Layout::Q5_K>(weights, x, out, stride, piece, epilogue);
    case Layout::Q6_K: return matmul_layout<Layout::Q6_K>(weights, x, out, stride, piece, epilogue);
    case Layout::Q8_0: return matmul_layout<Layout::Q8_0>(weights, x, out, stride, piece, epilogue);
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
    unpack_codes<L>(packed, half, codes);
    load_scales<L>(scales, within, half, weights);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      __m256 scale = weights.scale;
      if constexpr (L == Layout::Q6_K) scale = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(weights.sub[j / 4]));
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {  // byte i of each row's four
        const __m256i code = _mm256_and_si256(_mm256_srli_epi32(codes[j], 8 * i), _mm256_set1_epi32(255));
        const __m256i value = _mm256_sub_epi32(code, _mm256_set1_epi32(code_offset(L)));
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

OUVERT_INLINE __m128i narrow(__m256i a, __m256i b) {  // 16 whole numbers within -127 .. 127 as bytes
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
  return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

OUVERT_INLINE std::int32_t sum(__m256i a, __m256i b) {
  const __m256i both = _mm256_add_epi32(a, b);
  __m128i x = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}

void quantise(const float* x, std::int64_t stride, const std::int32_t* from_rows, const Activations& to,
              std::int64_t token_begin, std::int64_t token_end) {
  const __m256i without_sign = _mm256_set1_epi32(0x7fffffff);
  for (std::int64_t token = token_begin; token < token_end; ++token) {
    const float* from = x + (from_rows ? from_rows[token] : token) * stride;
    const Tile tile = tile_at(to, token / kTokenTile);
    const std::int64_t t = token % kTokenTile;
    for (std::int64_t block = 0; block < to.columns / kBlock; ++block, from += kBlock) {
      __m256 values[4];
      __m256i sizes = _mm256_setzero_si256();
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        values[i] = _mm256_loadu_ps(from + 8 * i);
        sizes = _mm256_max_epi32(sizes, _mm256_and_si256(_mm256_castps_si256(values[i]), without_sign));
      }
      __m128i most = _mm_max_epi32(_mm256_castsi256_si128(sizes), _mm256_extracti128_si256(sizes, 1));
      most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
      most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1));
      const std::int32_t largest_bits = _mm_cvtsi128_si32(most);  // infinities and NaN are the largest
      const float largest = std::bit_cast<float>(largest_bits);
      const bool finite = largest_bits < 0x7f800000, zero = !finite || largest < kSmallestActivation;
      const std::int64_t at = block * tile.width + t;
      __m256i codes[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                          _mm256_setzero_si256()};
      if (!zero) {
        const __m256 inverse = _mm256_set1_ps(127.0f / largest);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) codes[i] = _mm256_cvtps_epi32(_mm256_mul_ps(values[i], inverse));
      }
      _mm_storeu_si128(reinterpret_cast<__m128i*>(tile.codes + at * kBlock), narrow(codes[0], codes[1]));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(tile.codes + at * kBlock + 16), narrow(codes[2], codes[3]));
      tile.scales[at] = !finite ? std::numeric_limits<float>::quiet_NaN() : zero ? 0.0f : largest / 127.0f;
      tile.sums[(block * 2 + 0) * tile.width + t] = sum(codes[0], codes[1]);
      tile.sums[(block * 2 + 1) * tile.width + t] = sum(codes[2], codes[3]);
    }
  }
}

}  // namespace

const LinearKernels kLinearAvx2 = {quantise, matmul, matmul_f32};

}  // namespace ouvert

#endif
