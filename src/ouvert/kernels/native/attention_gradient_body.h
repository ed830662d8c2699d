// attention_gradient.h over Lanes. Included by one file per instruction set, after the Lanes it is to use.

#pragma once

#include <algorithm>
#include <cfloat>
#include <cstring>
#include <type_traits>

#include "attention_gradient.h"
#include "attention_gradient_room.h"
#include "exponential.h"
#include "inline.h"

namespace {

using namespace ouvert;

constexpr float kLogOfTwo = 0.693147180559945309417f;

// ---- products ---------------------------------------------------------------------------------------------------

// Number (r, k) is at[r * row + k * step].
struct Operand {
  const float* at;
  std::int64_t row, step;
};

// c[r][i] (+)= sum over k of [begin, end), in order, of a(r, k) * b[k][i], for kRows rows and kPanel times sixteen i.
template <bool kAdd, int kRows, int kPanel>
__attribute__((noinline)) void multiply_tile(Operand a, const float* b, std::int64_t b_stride, std::int64_t begin,
                                             std::int64_t end, float* c, std::int64_t c_stride) {
  Lanes sums[kRows][kPanel];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) sums[r][p] = kAdd ? Lanes::load(c + r * c_stride + 16 * p) : Lanes::all(0.0f);
  const float *from = a.at + begin * a.step, *row = b + begin * b_stride;
  for (std::int64_t k = begin; k < end; ++k, from += a.step, row += b_stride) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) {
      const Lanes column = Lanes::load(row + 16 * p);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) sums[r][p] = fma(Lanes::all(from[r * a.row]), column, sums[r][p]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) sums[r][p].store(c + r * c_stride + 16 * p);
}

// The same for kRows rows and the columns of begin .. end, multiples of sixteen.
template <bool kAdd, int kRows, int kPanel = Lanes::panel(kRows)>
void multiply_rows(Operand a, const float* b, std::int64_t b_stride, Span terms, float* c, std::int64_t c_stride,
                   Span columns) {
  for (; columns.begin + 16 * kPanel <= columns.end; columns.begin += 16 * kPanel)
    multiply_tile<kAdd, kRows, kPanel>(a, b + columns.begin, b_stride, terms.begin, terms.end, c + columns.begin,
                                       c_stride);
  if constexpr (kPanel > 1)
    if (columns.begin < columns.end)
      multiply_rows<kAdd, kRows, kPanel / 2>(a, b, b_stride, terms, c, c_stride, columns);
}

// f(row, rows) for all rows of a span; `rows` is a constant.
template <int kRows = Lanes::kRows, typename F>
OUVERT_INLINE void each_rows(Span rows, F f) {
  for (; rows.begin + kRows <= rows.end; rows.begin += kRows) f(rows.begin, std::integral_constant<int, kRows>());
  if constexpr (kRows > 1)
    if (rows.begin < rows.end) each_rows<kRows == 6 ? 4 : kRows / 2>(rows, f);
}

// ---- copies -----------------------------------------------------------------------------------------------------

template <typename F>
OUVERT_INLINE void along(std::int64_t count, F f) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) f(i, 16);
  if (i < count) f(i, static_cast<int>(count - i));
}

OUVERT_INLINE Lanes get(const float* from, int count) {
  return count == 16 ? Lanes::load(from) : Lanes::load_some(from, count);
}

// Rows of `width` floats, `stride` apart, times a factor, into rows of padded(width), whose rest is zero.
void take_rows(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t width, float factor, float* to) {
  const Lanes all = Lanes::all(factor);
  for (std::int64_t r = 0; r < rows; ++r, from += stride, to += padded(width))
    along(width, [&](std::int64_t i, int count) { (get(from + i, count) * all).store(to + i); });
}

void give_rows(const float* from, std::int64_t rows, std::int64_t width, float factor, float* to, std::int64_t stride) {
  const Lanes all = Lanes::all(factor);
  for (std::int64_t r = 0; r < rows; ++r, from += padded(width), to += stride)
    along(width, [&](std::int64_t i, int count) { (Lanes::load(from + i) * all).store_some(to + i, count); });
}

// Rows become columns: [row / kKeys][number][row % kKeys], with noughts for rows that there are not.
void take_columns(const float* from, std::int64_t stride, std::int64_t rows, std::int64_t width, float* to) {
  for (std::int64_t start = 0; start < rows; start += kKeys, from += kKeys * stride) {
    const std::int64_t count = std::min(kKeys, rows - start);
    for (std::int64_t d = 0; d < width; ++d, to += kKeys) {
      for (std::int64_t r = 0; r < count; ++r) to[r] = from[r * stride + d];
      for (std::int64_t r = count; r < kKeys; ++r) to[r] = 0.0f;
    }
  }
}

// ---- forward ----------------------------------------------------------------------------------------------------

// scores[query][key - panel's first] of some queries and a panel of keys, as far as any of six queries sees them.
void score_panel(const Queries& queries, const float* of_queries, std::int64_t width, const float* columns,
                 std::int64_t first_key, float* scores, std::int64_t stride) {
  each_rows({0, queries.count}, [&](std::int64_t row, auto rows) {
    const Span seen = queries.seen_by(row, row + rows, first_key);
    if (seen.begin < seen.end)
      multiply_rows<false, rows>({of_queries + row * padded(width), padded(width), 1}, columns, kKeys, {0, width},
                                 scores + row * stride, stride, {seen.begin / 16 * 16, padded(seen.end)});
  });
}

// The shares of one query, in place of its scores [begin, end), times their total; the others up to the panels' ends
// become zero.
struct Share {
  float largest, inverse;
};
Share share_out(float* scores, Span panels, Span seen, const float* sink) {
  const auto each = [&](auto f) {
    for (std::int64_t i = seen.begin / 16 * 16; i < seen.end; i += 16)
      f(i, static_cast<int>(std::max<std::int64_t>(0, seen.begin - i)), static_cast<int>(std::min<std::int64_t>(16, seen.end - i)));
  };
  Lanes most = Lanes::all(sink ? *sink * kLog2OfE : -FLT_MAX);
  each([&](std::int64_t i, int first, int last) {
    most = larger(most, keep(Lanes::load(scores + i), first, last, -FLT_MAX));
  });
  const float top = largest(most);
  const Lanes less = Lanes::all(top);
  Lanes total = Lanes::all(0.0f);
  each([&](std::int64_t i, int first, int last) {
    const Lanes share = keep(two_to_the(Lanes::load(scores + i) - less), first, last, 0.0f);
    share.store(scores + i);
    total = total + share;
  });
  for (std::int64_t i = panels.begin; i < seen.begin / 16 * 16; i += 16) Lanes::all(0.0f).store(scores + i);
  for (std::int64_t i = padded(seen.end); i < panels.end; i += 16) Lanes::all(0.0f).store(scores + i);
  float all = sum(total);
  if (sink) {
    float shares[16];
    two_to_the(Lanes::all(*sink * kLog2OfE) - less).store(shares);
    all += shares[0];
  }
  return {top, 1.0f / all};
}

void attention_forward(const AttentionShape& shape, const AttentionForward& of, std::int64_t kv_head, float* scratch) {
  const AttentionRoom room(shape, scratch);
  const std::int64_t group = shape.heads / shape.kv_heads, q_stride = shape.heads * shape.head_dim;
  take_columns(of.keys + kv_head * shape.head_dim, shape.kv_heads * shape.head_dim, shape.length, shape.head_dim,
               room.key_columns);
  take_rows(of.values + kv_head * shape.value_dim, shape.kv_heads * shape.value_dim, shape.length, shape.value_dim,
            1.0f, room.rows);
  const std::int64_t width = padded(shape.value_dim), stride = room.stride;
  for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head)
    for (std::int64_t start = 0; start < shape.tokens; start += kQueries) {
      const Queries queries(shape, start);
      take_rows(of.q + start * q_stride + head * shape.head_dim, q_stride, queries.count, shape.head_dim,
                shape.scale * kLog2OfE, room.queries);
      const Span panels = queries.panels();
      for (std::int64_t key = panels.begin; key < panels.end; key += kKeys)
        score_panel(queries, room.queries, shape.head_dim, room.key_columns + key * shape.head_dim, key,
                    room.scores + key, stride);
      float* largest = of.shares + 2 * head * shape.tokens + start;
      float* inverse = largest + shape.tokens;
      for (std::int64_t i = 0; i < queries.count; ++i) {
        const Share share = share_out(room.scores + i * stride, panels, queries.seen(i), of.sinks ? of.sinks + head : nullptr);
        largest[i] = share.largest;
        inverse[i] = share.inverse;
      }
      std::memset(room.sums, 0, sizeof(float) * static_cast<std::size_t>(queries.count * width));
      for (std::int64_t key = panels.begin; key < panels.end; key += kKeys)
        each_rows({0, queries.count}, [&](std::int64_t row, auto rows) {
          const Span seen = queries.seen_by(row, row + rows, key);
          if (seen.begin < seen.end)
            multiply_rows<true, rows>({room.scores + row * stride + key, stride, 1}, room.rows + key * width, width,
                                      seen, room.sums + row * width, width, {0, width});
        });
      for (std::int64_t i = 0; i < queries.count; ++i)
        give_rows(room.sums + i * width, 1, shape.value_dim, inverse[i],
                  of.out + ((start + i) * shape.heads + head) * shape.value_dim, 0);
    }
}

// ---- backward ---------------------------------------------------------------------------------------------------

// Of some queries of one head: what their shares and gradients are made of.
struct OfQueries {
  alignas(64) float largest[kQueries], inverse[kQueries], weighed[kQueries];
};

// With shares P, dP = dY Vt and D = sum of dY Y over a query's numbers: dS = P (dP - D). Scores become shares, and dP
// becomes dS, of one panel.
void slope_panel(const Queries& queries, const OfQueries& each, std::int64_t first_key, float* scores, float* slopes) {
  const Lanes zero = Lanes::all(0.0f);
  for (std::int64_t i = 0; i < queries.count; ++i, scores += kKeys, slopes += kKeys) {
    const Span seen = queries.seen_by(i, i + 1, first_key);
    const Lanes less = Lanes::all(each.largest[i]), factor = Lanes::all(each.inverse[i]), weighed = Lanes::all(each.weighed[i]);
    for (std::int64_t k = 0; k < kKeys; k += 16) {
      if (k >= seen.end || k + 16 <= seen.begin) {
        zero.store(scores + k);
        zero.store(slopes + k);
        continue;
      }
      Lanes share = two_to_the(Lanes::load(scores + k) - less) * factor;
      if (seen.begin > k || seen.end < k + 16)
        share = keep(share, static_cast<int>(std::max<std::int64_t>(0, seen.begin - k)), static_cast<int>(std::min<std::int64_t>(16, seen.end - k)), 0.0f);
      share.store(scores + k);
      (share * (Lanes::load(slopes + k) - weighed)).store(slopes + k);
    }
  }
}

// What some queries of one head add to the gradients by keys and values, and their own, in room.sums.
void back_panel(const AttentionShape& shape, const AttentionRoom& room, const Queries& queries, const OfQueries& each,
                std::int64_t key) {
  const std::int64_t width = padded(shape.head_dim), value_width = padded(shape.value_dim);
  score_panel(queries, room.queries, shape.head_dim, room.key_columns + key * shape.head_dim, key, room.scores, kKeys);
  score_panel(queries, room.given, shape.value_dim, room.value_columns + key * shape.value_dim, key, room.slopes, kKeys);
  slope_panel(queries, each, key, room.scores, room.slopes);
  each_rows({0, queries.count}, [&](std::int64_t row, auto rows) {
    const Span seen = queries.seen_by(row, row + rows, key);
    if (seen.begin < seen.end)
      multiply_rows<true, rows>({room.slopes + row * kKeys, kKeys, 1}, room.rows + key * width, width, seen,
                                room.sums + row * width, width, {0, width});
  });
  each_rows({0, std::min(kKeys, shape.length - key)}, [&](std::int64_t row, auto rows) {
    const Span seeing = queries.that_see(key + row, key + row + rows);
    if (seeing.begin >= seeing.end) return;
    multiply_rows<true, rows>({room.scores + row, 1, kKeys}, room.given, value_width, seeing,
                              room.value_sums + (key + row) * value_width, value_width, {0, value_width});
    multiply_rows<true, rows>({room.slopes + row, 1, kKeys}, room.queries, width, seeing,
                              room.key_sums + (key + row) * width, width, {0, width});
  });
}

// Takes what the queries from `start` on have of one head; the rest of OfQueries is zero.
void take_queries(const AttentionShape& shape, const AttentionBackward& of, std::int64_t head, const Queries& queries,
                  const AttentionRoom& room, OfQueries& each) {
  const std::int64_t q_stride = shape.heads * shape.head_dim, stride = shape.heads * shape.value_dim, start = queries.start;
  const float* given = of.dy + start * stride + head * shape.value_dim;
  const float* out = of.forward.out + start * stride + head * shape.value_dim;
  take_rows(of.forward.q + start * q_stride + head * shape.head_dim, q_stride, queries.count, shape.head_dim,
            shape.scale * kLog2OfE, room.queries);
  take_rows(given, stride, queries.count, shape.value_dim, 1.0f, room.given);
  each = {};
  const float* shares = of.forward.shares + 2 * head * shape.tokens + start;
  for (std::int64_t i = 0; i < queries.count; ++i, given += stride, out += stride) {
    Lanes total = Lanes::all(0.0f);
    along(shape.value_dim, [&](std::int64_t n, int count) { total = fma(get(given + n, count), get(out + n, count), total); });
    each.weighed[i] = sum(total);
    each.largest[i] = shares[i];
    each.inverse[i] = shares[shape.tokens + i];
  }
}

void attention_backward(const AttentionShape& shape, const AttentionBackward& of, std::int64_t kv_head, float* scratch) {
  const AttentionRoom room(shape, scratch);
  const std::int64_t group = shape.heads / shape.kv_heads, width = padded(shape.head_dim);
  const std::int64_t key_stride = shape.kv_heads * shape.head_dim, value_stride = shape.kv_heads * shape.value_dim;
  const float* keys = of.forward.keys + kv_head * shape.head_dim;
  take_columns(keys, key_stride, shape.length, shape.head_dim, room.key_columns);
  take_rows(keys, key_stride, shape.length, shape.head_dim, 1.0f, room.rows);
  take_columns(of.forward.values + kv_head * shape.value_dim, value_stride, shape.length, shape.value_dim,
               room.value_columns);
  std::memset(room.key_sums, 0, sizeof(float) * static_cast<std::size_t>(shape.length * width));
  std::memset(room.value_sums, 0, sizeof(float) * static_cast<std::size_t>(shape.length * padded(shape.value_dim)));
  for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    Lanes of_sink = Lanes::all(0.0f);
    for (std::int64_t start = 0; start < shape.tokens; start += kQueries) {
      const Queries queries(shape, start);
      OfQueries each;
      take_queries(shape, of, head, queries, room, each);
      std::memset(room.sums, 0, sizeof(float) * static_cast<std::size_t>(queries.count * width));
      const Span panels = queries.panels();
      for (std::int64_t key = panels.begin; key < panels.end; key += kKeys) back_panel(shape, room, queries, each, key);
      give_rows(room.sums, queries.count, shape.head_dim, shape.scale,
                of.dq + (start * shape.heads + head) * shape.head_dim, shape.heads * shape.head_dim);
      if (!of.dsinks) continue;
      const Lanes sink = Lanes::all(of.forward.sinks[head] * kLog2OfE);
      for (std::int64_t i = 0; i < kQueries; i += 16)  // a sink's share p has dS = -p D
        of_sink = fma(two_to_the(sink - Lanes::load(each.largest + i)) * Lanes::load(each.inverse + i),
                      Lanes::all(0.0f) - Lanes::load(each.weighed + i), of_sink);
    }
    if (of.dsinks) of.dsinks[head] = sum(of_sink);
  }
  // Queries carried scale * log2 e.
  give_rows(room.key_sums, shape.length, shape.head_dim, kLogOfTwo, of.dkeys + kv_head * shape.head_dim, key_stride);
  give_rows(room.value_sums, shape.length, shape.value_dim, 1.0f, of.dvalues + kv_head * shape.value_dim, value_stride);
}

}  // namespace
