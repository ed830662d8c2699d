// Finished sums of products with AVX2: bias, residual, and into memory.

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "linear.h"
#include "weights_avx2.h"

namespace ouvert {
namespace {

// Where the sums of a group of rows go.
struct Destination {
  float* out;
  std::int64_t stride;
  const Epilogue* epilogue;
  std::int64_t first_row;
  std::int64_t rows;  // from there to the matrix's end

  Destination group(std::int64_t n) const {  // the n-th group after this one
    return {out, stride, epilogue, first_row + n * kRowGroup, rows - n * kRowGroup};
  }
};

// Stores 8 rows of one token.
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

}  // namespace
}  // namespace ouvert
