// Packed weights as floats in standard C++.

#pragma once

#include <algorithm>

#include "linear_layout.h"

namespace ouvert {
namespace {

// Weights of rows row_begin .. row_end - 1 of a group and up to 32 columns of a block, as floats [column][row]. Without
// `scaled`, MXINT8's are its codes.
inline void decode(Layout layout, const std::uint8_t* group, std::int64_t all_columns, std::int64_t block,
                   int row_begin, int row_end, float (*out)[kRowGroup], bool scaled = true) {
  const auto [place, within, codes] = block_at(layout, group, all_columns, block);
  Scales scales;
  if (takes_int8(layout)) unpack_scales(layout, place, within, row_begin, row_end, scales);
  const int columns = static_cast<int>(std::min(kBlock, all_columns - block * kBlock));
  for (int column = 0; column < columns; ++column)
    for (int row = row_begin; row < row_end; ++row) {
      float& weight = out[column][row];
      const int n = column * static_cast<int>(kRowGroup) + row;
      if (layout == Layout::F32) {
        weight = load<float>(codes + 4 * n);
      } else if (layout == Layout::F16) {
        weight = half_to_float(load<std::uint16_t>(codes + 2 * n));
      } else if (layout == Layout::BF16) {
        weight = std::bit_cast<float>(static_cast<std::uint32_t>(load<std::uint16_t>(codes + 2 * n)) << 16);
      } else if (layout == Layout::MXINT8) {
        const float scale = scaled ? mxint8_scale(codes[row]) : 1.0f;
        weight = static_cast<float>(static_cast<std::int8_t>(codes[kMxint8Scales + n])) * scale;
      } else {
        const int code = code_at(layout, codes, column / 4 * 64 + row * 4 + column % 4) - code_offset(layout);
        float scale = scales.scale[row];
        if (layout == Layout::Q6_K) scale *= static_cast<float>(scales.sub[column / 16][row]);
        weight = static_cast<float>(code) * scale;
        if (has_minimum(layout)) weight += scales.minimum[row];
      }
    }
}

}  // namespace
}  // namespace ouvert
