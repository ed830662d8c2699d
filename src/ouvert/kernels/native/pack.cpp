// Packing: every encoded block is taken apart into codes and scales, which are put where the layout has them.

#include "pack.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "linear_layout.h"
#include "rounding.h"

namespace ouvert {
namespace {

std::uint16_t float_to_bfloat(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <typename T>
void put(std::uint8_t* to, T value) {
  std::memcpy(to, &value, sizeof(T));
}

// ---- codes ------------------------------------------------------------------------------------------------------

// Puts the unsigned codes of 32 columns into the block of a group, whose bytes were zero.
void put_codes(Layout layout, const std::uint8_t* codes, int row, std::uint8_t* block) {
  if (layout == Layout::Q8_0) {
    for (int j = 0; j < 8; ++j) std::memcpy(block + 64 * j + 4 * row, codes + 4 * j, 4);
    return;
  }
  for (int p = 0; p < 4; ++p)
    for (int i = 0; i < 4; ++i)
      block[64 * p + 4 * row + i] =
          static_cast<std::uint8_t>((codes[4 * p + i] & 15) | (codes[16 + 4 * p + i] & 15) << 4);
  std::uint8_t* high = block + 256;
  if (layout == Layout::Q5_1 || layout == Layout::Q5_K)
    for (int column = 0; column < 32; ++column)
      high[column / 4 * 8 + row / 2] |= static_cast<std::uint8_t>(codes[column] >> 4 << (row % 2 * 4 + column % 4));
  if (layout == Layout::Q6_K)
    for (int j = 0; j < 8; ++j)
      for (int i = 0; i < 4; ++i)
        high[j / 4 * 64 + 4 * row + i] |= static_cast<std::uint8_t>(codes[4 * j + i] >> 4 << 2 * (j % 4));
}

// Sixteen bytes that hold columns i and i + 16 in their halves, as GGUF's blocks of 32 do: they only change places.
void put_nibbles(const std::uint8_t* nibbles, int row, std::uint8_t* block) {
  for (int p = 0; p < 4; ++p) std::memcpy(block + 64 * p + 4 * row, nibbles + 4 * p, 4);
}

void split_nibbles(const std::uint8_t* nibbles, std::uint8_t* codes) {
  for (int i = 0; i < 16; ++i) codes[i] = nibbles[i] & 15;
  for (int i = 0; i < 16; ++i) codes[16 + i] = nibbles[i] >> 4;
}

void add_fifth_bits(std::uint32_t bits, std::uint8_t* codes) {
  for (int i = 0; i < 32; ++i) codes[i] |= static_cast<std::uint8_t>((bits >> i & 1) << 4);
}

// ---- one encoded block of a row ---------------------------------------------------------------------------------

// Where a row is packed.
struct Place {
  Layout layout;
  int row;
  std::uint8_t* group;
  std::int64_t columns;

  Block<std::uint8_t> block(std::int64_t n) const { return block_at(layout, group, columns, n); }
  std::uint8_t* scales_of(std::int64_t n) const {  // layouts with scales per 32 columns
    const Block<std::uint8_t> at = block(n);
    return at.scales + at.within * geometry(layout).scales;
  }
  std::uint8_t* codes_of(std::int64_t n) const { return block(n).codes; }
};

// ---- encodings with blocks of 32 columns ------------------------------------------------------------------------

// Q4_0, IQ4_NL: a scale, 16 bytes.
void pack_nibbles(const std::uint8_t* from, std::int64_t block, const Place& to, Loss&) {
  std::memcpy(to.scales_of(block) + 2 * to.row, from, 2);
  put_nibbles(from + 2, to.row, to.codes_of(block));
}

void pack_q4_1(const std::uint8_t* from, std::int64_t block, const Place& to, Loss&) {
  std::uint8_t* scales = to.scales_of(block);
  std::memcpy(scales + 2 * to.row, from, 2);
  std::memcpy(scales + 32 + 2 * to.row, from + 2, 2);
  put_nibbles(from + 4, to.row, to.codes_of(block));
}

void pack_q5_0(const std::uint8_t* from, std::int64_t block, const Place& to, Loss& loss) {
  // (code - 16) * scale = code * scale + minimum
  const float minimum = -16.0f * half_to_float(load<std::uint16_t>(from));
  const std::uint16_t half = half_of(minimum).bits;
  if (half_to_float(half) != minimum) ++loss.refused;
  std::uint8_t* scales = to.scales_of(block);
  std::memcpy(scales + 2 * to.row, from, 2);
  put(scales + 32 + 2 * to.row, half);
  std::uint8_t codes[32];
  split_nibbles(from + 6, codes);
  add_fifth_bits(load<std::uint32_t>(from + 2), codes);
  put_codes(to.layout, codes, to.row, to.codes_of(block));
}

void pack_q5_1(const std::uint8_t* from, std::int64_t block, const Place& to, Loss&) {
  std::uint8_t* scales = to.scales_of(block);
  std::memcpy(scales + 2 * to.row, from, 2);
  std::memcpy(scales + 32 + 2 * to.row, from + 2, 2);
  std::uint8_t codes[32];
  split_nibbles(from + 8, codes);
  add_fifth_bits(load<std::uint32_t>(from + 4), codes);
  put_codes(to.layout, codes, to.row, to.codes_of(block));
}

void pack_q8_0(const std::uint8_t* from, std::int64_t block, const Place& to, Loss&) {
  std::memcpy(to.scales_of(block) + 2 * to.row, from, 2);
  std::uint8_t codes[32];
  for (int i = 0; i < 32; ++i) codes[i] = from[2 + i] ^ 0x80;
  put_codes(to.layout, codes, to.row, to.codes_of(block));
}

void pack_mxfp4(const std::uint8_t* from, std::int64_t block, const Place& to, Loss&) {
  to.scales_of(block)[to.row] = from[0];
  put_nibbles(from + 1, to.row, to.codes_of(block));
}

// ---- encodings with blocks of 256 columns -----------------------------------------------------------------------

void put_half_scale(const std::uint8_t* half, int row, std::uint8_t* scales) { std::memcpy(scales + 2 * row, half, 2); }

// Twelve bytes with eight 6-bit scales and eight 6-bit minima (Q4_K, Q5_K), into 4 + 4 and 2 + 2 bits.
void put_six_bit_scales(const std::uint8_t* from, int row, std::uint8_t* scales) {
  std::uint32_t high = 0;
  for (int n = 0; n < 8; ++n) {
    const int m = n % 4;
    const std::uint32_t s = n < 4 ? from[m] & 63u : (from[8 + m] & 15u) | static_cast<std::uint32_t>(from[m] >> 6) << 4;
    const std::uint32_t t = n < 4 ? from[4 + m] & 63u
                                  : static_cast<std::uint32_t>(from[8 + m] >> 4 | from[4 + m] >> 6 << 4);
    scales[64 + 16 * n + row] = static_cast<std::uint8_t>((s & 15) | (t & 15) << 4);
    high |= (s >> 4 | t >> 4 << 2) << 4 * n;
  }
  put(scales + 192 + 4 * row, high);
}

void put_256_codes(const std::uint8_t* codes, std::int64_t block, const Place& to) {
  for (int n = 0; n < 8; ++n) put_codes(to.layout, codes + 32 * n, to.row, to.codes_of(8 * block + n));
}

// Q4_K and Q5_K, which has 32 bytes of fifth bits before the others.
template <bool kFifth>
void pack_q45_k(const std::uint8_t* from, std::int64_t block, const Place& to, Loss&) {
  std::uint8_t* scales = to.block(8 * block).scales;
  put_half_scale(from, to.row, scales);
  put_half_scale(from + 2, to.row, scales + 32);
  put_six_bit_scales(from + 4, to.row, scales);
  const std::uint8_t* low = from + (kFifth ? 48 : 16);
  std::uint8_t codes[256];
  for (int n = 0; n < 8; ++n)
    for (int i = 0; i < 32; ++i) {
      const int code = low[n / 2 * 32 + i] >> n % 2 * 4 & 15;
      codes[32 * n + i] = static_cast<std::uint8_t>(code | (kFifth ? (from[16 + i] >> n & 1) << 4 : 0));
    }
  put_256_codes(codes, block, to);
}

void pack_q6_k(const std::uint8_t* from, std::int64_t block, const Place& to, Loss&) {
  std::uint8_t* scales = to.block(8 * block).scales;
  put_half_scale(from + 208, to.row, scales);
  for (int n = 0; n < 16; ++n) scales[32 + 16 * n + to.row] = from[192 + n];
  std::uint8_t codes[256];
  for (int half = 0; half < 2; ++half)
    for (int n = 0; n < 4; ++n)
      for (int i = 0; i < 32; ++i) {
        const int low = from[64 * half + 32 * (n % 2) + i] >> n / 2 * 4 & 15;
        const int high = from[128 + 32 * half + i] >> 2 * n & 3;
        codes[128 * half + 32 * n + i] = static_cast<std::uint8_t>(low | high << 4);
      }
  put_256_codes(codes, block, to);
}

// (s - 32) * (code - 4) is also a Q6_K block: its scale s - 32, its code 28 + code.
void pack_q3_k(const std::uint8_t* from, std::int64_t block, const Place& to, Loss&) {
  std::uint8_t* scales = to.block(8 * block).scales;
  put_half_scale(from + 108, to.row, scales);
  const std::uint8_t* packed = from + 96;
  for (int n = 0; n < 16; ++n) {
    const int low = packed[n % 8] >> n / 8 * 4 & 15, high = packed[8 + n % 4] >> n / 4 * 2 & 3;
    scales[32 + 16 * n + to.row] = static_cast<std::uint8_t>((low | high << 4) - 32);
  }
  std::uint8_t codes[256];
  for (int half = 0; half < 2; ++half)
    for (int n = 0; n < 4; ++n)
      for (int i = 0; i < 32; ++i) {
        const int low = from[32 + 32 * half + i] >> 2 * n & 3, high = from[i] >> (4 * half + n) & 1;
        codes[128 * half + 32 * n + i] = static_cast<std::uint8_t>((low | high << 2) + 28);
      }
  put_256_codes(codes, block, to);
}

// ---- floats -----------------------------------------------------------------------------------------------------

void decode_q2_k(const std::uint8_t* from, float* out) {
  const float d = half_to_float(load<std::uint16_t>(from + 80)), dmin = half_to_float(load<std::uint16_t>(from + 82));
  for (int i = 0; i < 256; ++i) {
    const int code = from[16 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3, scale = from[i / 16];
    out[i] = d * static_cast<float>(scale & 15) * static_cast<float>(code) - dmin * static_cast<float>(scale >> 4);
  }
}

void read_floats(Encoding encoding, const std::uint8_t* row, std::int64_t column, std::int64_t count, float* out) {
  for (std::int64_t i = column; i < column + count; ++i)
    *out++ = encoding == Encoding::F32   ? load<float>(row + 4 * i)
             : encoding == Encoding::F16 ? half_to_float(load<std::uint16_t>(row + 2 * i))
                                         : std::bit_cast<float>(load<std::uint16_t>(row + 2 * i) << 16);
}

void add_loss(float value, float packed, Loss& loss) {
  const double error = static_cast<double>(value) - packed;
  loss.squared_error += error * error;
  loss.squares += static_cast<double>(value) * value;
}

// scale = half(largest / 127), code = round(value / scale).
void quantise_q8_0(const float* values, std::int64_t block, const Place& to, Loss& loss) {
  float largest = 0.0f;
  bool finite = true;
  for (int i = 0; i < 32; ++i) {
    finite = finite && std::isfinite(values[i]);
    largest = std::max(largest, std::fabs(values[i]));
  }
  const std::uint16_t half = half_of(largest / 127.0f).bits;
  const float scale = half_to_float(half);
  if (!finite || !std::isfinite(scale)) {
    ++loss.refused;
    return;
  }
  std::uint8_t codes[32];
  for (int i = 0; i < 32; ++i) {
    const float code = scale > 0.0f ? std::clamp(std::nearbyint(values[i] / scale), -127.0f, 127.0f) : 0.0f;
    codes[i] = static_cast<std::uint8_t>(static_cast<int>(code) + 128);
    add_loss(values[i], code * scale, loss);
  }
  put(to.scales_of(block) + 2 * to.row, half);
  put_codes(to.layout, codes, to.row, to.codes_of(block));
}

// Floats, and Q2_K's, rounded to Q8_0.
void pack_as_q8_0(const Source& source, const std::uint8_t* row, const Place& to, Loss& loss) {
  float values[256];
  const bool q2_k = source.encoding == Encoding::Q2_K;
  const std::int64_t step = q2_k ? 256 : 32;
  for (std::int64_t column = 0; column < source.columns; column += step) {
    if (q2_k) {
      decode_q2_k(row + encoded_row_bytes(Encoding::Q2_K, column), values);
    } else {
      read_floats(source.encoding, row, column, step, values);
    }
    for (std::int64_t i = 0; i < step; i += 32) quantise_q8_0(values + i, (column + i) / 32, to, loss);
  }
}

void put_float(Layout layout, float value, std::uint8_t* at, Loss& loss) {
  if (layout == Layout::F32) return put(at, value);
  if (layout == Layout::F16) {
    const std::uint16_t half = half_of(value).bits;
    if (std::isfinite(value) && !std::isfinite(half_to_float(half))) ++loss.refused;
    put(at, half);
    return add_loss(value, half_to_float(half), loss);
  }
  const std::uint16_t bfloat = float_to_bfloat(value);
  put(at, bfloat);
  add_loss(value, std::bit_cast<float>(static_cast<std::uint32_t>(bfloat) << 16), loss);
}

// Floats as F32, F16 or BF16.
void pack_as_floats(const Source& source, const std::uint8_t* row, const Place& to, Loss& loss) {
  const std::int64_t bytes = to.layout == Layout::F32 ? 4 : 2;
  const bool same = std::string_view(name(source.encoding)) == name(to.layout);
  for (std::int64_t column = 0; column < source.columns; ++column) {
    std::uint8_t* at = to.group + (column * kRowGroup + to.row) * bytes;
    if (same) {
      std::memcpy(at, row + column * bytes, static_cast<std::size_t>(bytes));
      continue;
    }
    float value;
    read_floats(source.encoding, row, column, 1, &value);
    put_float(to.layout, value, at, loss);
  }
}

// Floats as MXINT8: codes of both signs with a power of two for up to 32 columns, to the nearest and of two to the even.
void pack_as_mxint8(const Source& source, const std::uint8_t* row, const Place& to, Loss& loss) {
  float values[kBlock];
  for (std::int64_t column = 0; column < source.columns; column += kBlock) {
    const std::int64_t count = std::min(kBlock, source.columns - column);
    read_floats(source.encoding, row, column, count, values);
    float largest = 0;
    for (std::int64_t i = 0; i < count; ++i) largest = std::isnan(values[i]) ? values[i] : std::max(largest, std::fabs(values[i]));
    if (!(largest < kMxint8Largest)) {
      ++loss.refused;
      continue;
    }
    int n = kMxint8Least;
    while (std::nearbyint(std::ldexp(largest, -n)) > 127) ++n;
    const float scale = std::ldexp(1.0f, n), inverse = std::ldexp(1.0f, -n);
    std::uint8_t* block = block_at(to.layout, to.group, source.columns, column / kBlock).codes;
    block[to.row] = static_cast<std::uint8_t>(n + 127);
    for (std::int64_t i = 0; i < count; ++i) {
      const float code = std::nearbyint(values[i] * inverse);
      block[kMxint8Scales + i * kRowGroup + to.row] = static_cast<std::uint8_t>(static_cast<std::int8_t>(code));
      add_loss(values[i], code * scale, loss);
    }
  }
}

// ---- floats rounded to fewer bits -------------------------------------------------------------------------------

// Values no larger than this have scales that a half can hold.
constexpr float kLargestRounded = 65504.0f;

// Sixteen rows of `count` columns as [column][row]; rows that do not exist are zeros. Blocks with a value that is not a
// number or too large are refused, and zeros as well.
void read_columns(const Source& source, std::int64_t first_row, std::int64_t column, std::int64_t count, float* out,
                  Loss& loss) {
  float values[kStretch];
  for (int r = 0; r < kRowGroup; ++r) {
    const bool exists = first_row + r < source.rows;
    if (exists) {
      const std::uint8_t* row =
          source.data + (first_row + r) * encoded_row_bytes(source.encoding, source.columns);
      read_floats(source.encoding, row, column, count, values);
      const bool fits = std::all_of(values, values + count, [](float x) { return std::fabs(x) <= kLargestRounded; });
      if (!fits) ++loss.refused;
      if (!fits) std::fill(values, values + count, 0.0f);
    }
    for (std::int64_t i = 0; i < count; ++i) out[i * kRowGroup + r] = exists ? values[i] : 0.0f;
  }
}

// Puts the scales of sixteen rows where a K layout has them.
void put_k_scales(Layout layout, const Rounded& from, std::uint8_t* scales) {
  for (int r = 0; r < kRowGroup; ++r) {
    put(scales + 2 * r, from.scale[0][r].bits);
    if (layout == Layout::Q6_K) {
      for (int n = 0; n < 16; ++n) scales[32 + 16 * n + r] = static_cast<std::uint8_t>(from.sub_scale[n][r]);
      continue;
    }
    put(scales + 32 + 2 * r, from.minimum[0][r].bits);
    std::uint32_t high = 0;
    for (int n = 0; n < 8; ++n) {
      const auto s = static_cast<std::uint32_t>(from.sub_scale[n][r]), t = static_cast<std::uint32_t>(from.sub_minimum[n][r]);
      scales[64 + 16 * n + r] = static_cast<std::uint8_t>((s & 15) | (t & 15) << 4);
      high |= (s >> 4 | t >> 4 << 2) << 4 * n;
    }
    put(scales + 192 + 4 * r, high);
  }
}

void put_rounded(Layout layout, const Rounded& from, std::int64_t rows, std::int64_t columns, std::int64_t column,
                 std::int64_t count, std::uint8_t* group) {
  if (geometry(layout).scales_columns == kStretch) put_k_scales(layout, from, block_at(layout, group, columns, column / kBlock).scales);
  for (std::int64_t n = 0; n < count / kBlock; ++n) {
    const Block<std::uint8_t> at = block_at(layout, group, columns, column / kBlock + n);
    std::uint8_t* scales = at.scales + at.within * geometry(layout).scales;
    for (int r = 0; r < rows; ++r) {
      std::uint8_t codes[kBlock];
      for (int i = 0; i < kBlock; ++i) codes[i] = from.codes[n * kBlock + i][r];
      put_codes(layout, codes, r, at.codes);
      if (geometry(layout).scales_columns == kStretch) continue;
      put(scales + 2 * r, from.scale[n][r].bits);
      put(scales + 32 + 2 * r, from.minimum[n][r].bits);
    }
  }
}

// Floats of a group of rows, rounded to a layout that `rounds_to` says yes to.
void pack_rounded(const Source& source, Layout layout, std::int64_t first_row, Round* round, std::uint8_t* group,
                  Loss& loss) {
  float x[kStretch * kRowGroup];
  Rounded found;
  const std::int64_t rows = std::min(kRowGroup, source.rows - first_row);
  for (std::int64_t column = 0; column < source.columns; column += kStretch) {
    const std::int64_t count = std::min(kStretch, source.columns - column);
    read_columns(source, first_row, column, count, x, loss);
    round(layout, x, count, found);
    put_rounded(layout, found, rows, source.columns, column, count, group);
    for (int r = 0; r < rows; ++r) {
      loss.squared_error += found.error[r];
      loss.squares += found.squares[r];
    }
  }
}

// ---- all encodings ----------------------------------------------------------------------------------------------

// Packs one block of a row. Null where values are read as floats.
using PackBlock = void(const std::uint8_t* from, std::int64_t block, const Place& to, Loss& loss);

struct Record {
  const char* name;
  std::int64_t columns, bytes;  // of one encoded block: ggml-common.h
  Layout layout;
  PackBlock* pack;
};

constexpr Record kRecords[] = {
    {"F32", 1, 4, Layout::F32, nullptr},
    {"F16", 1, 2, Layout::F16, nullptr},
    {"BF16", 1, 2, Layout::BF16, nullptr},
    {"Q4_0", 32, 18, Layout::Q4_0, pack_nibbles},
    {"Q4_1", 32, 20, Layout::Q4_1, pack_q4_1},
    {"Q5_0", 32, 22, Layout::Q5_1, pack_q5_0},
    {"Q5_1", 32, 24, Layout::Q5_1, pack_q5_1},
    {"Q8_0", 32, 34, Layout::Q8_0, pack_q8_0},
    {"Q2_K", 256, 84, Layout::Q8_0, nullptr},
    {"Q3_K", 256, 110, Layout::Q6_K, pack_q3_k},
    {"Q4_K", 256, 144, Layout::Q4_K, pack_q45_k<false>},
    {"Q5_K", 256, 176, Layout::Q5_K, pack_q45_k<true>},
    {"Q6_K", 256, 210, Layout::Q6_K, pack_q6_k},
    {"IQ4_NL", 32, 18, Layout::IQ4_NL, pack_nibbles},
    {"MXFP4", 32, 17, Layout::MXFP4, pack_mxfp4},
};

const Record& record(Encoding encoding) { return kRecords[static_cast<int>(encoding)]; }

}  // namespace

const char* name(Encoding encoding) { return record(encoding).name; }

std::int64_t encoded_block(Encoding encoding) { return record(encoding).columns; }

std::int64_t encoded_row_bytes(Encoding encoding, std::int64_t columns) {
  return columns / record(encoding).columns * record(encoding).bytes;
}

bool can_pack(Encoding from, Layout to) {
  const bool floats = from == Encoding::F32 || from == Encoding::F16 || from == Encoding::BF16;
  return floats ? !takes_int8(to) || to == Layout::Q8_0 || rounds_to(to) : to == record(from).layout;
}

void pack(const Source& source, Layout layout, std::int64_t group_begin, std::int64_t group_end, std::uint8_t* packed,
          InstructionSet set, Loss& loss) {
  const std::int64_t bytes = group_bytes(layout, source.columns);
  const std::int64_t row_bytes = encoded_row_bytes(source.encoding, source.columns);
  const Record& from = record(source.encoding);
  for (std::int64_t group = group_begin; group < group_end; ++group) {
    std::uint8_t* at = packed + group * bytes;
    std::memset(at, 0, static_cast<std::size_t>(bytes));
    if (from.pack == nullptr && rounds_to(layout)) {
      pack_rounded(source, layout, group * kRowGroup, rounding(set), at, loss);
      continue;
    }
    const std::int64_t rows = std::min(kRowGroup, source.rows - group * kRowGroup);
    for (int r = 0; r < rows; ++r) {
      const std::uint8_t* encoded = source.data + (group * kRowGroup + r) * row_bytes;
      const Place to{layout, r, at, source.columns};
      if (from.pack != nullptr) {
        for (std::int64_t block = 0; block < source.columns / from.columns; ++block)
          from.pack(encoded + block * from.bytes, block, to, loss);
      } else if (layout == Layout::Q8_0) {
        pack_as_q8_0(source, encoded, to, loss);
      } else if (layout == Layout::MXINT8) {
        pack_as_mxint8(source, encoded, to, loss);
      } else {
        pack_as_floats(source, encoded, to, loss);
      }
    }
  }
}

}  // namespace ouvert
