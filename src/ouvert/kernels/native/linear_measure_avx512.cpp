#if defined(__x86_64__)

#pragma GCC diagnostic ignored "-Wuninitialized"  // g++ 12 warns of its own intrinsics

#include <immintrin.h>

#include "linear_measure.h"

namespace ouvert {

int integer_peak_avx512() {
  volatile char start = 3;
  const __m512i a = _mm512_set1_epi8(start), b = _mm512_set1_epi8(start);
  __m512i sums[16];
  for (int i = 0; i < 16; ++i) sums[i] = _mm512_set1_epi32(i);  // equal sums would be computed once
  for (int n = 0; n < static_cast<int>(kPeakProducts) / 1024; ++n)
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
  __m512i all = a;
  for (const auto& sum : sums) all = _mm512_xor_si512(all, sum);
  return _mm512_reduce_add_epi32(all);
}

}  // namespace ouvert

#endif
