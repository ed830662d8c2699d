// Where everything is inside a packed group of rows and inside a tile of activations: docs/formats/packed.md as
// constants and addresses. The files of every instruction set include it, so all of it has internal linkage: a function
// that was compiled for one set must not be linked into the code of another.

#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "half.h"
#include "inline.h"
#include "linear.h"

namespace ouvert {
namespace {

struct Geometry {
  std::int64_t codes;           // bytes of one block of 16 rows x 32 columns
  std::int64_t scales;          // bytes of the scales of `scales_columns` columns of 16 rows
  std::int64_t scales_columns;  // 32 or 256
};

// Of MXINT8, a block of up to 32 columns is the scales of its 16 rows, a byte n + 127 each, and [column][row] of codes.
constexpr std::int64_t kMxint8Scales = 16;
constexpr int kMxint8Least = -24;              // n of smaller numbers, as in a half
constexpr float kMxint8Largest = 0x1p46f;      // no number is: so units of sums differ by what a float holds

constexpr Geometry geometry(Layout layout) {
  switch (layout) {
    case Layout::MXFP4: return {256, 16, 32};
    case Layout::Q4_0:
    case Layout::IQ4_NL: return {256, 32, 32};
    case Layout::Q4_1: return {256, 64, 32};
    case Layout::Q5_1: return {320, 64, 32};
    case Layout::Q4_K: return {256, 256, 256};
    case Layout::Q5_K: return {320, 256, 256};
    case Layout::Q6_K: return {384, 288, 256};
    case Layout::Q8_0: return {512, 32, 32};
    case Layout::BF16:
    case Layout::F16: return {1024, 0, 1};
    case Layout::F32: return {2048, 0, 1};
    case Layout::MXINT8: return {kMxint8Scales + 512, 0, 1};
  }
  return {};
}

// f(layout), where the layout is a constant.
template <typename F>
inline void with_layout(Layout layout, F f) {
  switch (layout) {
    case Layout::MXFP4: return f(std::integral_constant<Layout, Layout::MXFP4>());
    case Layout::Q4_0: return f(std::integral_constant<Layout, Layout::Q4_0>());
    case Layout::IQ4_NL: return f(std::integral_constant<Layout, Layout::IQ4_NL>());
    case Layout::Q4_1: return f(std::integral_constant<Layout, Layout::Q4_1>());
    case Layout::Q5_1: return f(std::integral_constant<Layout, Layout::Q5_1>());
    case Layout::Q4_K: return f(std::integral_constant<Layout, Layout::Q4_K>());
    case Layout::Q5_K: return f(std::integral_constant<Layout, Layout::Q5_K>());
    case Layout::Q6_K: return f(std::integral_constant<Layout, Layout::Q6_K>());
    case Layout::Q8_0: return f(std::integral_constant<Layout, Layout::Q8_0>());
    case Layout::BF16: return f(std::integral_constant<Layout, Layout::BF16>());
    case Layout::F16: return f(std::integral_constant<Layout, Layout::F16>());
    case Layout::F32: return f(std::integral_constant<Layout, Layout::F32>());
    case Layout::MXINT8: return f(std::integral_constant<Layout, Layout::MXINT8>());
  }
}

// The same for layouts that takes_int8; no others are allowed.
template <typename F>
inline void with_int8_layout(Layout layout, F f) {
  with_layout(layout, [&](auto constant) {
    if constexpr (takes_int8(constant)) f(constant);
  });
}

constexpr std::int64_t up_to_64(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }

// A group is a row of stretches of 256 columns; the last may be shorter. A stretch is its scales, padded to 64 bytes,
// then its codes. So a group is read from front to back, and scales and codes begin at multiples of 64.
constexpr std::int64_t kStretch = 256;
constexpr std::int64_t kStretchBlocks = kStretch / kBlock;

OUVERT_INLINE constexpr std::int64_t stretch_scales(Layout layout, std::int64_t blocks) {
  return up_to_64(blocks * kBlock / geometry(layout).scales_columns * geometry(layout).scales);
}
constexpr std::int64_t stretch_bytes(Layout layout, std::int64_t blocks) {
  return stretch_scales(layout, blocks) + blocks * geometry(layout).codes;
}
constexpr std::int64_t group_bytes(Layout layout, std::int64_t columns) {
  if (layout == Layout::MXINT8) return kRowGroup * columns + (columns + kBlock - 1) / kBlock * kMxint8Scales;
  if (!takes_int8(layout)) return up_to_64(geometry(layout).codes * columns / kBlock);
  const std::int64_t rest = columns % kStretch / kBlock;
  return columns / kStretch * stretch_bytes(layout, kStretchBlocks) + (rest ? stretch_bytes(layout, rest) : 0);
}

// Where the parts of a block of 32 columns are: T is std::uint8_t, const or not.
template <typename T>
struct Block {
  T* scales;   // of its stretch
  int within;  // its place in the stretch
  T* codes;
};

template <typename T>
inline Block<T> block_at(Layout layout, T* group, std::int64_t columns, std::int64_t block) {
  const std::int64_t codes = geometry(layout).codes, within = block % kStretchBlocks;
  if (!takes_int8(layout)) return {nullptr, 0, group + block * codes};
  T* scales = group + block / kStretchBlocks * stretch_bytes(layout, kStretchBlocks);
  const std::int64_t left = columns / kBlock - (block - within);
  const std::int64_t blocks = left < kStretchBlocks ? left : kStretchBlocks;
  return {scales, static_cast<int>(within), scales + stretch_scales(layout, blocks) + within * codes};
}

// What is subtracted from an unsigned code to get the encoded value (in units of the scale).
constexpr int code_offset(Layout layout) {
  switch (layout) {
    case Layout::MXFP4: return 12;
    case Layout::Q4_0: return 8;
    case Layout::IQ4_NL: return 127;
    case Layout::Q6_K: return 32;
    case Layout::Q8_0: return 128;
    default: return 0;
  }
}

constexpr bool has_minimum(Layout layout) {
  return layout == Layout::Q4_1 || layout == Layout::Q5_1 || layout == Layout::Q4_K || layout == Layout::Q5_K;
}

// What is subtracted from an unsigned code so that codes are of both signs.
constexpr int centre(Layout layout) {
  return has_minimum(layout) ? (layout == Layout::Q5_1 || layout == Layout::Q5_K ? 16 : 8) : code_offset(layout);
}

// Values of 4-bit codes plus code_offset. MXFP4 (OCP Microscaling 1.0, E2M1) in units of 1/2; IQ4_NL as in ggml.
alignas(16) constexpr std::uint8_t kMxfp4Values[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
alignas(16) constexpr std::uint8_t kIq4Values[16] = {0,   23,  44,  62,  78,  92,  105, 117,
                                                     128, 140, 152, 165, 180, 196, 216, 240};

// Bytes per token and block: codes, scale, two sums.
constexpr std::int64_t activation_block_bytes(std::int64_t code_bytes) { return 32 * code_bytes + 4 + 8; }

// One tile of at most kTokenTile tokens: codes [block][token][32], scales [block][token], sums [block][half][token].
template <typename Code>
struct TileOf {
  std::int64_t width;  // tokens in it
  Code* codes;
  float* scales;
  std::int32_t* sums;
};
using Tile = TileOf<std::int8_t>;

// Of int16 codes every four columns are in the order 0, 2, 1, 3: it is the order in which four codes of 8 bits become
// two pairs of 16.
constexpr int wide_place(int column) { return (column & ~3) + ((column & 1) << 1 | (column >> 1 & 1)); }

template <typename Code = std::int8_t>
inline TileOf<Code> tile_at(const Activations& x, std::int64_t tile) {
  constexpr std::int64_t kCodes = kBlock * sizeof(Code);
  const std::int64_t blocks = x.columns / kBlock, first = tile * kTokenTile;
  const std::int64_t width = x.tokens - first < kTokenTile ? x.tokens - first : kTokenTile;
  std::uint8_t* data = x.data + first * blocks * activation_block_bytes(sizeof(Code));
  return {width, reinterpret_cast<Code*>(data), reinterpret_cast<float*>(data + width * blocks * kCodes),
          reinterpret_cast<std::int32_t*>(data + width * blocks * (kCodes + 4))};
}

// The largest code: that of the largest activation of a block.
template <typename Code>
constexpr float kLargestCode = sizeof(Code) == 1 ? 127.0f : 16383.0f;

// Largest |x| below which a block of activations counts as zeros: its inverse would overflow.
constexpr float kSmallestActivation = 0x1p-100f;

inline float half_to_float(std::uint16_t bits) { return float_of(Half{bits}); }

// 2^(code - 128): half of what the E8M0 code means, because kMxfp4Values are doubled. Code 255 is 2^127 as in ggml.
inline float mxfp4_scale(std::uint8_t code) {
  return std::bit_cast<float>(code < 2 ? 0x00200000u << code : static_cast<std::uint32_t>(code - 1) << 23);
}

template <typename T>
inline T load(const std::uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// 2^n of the byte n + 127; 0 for that of a row that does not exist.
OUVERT_INLINE float mxint8_scale(std::uint8_t byte) { return std::bit_cast<float>(static_cast<std::uint32_t>(byte) << 23); }

// The unsigned 8-bit code of a packed block at place n of [column / 4][row][column % 4].
constexpr std::uint8_t code_at(Layout layout, const std::uint8_t* codes, int n) {
  if (layout == Layout::Q8_0) return codes[n];
  const std::uint8_t* high = codes + 256;
  const int low = codes[n % 256] >> n / 256 * 4 & 15;  // low halves: columns 0 to 15, high halves: columns 16 to 31
  switch (layout) {
    case Layout::MXFP4: return kMxfp4Values[low];
    case Layout::IQ4_NL: return kIq4Values[low];
    case Layout::Q5_1:
    case Layout::Q5_K: return static_cast<std::uint8_t>(low | (high[n / 8] >> n % 8 & 1) << 4);
    case Layout::Q6_K: return static_cast<std::uint8_t>(low | (high[n / 256 * 64 + n % 64] >> n / 64 % 4 * 2 & 3) << 4);
    default: return static_cast<std::uint8_t>(low);
  }
}

struct Scales {
  float scale[16];
  float minimum[16];
  std::int32_t sub[2][16];  // Q6_K: whole-number scales of both halves of the columns
};

// Scales of the block at place `within` of a stretch for rows row_begin .. row_end - 1; `scales` is the stretch's.
inline void unpack_scales(Layout layout, const std::uint8_t* scales, int within, int row_begin, int row_end,
                          Scales& out) {
  const Geometry g = geometry(layout);
  const std::uint8_t* at = g.scales_columns == kBlock ? scales + within * g.scales : scales;
  for (int row = row_begin; row < row_end; ++row) {
    out.minimum[row] = 0.0f;
    if (layout == Layout::MXFP4) {
      out.scale[row] = mxfp4_scale(at[row]);
      continue;
    }
    const float d = half_to_float(load<std::uint16_t>(at + 2 * row));
    out.scale[row] = d;
    if (layout == Layout::Q4_1 || layout == Layout::Q5_1) {
      out.minimum[row] = half_to_float(load<std::uint16_t>(at + 32 + 2 * row));
    } else if (layout == Layout::Q4_K || layout == Layout::Q5_K) {
      const float dmin = half_to_float(load<std::uint16_t>(at + 32 + 2 * row));
      const std::uint8_t low = at[64 + within * 16 + row];
      const std::uint32_t high = load<std::uint32_t>(at + 192 + 4 * row) >> 4 * within;
      out.scale[row] = d * static_cast<float>((low & 15) | (high & 3) << 4);
      out.minimum[row] = -(dmin * static_cast<float>(low >> 4 | (high >> 2 & 3) << 4));
    } else if (layout == Layout::Q6_K) {
      for (int half = 0; half < 2; ++half)
        out.sub[half][row] = static_cast<std::int8_t>(at[32 + (2 * within + half) * 16 + row]);
    }
  }
}

}  // namespace
}  // namespace ouvert
