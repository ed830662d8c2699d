// attention.h over Lanes. Included by one file per instruction set, after the Lanes it is to use.

#pragma once

#include <cfloat>
#include <limits>

#include "attention.h"
#include "exponential.h"

namespace {

using namespace ouvert;

// c[r][p] += a[r][k] * b[k][16 p ..] for k in order. Where memory is the limit (few rows, straight from the cache's
// halves) it asks for what lies at `ahead` on the way, as many bytes as it reads.
template <int kRows, int kPanel, typename Element>
inline void add_product(const float* a, std::int64_t a_stride, const Element* b, std::int64_t b_stride,
                        std::int64_t begin, std::int64_t end, const Element* ahead, Lanes (&c)[kRows][kPanel]) {
  for (std::int64_t k = begin; k < end; ++k) {
    if constexpr (sizeof(Element) == 2)
      for (std::int64_t i = 0; i < b_stride; i += 32) __builtin_prefetch(ahead + k * b_stride + i);
    Lanes column[kPanel];
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) column[p] = Lanes::load(b + k * b_stride + 16 * p);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const Lanes factor = Lanes::all(a[r * a_stride + k]);
#pragma GCC unroll 4
      for (int p = 0; p < kPanel; ++p) c[r][p] = fma(factor, column[p], c[r][p]);
    }
  }
}

// scores[r][16 v ..] for vectors v of [begin, end): rows of q times transposed keys.
template <int kRows, int kPanel, typename Element>
inline void score_panel(const float* q, std::int64_t head_dim, const Element* keys, std::int64_t v, const Element* ahead,
                        float* scores) {
  Lanes c[kRows][kPanel];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) c[r][p] = Lanes::all(0.0f);
  add_product<kRows, kPanel>(q, head_dim, keys + 16 * v, kBlockKeys, 0, head_dim, ahead, c);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) c[r][p].store(scores + r * kBlockKeys + 16 * (v + p));
}

// sums[r][16 v ..] = sums * faded[r] + shares times values, for keys of [begin, end).
template <int kRows, int kPanel, typename Element>
inline void mix_panel(const float* shares, const Element* values, std::int64_t padded, std::int64_t begin,
                      std::int64_t end, std::int64_t v, const Element* ahead, const Lanes* faded, float* sums,
                      std::int64_t stride) {
  Lanes c[kRows][kPanel];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) c[r][p] = Lanes::load(sums + r * stride + 16 * (v + p)) * faded[r];
  add_product<kRows, kPanel>(shares, kBlockKeys, values + 16 * v, padded, begin, end, ahead, c);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) c[r][p].store(sums + r * stride + 16 * (v + p));
}

// Which keys of a block a token sees: [first, last).
struct Seen {
  std::int64_t first, last;
};

inline Seen seen(const AttentionTile& tile, std::int64_t block, std::int64_t token) {
  const std::int64_t position = tile.position + token, start = block * kBlockKeys;
  const std::int64_t first = position - tile.window + 1 - start, last = position + 1 - start;
  return {first < 0 ? 0 : first, last > kBlockKeys ? kBlockKeys : last};
}

// Rows row .. row + kRows - 1 of a tile look at one block.
template <int kRows, typename Element>
inline void look(const AttentionTile& tile, std::int64_t block, std::int64_t row, const float* q, const Element* keys,
                 const Element* values, const Element* next, float* shares, float* state) {
  const std::int64_t padded = padded_dim(tile.head_dim), stride = state_stride(tile.head_dim);
  const Seen earliest = seen(tile, block, row / tile.group);
  const Seen latest = seen(tile, block, (row + kRows - 1) / tile.group);
  if (latest.last <= 0 || earliest.first >= kBlockKeys) return;
  q += row * tile.head_dim;
  state += row * stride;

  const std::int64_t begin = earliest.first / 16, end = (latest.last + 15) / 16;
  for (std::int64_t v = begin; v < end;) {
    if (Lanes::kPanel >= 4 && end - v >= 4) {
      score_panel<kRows, 4 <= Lanes::kPanel ? 4 : 1>(q, tile.head_dim, keys, v, values, shares), v += 4;
    } else if (Lanes::kPanel >= 2 && end - v >= 2) {
      score_panel<kRows, 2 <= Lanes::kPanel ? 2 : 1>(q, tile.head_dim, keys, v, values, shares), v += 2;
    } else {
      score_panel<kRows, 1>(q, tile.head_dim, keys, v, values, shares), v += 1;
    }
  }

  Lanes faded[kRows];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    const Seen keys_seen = seen(tile, block, (row + r) / tile.group);
    float* scores = shares + r * kBlockKeys;
    Lanes best = Lanes::all(-std::numeric_limits<float>::infinity());
    Lanes score[4] = {best, best, best, best};
    const bool whole = keys_seen.first <= 16 * begin && keys_seen.last >= 16 * end;
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      if (v < begin || v >= end) continue;
      score[v] = Lanes::load(scores + 16 * v);
      if (!whole)
        score[v] = keep(score[v], static_cast<int>(keys_seen.first - 16 * v), static_cast<int>(keys_seen.last - 16 * v),
                        -std::numeric_limits<float>::infinity());
      best = larger(best, score[v]);
    }
    float* total = state + r * stride + padded;
    const Lanes before = Lanes::load(total + 16);
    const Lanes now = larger(Lanes::all(largest(best)), before);
    faded[r] = two_to_the(before - now);
    Lanes sums = Lanes::load(total) * faded[r];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      if (v < begin || v >= end) continue;
      score[v] = two_to_the(score[v] - now);
      sums = sums + score[v];
      score[v].store(scores + 16 * v);
    }
    sums.store(total);
    now.store(total + 16);
  }

  const std::int64_t vectors = padded / 16;
  for (std::int64_t v = 0; v < vectors;) {
    if (Lanes::kPanel >= 4 && vectors - v >= 4) {
      mix_panel<kRows, 4 <= Lanes::kPanel ? 4 : 1>(shares, values, padded, earliest.first, latest.last, v, next, faded, state,
                                                   stride);
      v += 4;
    } else {
      mix_panel<kRows, 1>(shares, values, padded, earliest.first, latest.last, v, next, faded, state, stride);
      v += 1;
    }
  }
}

template <typename Element>
inline void look_at_block(const AttentionTile& tile, std::int64_t block, std::int64_t row, std::int64_t end_row,
                          const float* q, const Element* keys, const Element* values, const Element* next,
                          float* shares, float* state) {
  for (; row + Lanes::kRows <= end_row; row += Lanes::kRows)
    look<Lanes::kRows>(tile, block, row, q, keys, values, next, shares, state);
  switch (end_row - row) {
    case 5: return look<5>(tile, block, row, q, keys, values, next, shares, state);
    case 4: return look<4>(tile, block, row, q, keys, values, next, shares, state);
    case 3: return look<3>(tile, block, row, q, keys, values, next, shares, state);
    case 2: return look<2>(tile, block, row, q, keys, values, next, shares, state);
    case 1: return look<1>(tile, block, row, q, keys, values, next, shares, state);
    default: return;
  }
}

// Where things stand in a thread's scratch.
struct Scratch {
  float* q;       // rows x head_dim, scaled
  float* keys;    // head_dim x kBlockKeys
  float* values;  // kBlockKeys x padded
  float* shares;  // kRows x kBlockKeys
  float* states;  // 2 x rows x state_stride

  Scratch(float* from, const AttentionTile& tile) {
    q = from;
    keys = q + tile.rows() * tile.head_dim;
    values = keys + kBlockKeys * tile.head_dim;
    shares = values + kBlockKeys * padded_dim(tile.head_dim);
    states = shares + 8 * kBlockKeys;
  }
};

inline void scale_queries(const AttentionTile& tile, float* to) {
  const float factor = tile.scale * kLog2OfE;
  for (std::int64_t token = 0; token < tile.tokens; ++token) {
    const float* from = tile.q + token * tile.q_stride;
    for (std::int64_t i = 0; i < tile.group * tile.head_dim; ++i) *to++ = from[i] * factor;
  }
}

template <typename Element>
inline void look_at_segment(const AttentionTile& tile, std::int64_t segment, const Scratch& scratch, float* state) {
  const std::int64_t head_dim = tile.head_dim, padded = padded_dim(head_dim), stride = state_stride(head_dim);
  const std::int64_t rows = tile.rows();
  for (std::int64_t r = 0; r < rows; ++r) {
    float* row = state + r * stride;
    for (std::int64_t i = 0; i < padded + 16; i += 16) Lanes::all(0.0f).store(row + i);
    Lanes::all(-FLT_MAX).store(row + padded + 16);
  }
  const std::int64_t start = segment * kSegmentKeys;
  const std::int64_t first = tile.first_key() > start ? tile.first_key() : start;
  const std::int64_t last = tile.position + tile.tokens < start + kSegmentKeys ? tile.position + tile.tokens
                                                                               : start + kSegmentKeys;
  if (first >= last) return;
  for (std::int64_t block = first / kBlockKeys; block <= (last - 1) / kBlockKeys; ++block) {
    const auto* keys = reinterpret_cast<const Element*>(tile.blocks[block] + tile.offset);
    const Element* values = keys + head_dim * kBlockKeys;
    // Tokens before the block's first key see nothing of it, nor do those whose window begins after its last.
    const std::int64_t begin_token = block * kBlockKeys - tile.position;
    const std::int64_t end_token = (block + 1) * kBlockKeys - 1 - tile.position + tile.window;
    const std::int64_t begin = begin_token > 0 ? begin_token * tile.group : 0;
    const std::int64_t end = end_token < tile.tokens ? end_token * tile.group : rows;
    if constexpr (sizeof(Element) == 2) {
      if (end - begin > 2 * Lanes::kRows) {  // convert once for all of them; the values are the same
        for (std::int64_t i = 0; i < head_dim * kBlockKeys; i += 16) Lanes::load(keys + i).store(scratch.keys + i);
        const std::int64_t written = last - block * kBlockKeys < kBlockKeys ? last - block * kBlockKeys : kBlockKeys;
        for (std::int64_t i = 0; i < written * padded; i += 16) Lanes::load(values + i).store(scratch.values + i);
        look_at_block<float>(tile, block, begin, end, scratch.q, scratch.keys, scratch.values, scratch.keys, scratch.shares,
                             state);
        continue;
      }
    }
    const std::int64_t following = block < (last - 1) / kBlockKeys ? block + 1 : block;
    const auto* next = reinterpret_cast<const Element*>(tile.blocks[following] + tile.offset);
    look_at_block<Element>(tile, block, begin, end, scratch.q, keys, values, next, scratch.shares, state);
  }
}

// One state takes in the next.
inline void take_in(float* state, const float* next, std::int64_t rows, std::int64_t head_dim) {
  const std::int64_t padded = padded_dim(head_dim), stride = state_stride(head_dim);
  for (std::int64_t r = 0; r < rows; ++r, state += stride, next += stride) {
    const Lanes mine = Lanes::load(state + padded + 16), theirs = Lanes::load(next + padded + 16);
    const Lanes now = larger(mine, theirs);
    const Lanes my_part = two_to_the(mine - now), their_part = two_to_the(theirs - now);
    for (std::int64_t i = 0; i < padded + 16; i += 16)
      (Lanes::load(state + i) * my_part + Lanes::load(next + i) * their_part).store(state + i);
    now.store(state + padded + 16);
  }
}

inline void answer(const AttentionTile& tile, const float* state, const float* sinks, float* out,
                   std::int64_t out_stride) {
  const std::int64_t head_dim = tile.head_dim, padded = padded_dim(head_dim), stride = state_stride(head_dim);
  for (std::int64_t r = 0; r < tile.rows(); ++r, state += stride) {
    Lanes total = Lanes::all(sum(Lanes::load(state + padded)));
    Lanes part = Lanes::all(1.0f);
    if (sinks != nullptr) {
      const Lanes sink = Lanes::all(sinks[r % tile.group] * kLog2OfE), mine = Lanes::load(state + padded + 16);
      const Lanes now = larger(mine, sink);
      part = two_to_the(mine - now);
      total = fma(total, part, two_to_the(sink - now));
    }
    part = part / total;
    float* to = out + r / tile.group * out_stride + r % tile.group * head_dim;
    for (std::int64_t i = 0; i < head_dim; i += 16)
      (Lanes::load(state + i) * part).store_some(to + i, static_cast<int>(head_dim - i));
  }
}

void attend_segment(const AttentionTile& tile, std::int64_t segment, float* scratch_floats, float* state) {
  const Scratch scratch(scratch_floats, tile);
  scale_queries(tile, scratch.q);
  if (tile.type == CacheType::f16)
    look_at_segment<Half>(tile, segment, scratch, state);
  else
    look_at_segment<float>(tile, segment, scratch, state);
}

void attend(const AttentionTile& tile, const float* sinks, float* scratch_floats, float* out, std::int64_t out_stride) {
  const Scratch scratch(scratch_floats, tile);
  scale_queries(tile, scratch.q);
  const std::int64_t rows = tile.rows();
  float* state = scratch.states;
  float* next = state + rows * state_stride(tile.head_dim);
  for (std::int64_t segment = tile.first_segment(); segment < tile.end_segment(); ++segment) {
    float* to = segment == tile.first_segment() ? state : next;
    if (tile.type == CacheType::f16)
      look_at_segment<Half>(tile, segment, scratch, to);
    else
      look_at_segment<float>(tile, segment, scratch, to);
    if (to == next) take_in(state, next, rows, tile.head_dim);
  }
  answer(tile, state, sinks, out, out_stride);
}

void join(const AttentionTile& tile, float* states, std::int64_t count, std::int64_t between, const float* sinks,
          float* out, std::int64_t out_stride) {
  for (std::int64_t i = 1; i < count; ++i) take_in(states, states + i * between, tile.rows(), tile.head_dim);
  answer(tile, states, sinks, out, out_stride);
}

inline void write(const Lanes& from, float* to, int count) { from.store_some(to, count); }
inline void write(const Lanes& from, Half* to, int count) {
  Half halves[16];
  from.store(halves);
  for (int i = 0; i < count; ++i) to[i] = halves[i];
}

template <typename Element>
inline void remember_as(const float* k, const float* v, std::int64_t head_dim, Element* stretch, std::int64_t slot) {
  Element column[16];
  Element* values = stretch + head_dim * kBlockKeys + slot * padded_dim(head_dim);
  for (std::int64_t i = 0; i < head_dim; i += 16) {
    const int count = static_cast<int>(head_dim - i < 16 ? head_dim - i : 16);
    Lanes::load_some(k + i, count).store(column);
    for (int j = 0; j < count; ++j) stretch[(i + j) * kBlockKeys + slot] = column[j];
    Lanes::load_some(v + i, count).store(values + i);  // zeros beyond head_dim
  }
}

void remember(const float* k, const float* v, std::int64_t head_dim, CacheType type, std::uint8_t* stretch,
              std::int64_t slot) {
  if (type == CacheType::f16)
    remember_as(k, v, head_dim, reinterpret_cast<Half*>(stretch), slot);
  else
    remember_as(k, v, head_dim, reinterpret_cast<float*>(stretch), slot);
}

}  // namespace
