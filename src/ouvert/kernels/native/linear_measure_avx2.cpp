#if defined(__x86_64__)

#include <immintrin.h>

#include "linear_measure.h"

namespace ouvert {

// Products are added up in 16 bits and never widened: more than any real product can do.
int integer_peak_avx2() {
  volatile char start = 3;
  __m256i a = _mm256_set1_epi8(start);
  const __m256i b = a;
  __m256i sums[8];
  for (int i = 0; i < 8; ++i) sums[i] = _mm256_set1_epi16(static_cast<short>(i));
  for (int n = 0; n < static_cast<int>(kPeakProducts) / 256; ++n)
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      asm volatile("" : "+x"(a));  // otherwise the product would be computed once
      sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(a, b));
    }
  __m256i all = a;
  for (const auto& sum : sums) all = _mm256_xor_si256(all, sum);
  return _mm256_extract_epi32(all, 0) ^ _mm256_extract_epi32(all, 5);
}

}  // namespace ouvert

#endif
