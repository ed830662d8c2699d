// IEEE 754 binary16 as the caches hold it, converted without special instructions. The AVX files use F16C, which
// gives the same bits.

#pragma once

#include <bit>
#include <cstdint>

namespace ouvert {

struct Half {
  std::uint16_t bits;
};

// Exact.
static inline float float_of(Half half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half.bits & 0x8000u) << 16;
  const std::uint32_t magnitude = half.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  if (magnitude >= 0x400u) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
  const float tiny = static_cast<float>(magnitude) * 0x1p-24f;
  return (sign != 0) ? -tiny : tiny;
}

// Rounds to nearest, ties to even; too large becomes infinite.
static inline Half half_of(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  std::uint32_t out;
  if (magnitude > 0x7f800000u) {
    out = 0x7e00u | (magnitude >> 13 & 0x3ffu);  // not a number
  } else if (magnitude >= 0x477ff000u) {
    out = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {
    out = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  } else {
    // Subnormal: adding one half puts the unit of the half's last place at the unit of the float's last place.
    out = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  }
  return Half{static_cast<std::uint16_t>(sign | out)};
}

}  // namespace ouvert
