// Which keys and queries see each other, some at a time, and where attention_gradient.h works on them.

#pragma once

#include <algorithm>
#include <cstdint>

#include "attention_gradient.h"

namespace ouvert {

constexpr std::int64_t kQueries = 48;  // at a time: rows of a product, whole times as many as fit into registers
constexpr std::int64_t kKeys = 64;     // of a panel

inline std::int64_t padded(std::int64_t count) { return (count + 15) / 16 * 16; }

struct Span {
  std::int64_t begin, end;
};

// Queries `start` .. `start + count - 1`, counted from there.
struct Queries {
  std::int64_t start, count, position, window;

  Queries(const AttentionShape& shape, std::int64_t first)
      : start(first),
        count(std::min(kQueries, shape.tokens - first)),
        position(shape.length - shape.tokens + first),
        window(shape.window > 0 ? shape.window : shape.length) {}

  // The keys that query i sees.
  Span seen(std::int64_t i) const { return {std::max<std::int64_t>(0, position + i + 1 - window), position + i + 1}; }

  // Of a panel, counted from its first key, the keys that any of the queries begin .. end - 1 sees; none if the end is
  // not after the beginning.
  Span seen_by(std::int64_t begin, std::int64_t end, std::int64_t first_key) const {
    return {std::max<std::int64_t>(0, seen(begin).begin - first_key), std::min(kKeys, seen(end - 1).end - first_key)};
  }

  // The queries that see any of the keys begin .. end - 1, likewise.
  Span that_see(std::int64_t begin, std::int64_t end) const {
    return {std::max<std::int64_t>(0, begin - position), std::min(count, end - 1 + window - position)};
  }

  // From the first key of the first panel that any of them sees to the end of the last.
  Span panels() const {
    return {seen(0).begin / kKeys * kKeys, (seen(count - 1).end + kKeys - 1) / kKeys * kKeys};
  }
};

// Scratch of one key head; rows are padded to multiples of sixteen, keys to whole panels. Of a null one only the size is
// meant.
struct AttentionRoom {
  std::int64_t stride;  // of scores on the way forward
  float *key_columns, *value_columns, *rows, *key_sums, *value_sums, *queries, *given, *sums, *scores, *slopes;
  std::int64_t floats;

  AttentionRoom(const AttentionShape& shape, float* at) {
    const std::int64_t keys = (shape.length + kKeys - 1) / kKeys * kKeys;
    const std::int64_t width = padded(shape.head_dim), value_width = padded(shape.value_dim);
    const std::int64_t widest = std::max(width, value_width);
    floats = 0;
    const auto take = [&](std::int64_t count) {
      float* const from = at ? at + floats : nullptr;
      floats += padded(count);
      return from;
    };
    stride = keys;
    key_columns = take(keys * shape.head_dim);
    value_columns = take(keys * shape.value_dim);
    rows = take(keys * widest);
    key_sums = take(keys * width);
    value_sums = take(keys * value_width);
    queries = take(kQueries * width);
    given = take(kQueries * value_width);
    sums = take(kQueries * widest);
    scores = take(kQueries * keys);
    slopes = take(kQueries * kKeys);
  }
};

}  // namespace ouvert
