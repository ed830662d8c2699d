// Sixteen floats at a time in standard C++. lanes_avx2.h and lanes_avx512.h compute the same bits.
//
// Every operation rounds once per lane; `fma` is fused; sums over lanes join halves (8 + 8, 4 + 4, 2 + 2, 1 + 1).

#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "half.h"

namespace {

struct Lanes {
  static constexpr int kRows = 2;                // rows that a product computes at a time
  static constexpr int kWide = 1;  // times sixteen numbers of a head whose states fit into registers
  static constexpr int panel(int) { return 1; }  // vectors that a product of so many rows computes side by side

  float lane[16];

  static Lanes all(float value) {
    Lanes out;
    for (float& each : out.lane) each = value;
    return out;
  }
  static Lanes load(const float* from) {
    Lanes out;
    for (int i = 0; i < 16; ++i) out.lane[i] = from[i];
    return out;
  }
  static Lanes load(const ouvert::Half* from) {
    Lanes out;
    for (int i = 0; i < 16; ++i) out.lane[i] = ouvert::float_of(from[i]);
    return out;
  }
  static Lanes load(const std::int8_t* from) {
    Lanes out;
    for (int i = 0; i < 16; ++i) out.lane[i] = static_cast<float>(from[i]);
    return out;
  }
  // The first `count` of sixteen; the rest is zero and not read.
  static Lanes load_some(const float* from, int count) {
    Lanes out = all(0.0f);
    for (int i = 0; i < count; ++i) out.lane[i] = from[i];
    return out;
  }
  void store(float* to) const {
    for (int i = 0; i < 16; ++i) to[i] = lane[i];
  }
  void store(ouvert::Half* to) const {
    for (int i = 0; i < 16; ++i) to[i] = ouvert::half_of(lane[i]);
  }
  // Of whole numbers from -128 to 127.
  void store(std::int8_t* to) const {
    for (int i = 0; i < 16; ++i) to[i] = static_cast<std::int8_t>(lane[i]);
  }
  void store_some(float* to, int count) const {
    for (int i = 0; i < count; ++i) to[i] = lane[i];
  }
};

template <typename F>
inline Lanes each_lane(F f) {
  Lanes out;
  for (int i = 0; i < 16; ++i) out.lane[i] = f(i);
  return out;
}

inline Lanes operator+(Lanes a, Lanes b) {
  return each_lane([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline Lanes operator-(Lanes a, Lanes b) {
  return each_lane([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline Lanes operator*(Lanes a, Lanes b) {
  return each_lane([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline Lanes operator/(Lanes a, Lanes b) {
  return each_lane([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline Lanes fma(Lanes a, Lanes b, Lanes c) {
  return each_lane([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
// The second if either is NaN, as on x86.
inline Lanes larger(Lanes a, Lanes b) {
  return each_lane([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline Lanes smaller(Lanes a, Lanes b) {
  return each_lane([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
// x where a < b, else y; so y if either is NaN.
inline Lanes where_less(Lanes a, Lanes b, Lanes x, Lanes y) {
  return each_lane([&](int i) { return a.lane[i] < b.lane[i] ? x.lane[i] : y.lane[i]; });
}
inline Lanes root(Lanes x) {
  return each_lane([&](int i) { return std::sqrt(x.lane[i]); });
}
// Lanes first .. last - 1 of x, the others `other`.
inline Lanes keep(Lanes x, int first, int last, float other) {
  return each_lane([&](int i) { return i >= first && i < last ? x.lane[i] : other; });
}
// To the nearest whole number, ties to even.
inline Lanes nearest(Lanes x) {
  return each_lane([&](int i) { return std::nearbyint(x.lane[i]); });
}
// 2 to the power of whole numbers from -127 (which gives 0) to 128.
inline Lanes power_of_two(Lanes whole) {
  return each_lane([&](int i) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(static_cast<std::int32_t>(whole.lane[i]) + 127) << 23);
  });
}
inline float sum(Lanes x) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) x.lane[i] += x.lane[i + half];
  return x.lane[0];
}
inline float largest(Lanes x) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) x.lane[i] = x.lane[i] > x.lane[i + half] ? x.lane[i] : x.lane[i + half];
  return x.lane[0];
}

}  // namespace
