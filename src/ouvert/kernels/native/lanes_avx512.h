// Sixteen floats at a time in one AVX-512 register. Same numbers as lanes_plain.h.

#pragma once

// GCC 12 takes its own intrinsics' undefined operands for mistakes (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <cstdint>

#include "half.h"

namespace {

struct Lanes {
  static constexpr int kRows = 6;
  static constexpr int kWide = 4;  // times sixteen numbers of a head whose states fit into registers
  static constexpr int panel(int) { return 4; }

  __m512 all_lanes;

  static Lanes all(float value) { return {_mm512_set1_ps(value)}; }
  static Lanes load(const float* from) { return {_mm512_loadu_ps(from)}; }
  static Lanes load(const ouvert::Half* from) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)))};
  }
  static Lanes load(const std::int8_t* from) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))))};
  }
  static __mmask16 first(int count) {
    return static_cast<__mmask16>(count <= 0 ? 0u : count >= 16 ? 0xffffu : (1u << count) - 1u);
  }
  static Lanes load_some(const float* from, int count) { return {_mm512_maskz_loadu_ps(first(count), from)}; }
  void store(float* to) const { _mm512_storeu_ps(to, all_lanes); }
  void store(ouvert::Half* to) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph(all_lanes, _MM_FROUND_TO_NEAREST_INT));
  }
  void store(std::int8_t* to) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(all_lanes)));
  }
  void store_some(float* to, int count) const { _mm512_mask_storeu_ps(to, first(count), all_lanes); }
};

inline Lanes operator+(Lanes a, Lanes b) { return {_mm512_add_ps(a.all_lanes, b.all_lanes)}; }
inline Lanes operator-(Lanes a, Lanes b) { return {_mm512_sub_ps(a.all_lanes, b.all_lanes)}; }
inline Lanes operator*(Lanes a, Lanes b) { return {_mm512_mul_ps(a.all_lanes, b.all_lanes)}; }
inline Lanes operator/(Lanes a, Lanes b) { return {_mm512_div_ps(a.all_lanes, b.all_lanes)}; }
inline Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.all_lanes, b.all_lanes, c.all_lanes)}; }
inline Lanes larger(Lanes a, Lanes b) { return {_mm512_max_ps(a.all_lanes, b.all_lanes)}; }
inline Lanes smaller(Lanes a, Lanes b) { return {_mm512_min_ps(a.all_lanes, b.all_lanes)}; }
inline Lanes where_less(Lanes a, Lanes b, Lanes x, Lanes y) {
  return {_mm512_mask_mov_ps(y.all_lanes, _mm512_cmp_ps_mask(a.all_lanes, b.all_lanes, _CMP_LT_OQ), x.all_lanes)};
}
inline Lanes root(Lanes x) { return {_mm512_sqrt_ps(x.all_lanes)}; }
inline Lanes keep(Lanes x, int first, int last, float other) {
  const auto kept = static_cast<__mmask16>(Lanes::first(last) & ~Lanes::first(first));
  return {_mm512_mask_mov_ps(_mm512_set1_ps(other), kept, x.all_lanes)};
}
inline Lanes nearest(Lanes x) {
  return {_mm512_roundscale_ps(x.all_lanes, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Lanes power_of_two(Lanes whole) {
  const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(whole.all_lanes), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))};
}
inline __m256 halves_of(__m512 x, bool upper) {
  return upper ? _mm512_extractf32x8_ps(x, 1) : _mm512_castps512_ps256(x);
}
inline float sum(Lanes x) {
  const __m256 eight = _mm256_add_ps(halves_of(x.all_lanes, false), halves_of(x.all_lanes, true));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float largest(Lanes x) {
  const __m256 eight = _mm256_max_ps(halves_of(x.all_lanes, false), halves_of(x.all_lanes, true));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

}  // namespace
