// The products of float activations with AVX2: weights are decoded, 8 rows at a time, and multiplied.

#if defined(__x86_64__)

#include "decode_avx2.h"
#include "linear_sets.h"
#include "store_avx2.h"
#include "weights_avx2.h"

namespace ouvert {
namespace {

// The weights of one half of a block as floats.
template <Layout L>
struct Floats {
  alignas(32) float all[kBlock][kHalf];

  OUVERT_INLINE Floats(const std::uint8_t* group, std::int64_t all_columns, std::int64_t block, int half) {
    decode<L>(group, all_columns, block, half, kBlock, all[0], kHalf);
  }
  OUVERT_INLINE __m256 column(std::int64_t c) const { return _mm256_load_ps(all[c]); }
};

// Those that are floats, or codes of MXINT8, are read where they are.
template <Layout L>
  requires(!takes_int8(L))
struct Floats<L> {
  const std::uint8_t* packed;
  int half;

  OUVERT_INLINE Floats(const std::uint8_t* group, std::int64_t all_columns, std::int64_t block, int h)
      : packed(block_at(L, group, all_columns, block).codes), half(h) {}
  OUVERT_INLINE __m256 column(std::int64_t c) const {
    if constexpr (L == Layout::F32) return _mm256_loadu_ps(reinterpret_cast<const float*>(packed + 64 * c + 32 * half));
    if constexpr (L == Layout::F16) return halves(packed + 32 * c + 16 * half);
    if constexpr (L == Layout::MXINT8) return mxint8_codes(packed, half, c);
    const __m128i upper = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + 32 * c + 16 * half));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(upper), 16));
  }
};

// The scale that sums of MXINT8 are counted in; of other layouts it is 1.
template <Layout L>
struct Unit {
  OUVERT_INLINE Unit(const std::uint8_t*, int) {}
  template <int W>
  OUVERT_INLINE void become(const std::uint8_t*, int, __m256 (&)[W][4]) {}
  OUVERT_INLINE __m256 times(__m256 sum) const { return sum; }
};

template <>
struct Unit<Layout::MXINT8> {
  __m256i exponents;

  OUVERT_INLINE Unit(const std::uint8_t* group, int half) : exponents(mxint8_exponents(group, half)) {}
  // That of another block, for sums so far.
  template <int W>
  OUVERT_INLINE void become(const std::uint8_t* block, int half, __m256 (&partial)[W][4]) {
    const __m256i next = mxint8_exponents(block, half);
    const __m256 ratio =
        mxint8_scales(_mm256_add_epi32(_mm256_sub_epi32(exponents, next), _mm256_set1_epi32(127)));
#pragma GCC unroll 2
    for (int t = 0; t < W; ++t)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) partial[t][i] = _mm256_mul_ps(partial[t][i], ratio);
    exponents = next;
  }
  OUVERT_INLINE __m256 times(__m256 sum) const { return _mm256_mul_ps(sum, mxint8_scales(exponents)); }
};

template <Layout L, int W>
__attribute__((noinline)) void tokens_f32(const std::uint8_t* group, std::int64_t all_columns, const float* const* x,
                                          std::int64_t token, int half, const Destination& to) {
  __m256 partial[W][4];
#pragma GCC unroll 2
  for (int t = 0; t < W; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) partial[t][i] = _mm256_setzero_ps();
  Unit<L> unit(group, half);
  for (std::int64_t column = 0; column < all_columns; column += kBlock) {
    const std::int64_t columns = std::min(kBlock, all_columns - column);
    const Floats<L> weights(group, all_columns, column / kBlock, half);
    if constexpr (!takes_int8(L))
      if (column > 0) unit.become(weights.packed, half, partial);
    std::int64_t c = 0;
    for (; c + 4 <= columns; c += 4)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m256 weight = weights.column(c + i);
#pragma GCC unroll 2
        for (int t = 0; t < W; ++t)
          partial[t][i] = _mm256_fmadd_ps(weight, _mm256_set1_ps(x[t][column + c + i]), partial[t][i]);
      }
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i)
      if (c + i < columns)
#pragma GCC unroll 2
        for (int t = 0; t < W; ++t)
          partial[t][i] = _mm256_fmadd_ps(weights.column(c + i), _mm256_set1_ps(x[t][column + c + i]), partial[t][i]);
  }
#pragma GCC unroll 2
  for (int t = 0; t < W; ++t)
    store(to, token + t, half,
          unit.times(_mm256_add_ps(_mm256_add_ps(partial[t][0], partial[t][1]),
                                   _mm256_add_ps(partial[t][2], partial[t][3]))));
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

}  // namespace

void matmul_f32_avx2(const Matrix& w, const float* x, std::int64_t x_stride, const std::int32_t* from_rows, float* out,
                     std::int64_t stride, const Piece& piece, const Epilogue& e) {
  with_layout(w.layout, [&](auto layout) {
    matmul_f32_layout<layout>(w, x, x_stride, from_rows, out, stride, piece, e);
  });
}

}  // namespace ouvert

#endif
