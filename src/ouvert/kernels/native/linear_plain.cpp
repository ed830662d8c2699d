// The products in standard C++: the other instruction sets must give the same bits. Used where there is no other.

#include <algorithm>
#include <cmath>

#include "decode_plain.h"
#include "linear_layout.h"
#include "linear_sets.h"

namespace ouvert {
namespace {

template <typename Code>
constexpr int place_of(int column) {
  return sizeof(Code) == 1 ? column : wide_place(column);
}

template <typename Code>
void quantise_block(const float* from, const Activations& to, std::int64_t token, std::int64_t block) {
  constexpr float kLargest = kLargestCode<Code>;
  const TileOf<Code> tile = tile_at<Code>(to, token / kTokenTile);
  const std::int64_t at = block * tile.width + token % kTokenTile;
  std::uint32_t largest_bits = 0;  // compared as integers, infinities and NaN are the largest
  for (int i = 0; i < kBlock; ++i)
    largest_bits = std::max(largest_bits, std::bit_cast<std::uint32_t>(from[i]) & 0x7fffffffu);
  const float largest = std::bit_cast<float>(largest_bits);
  const bool finite = largest_bits < 0x7f800000u, zero = !finite || largest < kSmallestActivation;
  const float inverse = zero ? 0.0f : kLargest / largest;
  const float scale = !finite ? std::nanf("") : zero ? 0.0f : largest / kLargest;
  Code* codes = tile.codes + at * kBlock;
  std::int32_t sums[2] = {0, 0};
  for (int i = 0; i < kBlock; ++i) {
    const auto code = zero ? Code{0} : static_cast<Code>(std::nearbyint(from[i] * inverse));
    codes[place_of<Code>(i)] = code;
    sums[i / 16] += code;
  }
  tile.scales[at] = scale;
  tile.sums[(block * 2 + 0) * tile.width + token % kTokenTile] = sums[0];
  tile.sums[(block * 2 + 1) * tile.width + token % kTokenTile] = sums[1];
}

void quantise(const float* x, std::int64_t stride, const std::int32_t* from_rows, const Activations& to,
              std::int64_t token_begin, std::int64_t token_end) {
  for (std::int64_t token = token_begin; token < token_end; ++token) {
    const float* from = x + (from_rows ? from_rows[token] : token) * stride;
    for (std::int64_t block = 0; block < to.columns / kBlock; ++block)
      quantise_block<std::int8_t>(from + block * kBlock, to, token, block);
  }
}

void quantise_wide(const float* x, std::int64_t stride, const Activations& to, std::int64_t token_begin,
                   std::int64_t token_end) {
  for (std::int64_t token = token_begin; token < token_end; ++token)
    for (std::int64_t block = 0; block < to.columns / kBlock; ++block)
      quantise_block<std::int16_t>(x + token * stride + block * kBlock, to, token, block);
}

void store(const float* sums, std::int64_t rows, std::int64_t first_row, std::int64_t token, float* out,
           std::int64_t stride, const Epilogue& epilogue) {
  float* to = out + (epilogue.out_rows ? epilogue.out_rows[token] : token) * stride + first_row;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float value = epilogue.bias ? sums[row] + epilogue.bias[first_row + row] : sums[row];
    to[row] = epilogue.accumulate ? to[row] + value : value;
  }
}

// Codes of a block less their offset, as [column][row].
using Values = std::int16_t[kBlock][kRowGroup];

template <Layout L>
void unpack_as(const std::uint8_t* codes, Values& out) {
  for (int j = 0; j < 8; ++j)
    for (int row = 0; row < kRowGroup; ++row)
      for (int i = 0; i < 4; ++i)
        out[4 * j + i][row] = static_cast<std::int16_t>(code_at(L, codes, 64 * j + 4 * row + i) - code_offset(L));
}

void unpack(Layout layout, const std::uint8_t* codes, Values& out) {
  with_int8_layout(layout, [&](auto constant) { unpack_as<constant>(codes, out); });
}

// Adds a block of weights times token t of a tile to the sums.
template <typename Code>
void add_block(Layout layout, const Values& values, const Scales& scales, const TileOf<Code>& tile, std::int64_t block,
               std::int64_t t, float (&sums)[kRowGroup]) {
  const std::int64_t at = block * tile.width + t;
  const Code* activation = tile.codes + at * kBlock;
  const std::int32_t* halves = tile.sums + 2 * block * tile.width + t;
  const float scale = tile.scales[at];
  const float scaled_sum = scale * static_cast<float>(halves[0] + halves[tile.width]);
  std::int32_t dots[2][kRowGroup] = {};
  for (int column = 0; column < kBlock; ++column)
    for (int row = 0; row < kRowGroup; ++row)
      dots[column / 16][row] += values[column][row] * activation[place_of<Code>(column)];
  for (int row = 0; row < kRowGroup; ++row) {
    const std::int32_t dot = layout == Layout::Q6_K
                                 ? scales.sub[0][row] * dots[0][row] + scales.sub[1][row] * dots[1][row]
                                 : dots[0][row] + dots[1][row];
    sums[row] = std::fma(static_cast<float>(dot), scales.scale[row] * scale, sums[row]);
    if (has_minimum(layout)) sums[row] = std::fma(scales.minimum[row], scaled_sum, sums[row]);
  }
}

template <typename Code>
void multiply(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
              const Epilogue& epilogue) {
  const Layout layout = weights.layout;
  Values values;
  Scales scales;
  for (std::int64_t first_row = piece.row_begin; first_row < piece.row_end; first_row += kRowGroup) {
    const std::uint8_t* group = weights.data + first_row / kRowGroup * group_bytes(layout, weights.columns);
    const std::int64_t rows = std::min(kRowGroup, weights.rows - first_row);
    for (std::int64_t begin = piece.token_begin; begin < piece.token_end;) {
      const TileOf<Code> tile = tile_at<Code>(x, begin / kTokenTile);
      const std::int64_t t0 = begin % kTokenTile, width = std::min(tile.width - t0, piece.token_end - begin);
      float sums[kTokenTile][kRowGroup] = {};
      for (std::int64_t block = 0; block < weights.columns / kBlock; ++block) {
        const Block place = block_at(layout, group, weights.columns, block);
        unpack(layout, place.codes, values);
        unpack_scales(layout, place.scales, place.within, 0, kRowGroup, scales);
        for (std::int64_t t = 0; t < width; ++t) add_block(layout, values, scales, tile, block, t0 + t, sums[t]);
      }
      for (std::int64_t t = 0; t < width; ++t) store(sums[t], rows, first_row, begin + t, out, stride, epilogue);
      begin += width;
    }
  }
}

// The scales that sums of MXINT8 are counted in; of other layouts they are 1.
class Unit {
 public:
  Unit(Layout layout, const std::uint8_t* group) : block_(layout == Layout::MXINT8 ? group : nullptr) {}

  // Those of another block, for sums so far.
  void become(const std::uint8_t* block, float (*partial)[4][kRowGroup], std::int64_t width) {
    if (block_ == nullptr) return;
    for (int row = 0; row < kRowGroup; ++row) {
      const float ratio = mxint8_scale(static_cast<std::uint8_t>(block_[row] - block[row] + 127));
      for (std::int64_t t = 0; t < width; ++t)
        for (int i = 0; i < 4; ++i) partial[t][i][row] *= ratio;
    }
    block_ = block;
  }
  float of(int row) const { return block_ == nullptr ? 1.0f : mxint8_scale(block_[row]); }

 private:
  const std::uint8_t* block_;
};

void matmul_f32(const Matrix& weights, const float* x, std::int64_t x_stride, const std::int32_t* from_rows,
                float* out, std::int64_t stride, const Piece& piece, const Epilogue& epilogue) {
  float block_weights[kBlock][kRowGroup];
  for (std::int64_t first_row = piece.row_begin; first_row < piece.row_end; first_row += kRowGroup) {
    const std::uint8_t* group = weights.data + first_row / kRowGroup * group_bytes(weights.layout, weights.columns);
    const std::int64_t rows = std::min(kRowGroup, weights.rows - first_row);
    for (std::int64_t begin = piece.token_begin; begin < piece.token_end; begin += kTokenTile) {
      const std::int64_t width = std::min(kTokenTile, piece.token_end - begin);
      float partial[kTokenTile][4][kRowGroup] = {};
      Unit unit(weights.layout, group);
      for (std::int64_t column = 0; column < weights.columns; column += kBlock) {
        const std::int64_t columns = std::min(kBlock, weights.columns - column);
        decode(weights.layout, group, weights.columns, column / kBlock, 0, kRowGroup, block_weights, false);
        if (column > 0) unit.become(block_at(weights.layout, group, weights.columns, column / kBlock).codes, partial, width);
        for (std::int64_t t = 0; t < width; ++t) {
          const float* from = x + (from_rows ? from_rows[begin + t] : begin + t) * x_stride + column;
          for (std::int64_t c = 0; c < columns; ++c)
            for (int row = 0; row < kRowGroup; ++row)
              partial[t][c % 4][row] = std::fma(block_weights[c][row], from[c], partial[t][c % 4][row]);
        }
      }
      for (std::int64_t t = 0; t < width; ++t) {
        float sums[kRowGroup];
        for (int row = 0; row < kRowGroup; ++row)
          sums[row] =
              ((partial[t][0][row] + partial[t][1][row]) + (partial[t][2][row] + partial[t][3][row])) * unit.of(row);
        store(sums, rows, first_row, begin + t, out, stride, epilogue);
      }
    }
  }
}

}  // namespace

const LinearKernels kLinearPlain = {quantise, quantise_wide, multiply<std::int8_t>, multiply<std::int16_t>, matmul_f32};

void dequantise_rows(const Matrix& weights, const std::int32_t* rows, std::int64_t count, float* out,
                     std::int64_t stride) {
  const std::int64_t blocks = (weights.columns + kBlock - 1) / kBlock;
  float values[kBlock][kRowGroup];
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint8_t* group = weights.data + rows[i] / kRowGroup * group_bytes(weights.layout, weights.columns);
    const int row = static_cast<int>(rows[i] % kRowGroup);
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t columns = std::min(kBlock, weights.columns - block * kBlock);
      decode(weights.layout, group, weights.columns, block, row, row + 1, values);
      for (std::int64_t c = 0; c < columns; ++c) out[i * stride + block * kBlock + c] = values[c][row];
    }
  }
}

}  // namespace ouvert
