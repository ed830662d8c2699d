// transposed.h for one instruction set, over the Lanes of lanes_*.h and the Words of words_*.h, which the including file
// has chosen. Lanes are tokens: an unpacked panel of weights is broadcast, number by number, to those of a few strips.

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "linear_layout.h"
#include "transposed.h"

namespace ouvert {
namespace {

constexpr int kPanelGroups = kPanelRows / kRowGroup;
constexpr std::int64_t kPanelWords = kPanelRows * kStrip;  // codes of one strip
constexpr std::int64_t kGradientBytes = kStrip * 4 + kPanelWords * 2;  // of one strip and panel
constexpr std::int64_t kPanelFloats = kPanelRows * kStrip;

// Where a strip and panel are: those of a panel follow one another.
template <typename Dy>
OUVERT_INLINE std::int64_t place_of(const Dy& dy, std::int64_t token, std::int64_t row) {
  return row / kPanelRows * ((dy.tokens + kStrip - 1) / kStrip) + token / kStrip;
}

template <int N, typename F>
OUVERT_INLINE void each_of(F f) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, I>()), ...);
  }(std::make_integer_sequence<int, N>());
}

// f(first, count) for all of begin .. end: `count`, a constant, is N as long as so many are left, then half of it, and so
// on.
template <int N, typename F>
OUVERT_INLINE void in_steps(std::int64_t begin, std::int64_t end, F f) {
  for (; begin + N <= end; begin += N) f(begin, std::integral_constant<int, N>());
  if constexpr (N > 1) in_steps<N / 2>(begin, end, f);
}

// The same for columns: of up to kColumnsTogether at a time, never so few that their sums wait for one another if it can
// be helped.
template <typename F>
OUVERT_INLINE void in_columns(std::int64_t begin, std::int64_t end, F f) {
  if constexpr (kColumnsTogether > 4)
    for (; end - begin > 8; begin += kColumnsTogether) f(begin, std::integral_constant<int, kColumnsTogether>());
  in_steps<4>(begin, end, f);
}

// ---- gradients --------------------------------------------------------------------------------------------------

// Sixteen rows of a strip, [row][token].
OUVERT_INLINE void load_strip(const float* dy, std::int64_t stride, const std::int32_t* from_rows, std::int64_t token,
                              int tokens, int rows, Lanes (&out)[16]) {
  for (int t = 0; t < 16; ++t) {
    const float* from = dy + (from_rows && t < tokens ? from_rows[token + t] : token + t) * stride;
    out[t] = t >= tokens ? Lanes::all(0.0f) : rows == 16 ? Lanes::load(from) : Lanes::load_some(from, rows);
  }
  transpose(out);
}

void gather(const float* dy, std::int64_t stride, const std::int32_t* from_rows, const Strips& to,
            std::int64_t token_begin, std::int64_t token_end) {
  for (std::int64_t token = token_begin; token < token_end; token += kStrip)
    for (std::int64_t row = 0; row < to.rows; row += 16) {
      const int rows = static_cast<int>(std::min<std::int64_t>(16, to.rows - row));
      Lanes strip[16];
      load_strip(dy + row, stride, from_rows, token, static_cast<int>(std::min(kStrip, token_end - token)), rows,
                 strip);
      float* at = to.data + place_of(to, token, row) * kPanelFloats + row % kPanelRows * kStrip;
      for (int r = 0; r < rows; ++r) strip[r].store(at + r * kStrip);
    }
}

constexpr float kLargestWord = 32767.0f;

// The largest |x| so far, and 0, or NaN if some x is infinite or NaN.
struct Largest {
  Lanes size = Lanes::all(0.0f), fault = Lanes::all(0.0f);
  OUVERT_INLINE void add(Lanes x) {
    size = larger(larger(x, Lanes::all(0.0f) - x), size);
    fault = fma(x, Lanes::all(0.0f), fault);
  }
};

void quantise(const float* dy, std::int64_t stride, const std::int32_t* from_rows, const Gradients& to,
              std::int64_t token_begin, std::int64_t token_end) {
  const std::int64_t panels = (to.rows + kPanelRows - 1) / kPanelRows;
  for (std::int64_t token = token_begin; token < token_end; token += kStrip)
    for (std::int64_t panel = 0; panel < panels; ++panel) {
      Lanes strip[kPanelGroups][16];
      Largest largest;
      for (int g = 0; g < kPanelGroups; ++g) {
        const std::int64_t row = panel * kPanelRows + g * 16;
        const int rows = static_cast<int>(std::clamp<std::int64_t>(to.rows - row, 0, 16));
        load_strip(dy + row, stride, from_rows, token, static_cast<int>(std::min(kStrip, token_end - token)), rows,
                   strip[g]);
        for (const Lanes& x : strip[g]) largest.add(x);
      }
      const Lanes zero = Lanes::all(0.0f), least = Lanes::all(kSmallestActivation), most = Lanes::all(kLargestWord);
      const Lanes inverse = where_less(largest.size, least, zero, most / largest.size);
      const Lanes unit = where_less(largest.size, least, zero, largest.size / most) + largest.fault;
      std::uint8_t* at = to.data + place_of(to, token, panel * kPanelRows) * kGradientBytes;
      unit.store(reinterpret_cast<float*>(at));
      auto* codes = reinterpret_cast<std::int16_t*>(at + kStrip * 4);
      for (int n = 0; n < kPanelRows / 2; ++n) {
        const Lanes* pair = &strip[n / 8][2 * n % 16];
        Words::of(pair[0] * inverse, pair[1] * inverse).store(codes + 32 * n);
      }
    }
}

// ---- sums -------------------------------------------------------------------------------------------------------

// Sums of a block of columns are [strip][column][token of the strip].
constexpr std::int64_t kStripSums = kBlock * kStrip;

// They become rows of the result.
void store_sums(const float* sums, std::int64_t columns, float* out, std::int64_t stride,
                const ColumnPiece& piece, std::int64_t column, const Epilogue& epilogue) {
  for (std::int64_t token = piece.token_begin; token < piece.token_end; token += kStrip, sums += kStripSums)
    for (std::int64_t c = 0; c < columns; c += 16) {
      const int count = static_cast<int>(std::min<std::int64_t>(16, columns - c));
      Lanes values[16];
      for (int i = 0; i < 16; ++i) values[i] = Lanes::load(sums + (c + i) * kStrip);
      transpose(values);
      for (std::int64_t t = token; t < std::min(piece.token_end, token + kStrip); ++t) {
        float* to = out + (epilogue.out_rows ? epilogue.out_rows[t] : t) * stride + column + c;
        Lanes value = values[t - token];
        if (epilogue.accumulate) value = (count == 16 ? Lanes::load(to) : Lanes::load_some(to, count)) + value;
        if (count == 16)
          value.store(to);
        else
          value.store_some(to, count);
      }
    }
}

// Fetches a block of the panel that begins at `row`. Its groups are far apart in memory: nothing else would.
template <Layout L>
OUVERT_INLINE void prefetch_panel(const Matrix& weights, std::int64_t block, std::int64_t row) {
  const std::int64_t bytes = group_bytes(L, weights.columns);
  for (std::int64_t end = std::min(weights.rows, row + kPanelRows); row < end; row += kRowGroup) {
    const auto [scales, within, codes] =
        block_at(L, weights.data + row / kRowGroup * bytes, weights.columns, block);
    for (std::int64_t line = 0; line < geometry(L).codes; line += 64) __builtin_prefetch(codes + line);
    if constexpr (geometry(L).scales_columns == kStretch)
      for (std::int64_t line = 0; line < geometry(L).scales; line += 64) __builtin_prefetch(scales + line);
    else if constexpr (takes_int8(L))
      __builtin_prefetch(scales + within * geometry(L).scales);
  }
}

// f(block, first row, rows, strips, sums), which adds to sums, for every block of 32 columns of every panel of rows;
// then stores the sums. All blocks of a panel come together: they read the same gradients.
template <Layout L, typename F>
void each_panel(const Matrix& weights, float* out, std::int64_t stride, const ColumnPiece& piece,
                const Epilogue& epilogue, float* scratch, F f) {
  const std::int64_t strips = (piece.token_end - piece.token_begin + kStrip - 1) / kStrip;
  const auto sums = [&](std::int64_t column) { return scratch + (column - piece.column_begin) * strips * kStrip; };
  for (std::int64_t row = 0; row < weights.rows; row += kPanelRows) {
    const int rows = static_cast<int>(std::min(kPanelRows, weights.rows - row));
    for (std::int64_t column = piece.column_begin; column < piece.column_end; column += kBlock) {
      f(column / kBlock, row, rows, strips, sums(column));
      prefetch_panel<L>(weights, column / kBlock, row + kPanelRows);
    }
  }
  for (std::int64_t column = piece.column_begin; column < piece.column_end; column += kBlock)
    store_sums(sums(column), std::min(kBlock, piece.column_end - column), out, stride, piece, column, epilogue);
}

// ---- floats -----------------------------------------------------------------------------------------------------

// S strips of tokens, C columns and `rows` rows of a panel: `strips` are kStrip * all rows apart. Weights are
// [row / 16][column][row % 16].
template <int S, int C>
__attribute__((noinline)) void add_floats(const float* strips, const float* weights, int rows,
                                          float* sums, bool first) {
  Lanes parts[C][S];
  each_of<C * S>([&](auto n) __attribute__((always_inline)) { parts[n / S][n % S] = Lanes::all(0.0f); });
  for (int row = 0; row < rows; ++row) {
    const float* weight = weights + row / 16 * (16 * kBlock) + row % 16;
    Lanes dy[S];
    each_of<S>([&](auto s) __attribute__((always_inline)) {
      dy[s] = Lanes::load(strips + s * kPanelFloats + row * kStrip);
    });
    each_of<C>([&](auto c) __attribute__((always_inline)) {
      const Lanes w = Lanes::all(weight[16 * c]);
      each_of<S>([&](auto s) __attribute__((always_inline)) { parts[c][s] = fma(w, dy[s], parts[c][s]); });
    });
  }
  each_of<C * S>([&](auto n) __attribute__((always_inline)) {
    constexpr int c = n / S, s = n % S;
    float* at = sums + s * kStripSums + c * kStrip;
    (first ? parts[c][s] : Lanes::load(at) + parts[c][s]).store(at);
  });
}

template <Layout L>
void multiply_f32_layout(const Matrix& weights, const Strips& dy, float* out, std::int64_t stride,
                         const ColumnPiece& piece, const Epilogue& epilogue, float* scratch) {
  const std::int64_t bytes = group_bytes(L, weights.columns);
  alignas(64) float panel[kPanelGroups][kBlock][16];
  each_panel<L>(weights, out, stride, piece, epilogue, scratch, [&](std::int64_t block, std::int64_t row, int rows,
                                                                    std::int64_t strips, float* sums) {
    const std::int64_t columns = std::min(kBlock, weights.columns - block * kBlock);
    for (int g = 0; g < kPanelGroups && g * 16 < rows; ++g)
      decode_floats<L>(weights.data + (row / kRowGroup + g) * bytes, weights.columns, block, columns, panel[g][0]);
    const float* from = dy.data + place_of(dy, piece.token_begin, row) * kPanelFloats;
    in_steps<kStripsTogether>(0, strips, [&](std::int64_t strip, auto s) {
      in_columns(0, columns, [&](std::int64_t c, auto count) {
        add_floats<s, count>(from + strip * kPanelFloats, panel[0][c], rows,
                             sums + strip * kStripSums + c * kStrip, row == 0);
      });
    });
  });
}

void multiply_f32(const Matrix& w, const Strips& dy, float* out, std::int64_t stride, const ColumnPiece& piece,
                  const Epilogue& e, float* scratch) {
  with_layout(w.layout, [&](auto layout) { multiply_f32_layout<layout>(w, dy, out, stride, piece, e, scratch); });
}

// ---- whole numbers ----------------------------------------------------------------------------------------------

// Numbers of each row of a panel in 16 bits, as shares of the largest.
struct Shares {
  alignas(64) std::int16_t words[kPanelRows];
  float factor;

  void of(const float* values) {
    Largest largest;
    for (int g = 0; g < kPanelGroups; ++g) largest.add(Lanes::load(values + 16 * g));
    const float size = ::largest(largest.size), fault = sum(largest.fault);
    const bool zero = size < kSmallestActivation || fault != 0.0f;
    factor = size * (32768.0f / kLargestWord) + fault;
    const Lanes inverse = Lanes::all(zero ? 0.0f : kLargestWord / size);
    for (int g = 0; g < kPanelGroups; ++g) store_words(Lanes::load(values + 16 * g) * inverse, words + 16 * g);
  }
};

// What a panel of a block of 32 columns holds.
struct Panel {
  alignas(64) std::int16_t codes[kPanelRows / 4][kBlock][4];  // less their centre
  Shares scales[2];                                           // Q6_K: of both halves of the columns
  Shares minimums;

  template <Layout L>
  void decode(const Matrix& weights, std::int64_t block, std::int64_t row, int rows) {
    alignas(64) float scale[2][kPanelRows] = {}, minimum[kPanelRows] = {};
    const std::int64_t bytes = group_bytes(L, weights.columns);
    for (int g = 0; g < kPanelGroups && g * 16 < rows; ++g) {
      const auto [place, within, packed] =
          block_at(L, weights.data + (row / kRowGroup + g) * bytes, weights.columns, block);
      decode_codes<L>(packed, codes[4 * g][0]);
      decode_scales<L>(place, within, scale[0] + 16 * g, scale[1] + 16 * g, minimum + 16 * g);
    }
    for (int r = rows; r % 16 != 0; ++r) scale[0][r] = scale[1][r] = minimum[r] = 0.0f;  // no rows of the matrix
    scales[0].of(scale[0]);
    if constexpr (L == Layout::Q6_K) scales[1].of(scale[1]);
    if constexpr (has_minimum(L)) minimums.of(minimum);
  }
};

// The codes of S strips times shares, [row / 2][strip][token][2]; and, where there are minimums, what they add to every
// column.
template <bool kMinimum, int S>
OUVERT_INLINE void scale_gradients(const std::uint8_t* gradients, const Shares& shares,
                                   const Shares& minimums, int pairs, std::int16_t* out, Lanes (&added)[S]) {
  constexpr std::int16_t kOnes[2] = {1, 1};
  Sums sums[S];
  each_of<S>([&](auto s) __attribute__((always_inline)) { sums[s] = Sums::zero(); });
  for (int n = 0; n < pairs; ++n)
    each_of<S>([&](auto s) __attribute__((always_inline)) {
      const auto* codes = reinterpret_cast<const std::int16_t*>(gradients + s * kGradientBytes + kStrip * 4);
      const Words x = Words::load(codes + 32 * n);
      scaled(x, shares.words + 2 * n).store(out + (n * S + s) * 32);
      if constexpr (kMinimum) add_products(sums[s], scaled(x, minimums.words + 2 * n), kOnes);
    });
  if constexpr (kMinimum)
    each_of<S>([&](auto s) __attribute__((always_inline)) {
      const Lanes units = Lanes::load(reinterpret_cast<const float*>(gradients + s * kGradientBytes));
      added[s] = sums[s].floats() * (units * Lanes::all(minimums.factor));
    });
}

// S strips and C columns of a panel.
template <bool kMinimum, int S, int C>
__attribute__((noinline)) void add_codes(const std::int16_t* dy, const std::int16_t (*weights)[kBlock][4], int quads,
                                         const Lanes (&units)[S], const Lanes (&minimums)[S], float* sums,
                                         bool first) {
  Sums parts[C][S];
  each_of<C * S>([&](auto n) __attribute__((always_inline)) { parts[n / S][n % S] = Sums::zero(); });
  for (int quad = 0; quad < quads; ++quad)
    each_of<2>([&](auto half) __attribute__((always_inline)) {
      Words x[S];
      each_of<S>([&](auto s) __attribute__((always_inline)) {
        x[s] = Words::load(dy + ((2 * quad + half) * S + s) * 32);
      });
      each_of<C>([&](auto c) __attribute__((always_inline)) {
        each_of<S>([&](auto s) __attribute__((always_inline)) {
          add_products(parts[c][s], x[s], weights[quad][c] + 2 * half);
        });
      });
    });
  each_of<C * S>([&](auto n) __attribute__((always_inline)) {
    constexpr int c = n / S, s = n % S;
    float* at = sums + s * kStripSums + c * kStrip;
    Lanes sum = first ? Lanes::all(0.0f) : Lanes::load(at);
    if constexpr (kMinimum) sum = sum + minimums[s];
    fma(parts[c][s].floats(), units[s], sum).store(at);
  });
}

template <Layout L>
void multiply_layout(const Matrix& weights, const Gradients& dy, float* out, std::int64_t stride,
                     const ColumnPiece& piece, const Epilogue& epilogue, float* scratch) {
  constexpr int kHalves = L == Layout::Q6_K ? 2 : 1, kColumns = kBlock / kHalves;
  Panel panel;
  alignas(64) std::int16_t scaled_dy[kPanelWords * kStripsTogether];
  each_panel<L>(weights, out, stride, piece, epilogue, scratch, [&](std::int64_t block, std::int64_t row, int rows,
                                                                    std::int64_t strips, float* sums) {
    const int quads = (rows + 3) / 4;
    panel.decode<L>(weights, block, row, rows);
    const std::uint8_t* from = dy.data + place_of(dy, piece.token_begin, row) * kGradientBytes;
    in_steps<kStripsTogether>(0, strips, [&](std::int64_t strip, auto s) {
      const std::uint8_t* gradients = from + strip * kGradientBytes;
      Lanes minimums[s], units[s];
      for (int half = 0; half < kHalves; ++half) {
        const Shares& shares = panel.scales[half];
        scale_gradients<has_minimum(L), s>(gradients, shares, panel.minimums, 2 * quads, scaled_dy,
                                           minimums);
        for (int i = 0; i < s; ++i)
          units[i] = Lanes::load(reinterpret_cast<const float*>(gradients + i * kGradientBytes)) *
                     Lanes::all(shares.factor);
        in_columns(half * kColumns, (half + 1) * kColumns, [&](std::int64_t c, auto count) {
          add_codes<has_minimum(L), s, count>(
              scaled_dy, reinterpret_cast<const std::int16_t(*)[kBlock][4]>(panel.codes[0][c]), quads, units, minimums,
              sums + strip * kStripSums + c * kStrip, row == 0);
        });
      }
    });
  });
}

// ---- coarse -----------------------------------------------------------------------------------------------------

constexpr float kLargestByte = 127.0f;

// The same as bytes, [row / 4][strip][token][4], and their sums, of each strip, times the codes' centre.
template <Layout L, int S>
OUVERT_INLINE void coarsen_gradients(const std::uint8_t* gradients, const Shares& shares, const Shares& minimums,
                                     int quads, std::int8_t* out, Lanes (&added)[S], Sums (&centres)[S]) {
  constexpr std::int16_t kOnes[2] = {1, 1}, kBytes[2] = {127, 127};
  constexpr std::uint8_t kCentres[4] = {centre(L), centre(L), centre(L), centre(L)};
  Sums sums[S];
  each_of<S>([&](auto s) __attribute__((always_inline)) { centres[s] = sums[s] = Sums::zero(); });
  for (int n = 0; n < quads; ++n)
    each_of<S>([&](auto s) __attribute__((always_inline)) {
      const auto* codes = reinterpret_cast<const std::int16_t*>(gradients + s * kGradientBytes + kStrip * 4);
      const Words first = Words::load(codes + 64 * n), second = Words::load(codes + 64 * n + 32);
      const Bytes bytes = Bytes::of(scaled(scaled(first, shares.words + 4 * n), kBytes),
                                    scaled(scaled(second, shares.words + 4 * n + 2), kBytes));
      bytes.store(out + (n * S + s) * 64);
      add_products(centres[s], bytes, kCentres);
      if constexpr (has_minimum(L)) {
        add_products(sums[s], scaled(first, minimums.words + 4 * n), kOnes);
        add_products(sums[s], scaled(second, minimums.words + 4 * n + 2), kOnes);
      }
    });
  if constexpr (has_minimum(L))
    each_of<S>([&](auto s) __attribute__((always_inline)) {
      const Lanes units = Lanes::load(reinterpret_cast<const float*>(gradients + s * kGradientBytes));
      added[s] = sums[s].floats() * (units * Lanes::all(minimums.factor));
    });
}

// What add_codes does, with bytes; codes are not less their centre.
template <bool kMinimum, int S, int C>
__attribute__((noinline)) void add_coarse(const std::int8_t* dy, const std::uint8_t (*weights)[kBlock][4], int quads,
                                          const Sums (&centres)[S], const Lanes (&units)[S],
                                          const Lanes (&minimums)[S], float* sums, bool first) {
  Sums parts[C][S];
  each_of<C * S>([&](auto n) __attribute__((always_inline)) { parts[n / S][n % S] = centres[n % S].negative(); });
  for (int quad = 0; quad < quads; ++quad) {
    Bytes x[S];
    each_of<S>([&](auto s) __attribute__((always_inline)) { x[s] = Bytes::load(dy + (quad * S + s) * 64); });
    each_of<C>([&](auto c) __attribute__((always_inline)) {
      each_of<S>([&](auto s) __attribute__((always_inline)) { add_products(parts[c][s], x[s], weights[quad][c]); });
    });
  }
  each_of<C * S>([&](auto n) __attribute__((always_inline)) {
    constexpr int c = n / S, s = n % S;
    float* at = sums + s * kStripSums + c * kStrip;
    Lanes sum = first ? Lanes::all(0.0f) : Lanes::load(at);
    if constexpr (kMinimum) sum = sum + minimums[s];
    fma(parts[c][s].floats(), units[s], sum).store(at);
  });
}

template <Layout L>
void multiply_coarse_layout(const Matrix& weights, const Gradients& dy, float* out, std::int64_t stride,
                            const ColumnPiece& piece, const Epilogue& epilogue, float* scratch) {
  constexpr int kHalves = L == Layout::Q6_K ? 2 : 1, kColumns = kBlock / kHalves;
  Panel panel;
  alignas(64) std::uint8_t codes[kPanelRows / 4][kBlock][4];
  alignas(64) std::int8_t bytes[kPanelWords * kStripsTogether];
  each_panel<L>(weights, out, stride, piece, epilogue, scratch, [&](std::int64_t block, std::int64_t row, int rows,
                                                                    std::int64_t strips, float* sums) {
    const int quads = (rows + 3) / 4;
    panel.decode<L>(weights, block, row, rows);
    for (int quad = 0; quad < quads; ++quad)
      for (int c = 0; c < kBlock; ++c)
        for (int r = 0; r < 4; ++r)
          codes[quad][c][r] = static_cast<std::uint8_t>(panel.codes[quad][c][r] + centre(L));
    const std::uint8_t* from = dy.data + place_of(dy, piece.token_begin, row) * kGradientBytes;
    in_steps<kStripsTogether>(0, strips, [&](std::int64_t strip, auto s) {
      const std::uint8_t* gradients = from + strip * kGradientBytes;
      Lanes minimums[s], units[s];
      Sums centres[s];
      for (int half = 0; half < kHalves; ++half) {
        const Shares& shares = panel.scales[half];
        coarsen_gradients<L, s>(gradients, shares, panel.minimums, quads, bytes, minimums, centres);
        for (int i = 0; i < s; ++i)
          units[i] = Lanes::load(reinterpret_cast<const float*>(gradients + i * kGradientBytes)) *
                     Lanes::all(shares.factor * (32768.0f / kLargestByte));
        in_columns(half * kColumns, (half + 1) * kColumns, [&](std::int64_t c, auto count) {
          add_coarse<has_minimum(L), s, count>(
              bytes, reinterpret_cast<const std::uint8_t(*)[kBlock][4]>(codes[0][c]), quads, centres, units, minimums,
              sums + strip * kStripSums + c * kStrip, row == 0);
        });
      }
    });
  });
}

void multiply_coarse(const Matrix& w, const Gradients& dy, float* out, std::int64_t stride, const ColumnPiece& piece,
                     const Epilogue& e, float* scratch) {
  with_int8_layout(w.layout, [&](auto layout) {
    if constexpr (has_coarse(layout)) multiply_coarse_layout<layout>(w, dy, out, stride, piece, e, scratch);
  });
}

void multiply(const Matrix& w, const Gradients& dy, float* out, std::int64_t stride, const ColumnPiece& piece,
              const Epilogue& e, float* scratch) {
  with_int8_layout(w.layout, [&](auto layout) { multiply_layout<layout>(w, dy, out, stride, piece, e, scratch); });
}

}  // namespace
}  // namespace ouvert
