// attention.h over Lanes. Included by one file per instruction set, after the Lanes it is to use.

#pragma once

#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>

#include "attention.h"
#include "exponential.h"
#include "inline.h"

namespace {

using namespace ouvert;

// A head block, read sixteen numbers at a time.
template <typename Element>
struct HeadBlock {
  const Element *keys, *values;
  std::int64_t padded;

  HeadBlock(const std::uint8_t* at, std::int64_t head_dim)
      : HeadBlock(reinterpret_cast<const Element*>(at), reinterpret_cast<const Element*>(at) + head_dim * kBlockKeys,
                head_dim) {}
  HeadBlock(const Element* keys, const Element* values, std::int64_t value_dim)
      : keys(keys), values(values), padded(padded_dim(value_dim)) {}

  // Value d of keys 16 v .., and values 16 v .. of key k.
  Lanes key(std::int64_t d, std::int64_t v) const { return Lanes::load(keys + d * kBlockKeys + 16 * v); }
  Lanes value(std::int64_t k, std::int64_t v) const { return Lanes::load(values + k * padded + 16 * v); }
};

template <>
struct HeadBlock<std::int8_t> {
  const std::int8_t *keys, *values;
  const float *key_scales, *value_scales, *first_key;
  std::int64_t padded, scales;

  HeadBlock(const std::uint8_t* at, std::int64_t head_dim)
      : keys(reinterpret_cast<const std::int8_t*>(at)),
        values(keys + head_dim * kBlockKeys),
        key_scales(reinterpret_cast<const float*>(at + element_block_bytes(head_dim, CacheType::q8))),
        value_scales(key_scales + scales_of(head_dim) * kBlockKeys),
        first_key(reinterpret_cast<const float*>(at + first_key_at(head_dim))),
        padded(padded_dim(head_dim)),
        scales(scales_of(head_dim)) {}

  Lanes key(std::int64_t d, std::int64_t v) const {
    const Lanes scale = Lanes::load(key_scales + d / kScaleDim * kBlockKeys + 16 * v);
    return Lanes::load(keys + d * kBlockKeys + 16 * v) * scale + Lanes::all(first_key[d]);
  }
  Lanes value(std::int64_t k, std::int64_t v) const {
    return Lanes::load(values + k * padded + 16 * v) * Lanes::all(value_scales[k * scales + 16 * v / kScaleDim]);
  }
};

// Numbers 16 v .. of latent k of a layer's latents in a block.
template <typename Element>
inline Lanes latent_at(const std::uint8_t* at, std::int64_t width, std::int64_t k, std::int64_t v) {
  const std::int64_t padded = padded_dim(width);
  const Lanes x = Lanes::load(reinterpret_cast<const Element*>(at) + k * padded + 16 * v);
  if constexpr (sizeof(Element) > 1) return x;
  const auto* scales = reinterpret_cast<const float*>(at + kBlockKeys * padded);
  return x * Lanes::all(scales[k * scales_of(width) + 16 * v / kScaleDim]);
}

// Prefetches a row of `count` elements if they are small: such caches are read straight, and memory is the limit. In
// every pass a product prefetches as much of the next block as it reads of this one, because a processor that waits for
// many lines drops further prefetches; and into the second-level cache, because one block fills the first.
template <typename Element>
inline void prefetch_row(const Element* row, std::int64_t count) {
  if constexpr (sizeof(Element) < 4)
    for (std::int64_t i = 0; i < count; i += 64 / static_cast<std::int64_t>(sizeof(Element)))
      __builtin_prefetch(row + i, 0, 2);
}

// c[r][p] += a[r][k] * column(k, p) for k in order.
template <int kRows, int kPanel, typename Column>
inline void add_product(const float* a, std::int64_t a_stride, std::int64_t begin, std::int64_t end, Column column_at,
                        Lanes (&c)[kRows][kPanel]) {
  for (std::int64_t k = begin; k < end; ++k) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) {
      const Lanes column = column_at(k, p);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) c[r][p] = fma(Lanes::all(a[r * a_stride + k]), column, c[r][p]);
    }
  }
}

// scores[r][16 v ..] for kPanel vectors from v on: rows of q times transposed keys.
template <int kRows, int kPanel, typename Element>
inline void score_panel(const float* q, std::int64_t head_dim, const HeadBlock<Element>& from, std::int64_t v,
                        const HeadBlock<Element>& next, float* scores) {
  Lanes c[kRows][kPanel];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) c[r][p] = Lanes::all(0.0f);
  const auto column = [&](std::int64_t d, int p) {
    if (p == 0) prefetch_row(next.keys + d * kBlockKeys, kBlockKeys);
    return from.key(d, v + p);
  };
  add_product<kRows, kPanel>(q, head_dim, 0, head_dim, column, c);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) c[r][p].store(scores + r * kBlockKeys + 16 * (v + p));
}

// sums[r][16 v ..] = sums * rescale[r] + weights times values, for keys of [begin, end).
template <int kRows, int kPanel, typename Element>
inline void value_panel(const float* weights, const HeadBlock<Element>& from, std::int64_t begin, std::int64_t end,
                      std::int64_t v, const HeadBlock<Element>& next, const Lanes* rescale, float* sums,
                      std::int64_t stride) {
  Lanes c[kRows][kPanel];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) c[r][p] = Lanes::load(sums + r * stride + 16 * (v + p)) * rescale[r];
  const auto column = [&](std::int64_t k, int p) {
    if (p == 0) prefetch_row(next.values + k * from.padded, from.padded);
    return from.value(k, v + p);
  };
  add_product<kRows, kPanel>(weights, kBlockKeys, begin, end, column, c);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int p = 0; p < kPanel; ++p) c[r][p].store(sums + r * stride + 16 * (v + p));
}

// Which keys of a block a token sees: [first, last).
struct VisibleKeys {
  std::int64_t first, last;
};

inline VisibleKeys visible_keys(const AttentionTile& tile, std::int64_t block, std::int64_t token) {
  const std::int64_t position = tile.position + token, start = block * kBlockKeys;
  const std::int64_t first = position - tile.window + 1 - start, last = position + 1 - start;
  return {first < 0 ? 0 : first, last > kBlockKeys ? kBlockKeys : last};
}

// Adds the scores of one row, vectors [begin, end), to its softmax: scores become weights relative to the new largest
// score, and `total` (16 partial sums of weights, then 16 times the largest score) is updated. Returns by what the sums
// of earlier blocks must be multiplied.
OUVERT_INLINE Lanes update_softmax(const VisibleKeys& visible, std::int64_t begin, std::int64_t end, float* scores,
                                   float* total) {
  Lanes best = Lanes::all(-std::numeric_limits<float>::infinity());
  Lanes score[4] = {best, best, best, best};
  const bool whole = visible.first <= 16 * begin && visible.last >= 16 * end;
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    if (v < begin || v >= end) continue;
    score[v] = Lanes::load(scores + 16 * v);
    if (!whole)
      score[v] = keep(score[v], static_cast<int>(visible.first - 16 * v), static_cast<int>(visible.last - 16 * v),
                      -std::numeric_limits<float>::infinity());
    best = larger(best, score[v]);
  }
  const Lanes before = Lanes::load(total + 16);
  const Lanes now = larger(Lanes::all(largest(best)), before);
  const Lanes rescale = two_to_the(before - now);
  Lanes sums = Lanes::load(total) * rescale;
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) {
    if (v < begin || v >= end) continue;
    score[v] = two_to_the(score[v] - now);
    sums = sums + score[v];
    score[v].store(scores + 16 * v);
  }
  sums.store(total);
  now.store(total + 16);
  return rescale;
}

// Adds one block to the states of rows row .. row + kRows - 1. `weights` is work space, kRows x kBlockKeys.
template <int kRows, typename Element>
inline void attend_block_rows(const AttentionTile& tile, std::int64_t block, std::int64_t row, const float* q,
                              const HeadBlock<Element>& from, const HeadBlock<Element>& next, float* weights,
                              float* state) {
  constexpr int kPanel = Lanes::panel(kRows);
  const std::int64_t padded = padded_dim(tile.value_dim), stride = state_stride(tile.value_dim);
  const VisibleKeys earliest = visible_keys(tile, block, row / tile.group);
  const VisibleKeys latest = visible_keys(tile, block, (row + kRows - 1) / tile.group);
  if (latest.last <= 0 || earliest.first >= kBlockKeys) return;
  q += row * tile.head_dim;
  state += row * stride;

  const std::int64_t begin = earliest.first / 16, end = (latest.last + 15) / 16;
  std::int64_t v = begin;
  for (; v + kPanel <= end; v += kPanel) score_panel<kRows, kPanel>(q, tile.head_dim, from, v, next, weights);
  for (; v < end; ++v) score_panel<kRows, 1>(q, tile.head_dim, from, v, next, weights);

  Lanes rescale[kRows];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r)
    rescale[r] = update_softmax(visible_keys(tile, block, (row + r) / tile.group), begin, end, weights + r * kBlockKeys,
                                state + r * stride + padded);

  const std::int64_t vectors = padded / 16;
  for (v = 0; v + kPanel <= vectors; v += kPanel)
    value_panel<kRows, kPanel>(weights, from, earliest.first, latest.last, v, next, rescale, state, stride);
  for (; v < vectors; ++v)
    value_panel<kRows, 1>(weights, from, earliest.first, latest.last, v, next, rescale, state, stride);
}

// Adds one block to the states of rows row .. end_row - 1. `next` is the block to prefetch.
template <typename Element>
inline void attend_block(const AttentionTile& tile, std::int64_t block, std::int64_t row, std::int64_t end_row,
                         const float* q, const HeadBlock<Element>& from, const HeadBlock<Element>& next, float* weights,
                         float* state) {
  for (; row + Lanes::kRows <= end_row; row += Lanes::kRows)
    attend_block_rows<Lanes::kRows>(tile, block, row, q, from, next, weights, state);
  switch (end_row - row) {
    case 5: return attend_block_rows<5>(tile, block, row, q, from, next, weights, state);
    case 4: return attend_block_rows<4>(tile, block, row, q, from, next, weights, state);
    case 3: return attend_block_rows<3>(tile, block, row, q, from, next, weights, state);
    case 2: return attend_block_rows<2>(tile, block, row, q, from, next, weights, state);
    case 1: return attend_block_rows<1>(tile, block, row, q, from, next, weights, state);
    default: return;
  }
}

// The parts of a thread's scratch.
struct Scratch {
  float* q;        // rows x head_dim, scaled
  float* keys;     // head_dim x kBlockKeys
  float* values;   // kBlockKeys x padded
  float* weights;  // kRows x kBlockKeys
  float* states;   // 2 x rows x state_stride

  Scratch(float* from, const AttentionTile& tile) {
    q = from;
    keys = q + tile.rows() * tile.head_dim;
    values = keys + kBlockKeys * tile.head_dim;
    weights = values + kBlockKeys * padded_dim(tile.value_dim);
    states = weights + 8 * kBlockKeys;
  }
};

// x = H x for every n neighbours, H a Hadamard matrix: log2 n rounds of sums and differences, then one product. H is
// its own inverse. The order of the sums is the same everywhere, and nothing is fused. `count` is a multiple of n.
inline void hadamard(float* x, std::int64_t count, std::int64_t n) {
  if (n == 1) return;
  const float factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(n)));
  for (std::int64_t half = 1; half < n; half *= 2)
    for (std::int64_t i = 0; i < count; i += 2 * half)
      for (std::int64_t j = i; j < i + half; ++j) {
        const float a = x[j], b = x[j + half];
        x[j] = a + b;
        x[j + half] = a - b;
      }
  for (std::int64_t i = 0; i < count; ++i) x[i] *= factor;
}

inline bool is_rotated(const AttentionTile& tile) { return tile.type == CacheType::q8 && !tile.latent; }

inline void prepare_queries(const AttentionTile& tile, float* to) {
  const float factor = tile.scale * kLog2OfE;
  for (std::int64_t token = 0; token < tile.tokens; ++token) {
    const float* from = tile.q + token * tile.q_stride;
    for (std::int64_t head = 0; head < tile.group; ++head, from += tile.head_dim, to += tile.head_dim) {
      for (std::int64_t i = 0; i < tile.head_dim; ++i) to[i] = from[i];
      if (is_rotated(tile)) hadamard(to, tile.head_dim, hadamard_dim(tile.head_dim));
      for (std::int64_t i = 0; i < tile.head_dim; ++i) to[i] *= factor;
    }
  }
}

// The state of rows that have seen no key.
inline void clear_state(float* state, std::int64_t rows, std::int64_t value_dim) {
  const std::int64_t padded = padded_dim(value_dim), stride = state_stride(value_dim);
  for (std::int64_t r = 0; r < rows; ++r) {
    float* row = state + r * stride;
    for (std::int64_t i = 0; i < padded + 16; i += 16) Lanes::all(0.0f).store(row + i);
    Lanes::all(-FLT_MAX).store(row + padded + 16);
  }
}

// The first `count` latents of a block as float keys and values: both of all heads are made of the same rows.
template <typename Element>
inline void convert_latents(const AttentionTile& tile, std::int64_t block, std::int64_t count, const Scratch& scratch) {
  const std::int64_t head_dim = tile.head_dim, padded = padded_dim(tile.value_dim);
  for (std::int64_t k = 0; k < count; ++k)
    for (std::int64_t v = 0; 16 * v < head_dim; ++v) {
      const Lanes x = latent_at<Element>(tile.blocks[block] + tile.offset, head_dim, k, v);
      if (16 * v < padded) x.store(scratch.values + k * padded + 16 * v);
      float column[16];
      x.store(column);
      for (std::int64_t d = 16 * v; d < head_dim && d < 16 * v + 16; ++d)
        scratch.keys[d * kBlockKeys + k] = column[d - 16 * v];
    }
}

// A head block as float keys and values, of which the first `count` are there.
template <typename Element>
inline void convert_head_block(const HeadBlock<Element>& from, const AttentionTile& tile, std::int64_t count,
                               const Scratch& scratch) {
  const std::int64_t padded = padded_dim(tile.value_dim);
  for (std::int64_t d = 0; d < tile.head_dim; ++d)
    for (std::int64_t v = 0; v < kBlockKeys / 16; ++v) from.key(d, v).store(scratch.keys + d * kBlockKeys + 16 * v);
  for (std::int64_t k = 0; k < count; ++k)
    for (std::int64_t v = 0; v < padded / 16; ++v) from.value(k, v).store(scratch.values + k * padded + 16 * v);
}

// add(block, begin, end, from, next) for every block of a segment of which rows [begin, end) see something, in order.
template <typename Element, typename Add>
inline void for_each_block(const AttentionTile& tile, std::int64_t segment, const Scratch& scratch, Add add) {
  const std::int64_t start = segment * kSegmentKeys, tile_end = tile.position + tile.tokens;
  const std::int64_t first = tile.first_key() > start ? tile.first_key() : start;
  const std::int64_t last = tile_end < start + kSegmentKeys ? tile_end : start + kSegmentKeys;
  if (first >= last) return;
  const HeadBlock<float> converted(scratch.keys, scratch.values, tile.value_dim);
  for (std::int64_t block = first / kBlockKeys; block <= (last - 1) / kBlockKeys; ++block) {
    // Tokens before the block's first key see nothing of it, nor do those whose window begins after its last.
    const std::int64_t begin_token = block * kBlockKeys - tile.position;
    const std::int64_t end_token = (block + 1) * kBlockKeys - 1 - tile.position + tile.window;
    const std::int64_t begin = begin_token > 0 ? begin_token * tile.group : 0;
    const std::int64_t end = end_token < tile.tokens ? end_token * tile.group : tile.rows();
    const std::int64_t written = last - block * kBlockKeys < kBlockKeys ? last - block * kBlockKeys : kBlockKeys;
    if (tile.latent) {
      convert_latents<Element>(tile, block, written, scratch);
      add(block, begin, end, converted, converted);
      continue;
    }
    const HeadBlock<Element> from(tile.blocks[block] + tile.offset, tile.head_dim);
    if constexpr (sizeof(Element) < 4) {
      if (end - begin > 2 * Lanes::kRows) {  // convert once for all of them; the values are the same
        convert_head_block(from, tile, written, scratch);
        add(block, begin, end, converted, converted);
        continue;
      }
    }
    const std::int64_t following = block < (last - 1) / kBlockKeys ? block + 1 : block;
    const HeadBlock<Element> next(tile.blocks[following] + tile.offset, tile.head_dim);
    add(block, begin, end, from, next);
  }
}

template <typename Add>
inline void for_each_block(const AttentionTile& tile, std::int64_t segment, const Scratch& scratch, Add add) {
  switch (tile.type) {
    case CacheType::f16: return for_each_block<Half>(tile, segment, scratch, add);
    case CacheType::f32: return for_each_block<float>(tile, segment, scratch, add);
    case CacheType::q8: return for_each_block<std::int8_t>(tile, segment, scratch, add);
  }
}

// The state of one segment. Queries are prepared in scratch.q.
inline void segment_state(const AttentionTile& tile, std::int64_t segment, const Scratch& scratch, float* state) {
  clear_state(state, tile.rows(), tile.value_dim);
  for_each_block(tile, segment, scratch,
                 [&](std::int64_t block, std::int64_t begin, std::int64_t end, const auto& from, const auto& next) {
                   attend_block(tile, block, begin, end, scratch.q, from, next, scratch.weights, state);
                 });
}

// Merges the state of later keys into `state`.
inline void merge_states(float* state, const float* next, std::int64_t rows, std::int64_t value_dim) {
  const std::int64_t padded = padded_dim(value_dim), stride = state_stride(value_dim);
  for (std::int64_t r = 0; r < rows; ++r, state += stride, next += stride) {
    const Lanes mine = Lanes::load(state + padded + 16), theirs = Lanes::load(next + padded + 16);
    const Lanes now = larger(mine, theirs);
    const Lanes rescale = two_to_the(mine - now), rescale_next = two_to_the(theirs - now);
    for (std::int64_t i = 0; i < padded + 16; i += 16)
      (Lanes::load(state + i) * rescale + Lanes::load(next + i) * rescale_next).store(state + i);
    now.store(state + padded + 16);
  }
}

// Divides the sums by the total of the weights, sinks included.
inline void finalise(const AttentionTile& tile, const float* state, const float* sinks, float* out,
                     std::int64_t out_stride) {
  const std::int64_t value_dim = tile.value_dim, padded = padded_dim(value_dim), stride = state_stride(value_dim);
  for (std::int64_t r = 0; r < tile.rows(); ++r, state += stride) {
    Lanes total = Lanes::all(sum(Lanes::load(state + padded)));
    Lanes factor = Lanes::all(1.0f);
    if (sinks != nullptr) {
      const Lanes sink = Lanes::all(sinks[r % tile.group] * kLog2OfE), mine = Lanes::load(state + padded + 16);
      const Lanes now = larger(mine, sink);
      factor = two_to_the(mine - now);
      total = fma(total, factor, two_to_the(sink - now));
    }
    factor = factor / total;
    float* to = out + r / tile.group * out_stride + r % tile.group * value_dim;
    for (std::int64_t i = 0; i < value_dim; i += 16)
      (Lanes::load(state + i) * factor).store_some(to + i, static_cast<int>(value_dim - i));
    if (is_rotated(tile)) hadamard(to, value_dim, hadamard_dim(value_dim));
  }
}

void attend_segment(const AttentionTile& tile, std::int64_t segment, float* scratch_floats, float* state) {
  const Scratch scratch(scratch_floats, tile);
  prepare_queries(tile, scratch.q);
  segment_state(tile, segment, scratch, state);
}

// state_of(segment, scratch, state) computes the state of one segment.
template <typename StateOf>
inline void attend_segments(const AttentionTile& tile, const float* sinks, float* scratch_floats, float* out,
                            std::int64_t out_stride, StateOf state_of) {
  const Scratch scratch(scratch_floats, tile);
  prepare_queries(tile, scratch.q);
  const std::int64_t rows = tile.rows();
  float* state = scratch.states;
  float* next = state + rows * state_stride(tile.value_dim);
  for (std::int64_t segment = tile.first_segment(); segment < tile.end_segment(); ++segment) {
    float* to = segment == tile.first_segment() ? state : next;
    state_of(segment, scratch, to);
    if (to == next) merge_states(state, next, rows, tile.value_dim);
  }
  finalise(tile, state, sinks, out, out_stride);
}

void attend(const AttentionTile& tile, const float* sinks, float* scratch, float* out, std::int64_t out_stride) {
  attend_segments(tile, sinks, scratch, out, out_stride,
                  [&](std::int64_t segment, const Scratch& room, float* state) {
                    segment_state(tile, segment, room, state);
                  });
}

void merge_segments(const AttentionTile& tile, float* states, std::int64_t count, std::int64_t between,
                    const float* sinks, float* out, std::int64_t out_stride) {
  for (std::int64_t i = 1; i < count; ++i) merge_states(states, states + i * between, tile.rows(), tile.value_dim);
  finalise(tile, states, sinks, out, out_stride);
}

// The first `count` latents of a block as columns: number d of latent k at d * kBlockKeys + k.
template <typename Element>
inline void latents_as_columns(const ExpandedTile& tile, std::int64_t block, std::int64_t count, float* to) {
  const std::int64_t width = tile.latent + tile.rope;
  for (std::int64_t k = 0; k < count; ++k)
    for (std::int64_t v = 0; 16 * v < width; ++v) {
      float column[16];
      latent_at<Element>(tile.blocks[block] + tile.offset, width, k, v).store(column);
      for (std::int64_t d = 16 * v; d < width && d < 16 * v + 16; ++d) to[d * kBlockKeys + k] = column[d - 16 * v];
    }
}

inline void latents_as_columns(const ExpandedTile& tile, std::int64_t block, std::int64_t count, float* to) {
  switch (tile.type) {
    case CacheType::f16: return latents_as_columns<Half>(tile, block, count, to);
    case CacheType::f32: return latents_as_columns<float>(tile, block, count, to);
    case CacheType::q8: return latents_as_columns<std::int8_t>(tile, block, count, to);
  }
}

// The keys and values of one block, of which the first `count` are there. `made`: (nope + value_dim) x kBlockKeys.
inline void expand_block(const ExpandedTile& tile, std::int64_t count, const float* latents, float* made,
                         const Scratch& scratch) {
  constexpr int kPanel = Lanes::panel(Lanes::kRows);
  const HeadBlock<float> columns(latents, latents, 0);
  const std::int64_t rows = tile.nope + tile.value_dim, vectors = kBlockKeys / 16;
  std::int64_t r = 0;
  for (; r + Lanes::kRows <= rows; r += Lanes::kRows) {
    std::int64_t v = 0;
    for (; v + kPanel <= vectors; v += kPanel)
      score_panel<Lanes::kRows, kPanel>(tile.weights + r * tile.latent, tile.latent, columns, v, columns,
                                        made + r * kBlockKeys);
    for (; v < vectors; ++v)
      score_panel<Lanes::kRows, 1>(tile.weights + r * tile.latent, tile.latent, columns, v, columns,
                                   made + r * kBlockKeys);
  }
  for (; r < rows; ++r)
    for (std::int64_t v = 0; v < vectors; ++v)
      score_panel<1, 1>(tile.weights + r * tile.latent, tile.latent, columns, v, columns, made + r * kBlockKeys);
  std::memcpy(scratch.keys, made, static_cast<std::size_t>(tile.nope * kBlockKeys) * sizeof(float));
  std::memcpy(scratch.keys + tile.nope * kBlockKeys, latents + tile.latent * kBlockKeys,
              static_cast<std::size_t>(tile.rope * kBlockKeys) * sizeof(float));
  const float* values = made + tile.nope * kBlockKeys;
  const std::int64_t padded = padded_dim(tile.value_dim);
  for (std::int64_t k = 0; k < count; ++k)
    for (std::int64_t d = 0; d < padded; ++d)
      scratch.values[k * padded + d] = d < tile.value_dim ? values[d * kBlockKeys + k] : 0.0f;
}

// The state of one segment. Queries are prepared in scratch.q.
inline void expanded_segment(const ExpandedTile& tile, const AttentionTile& shape, std::int64_t segment,
                             const Scratch& scratch, float* latents, float* state) {
  clear_state(state, shape.rows(), shape.value_dim);
  const std::int64_t end = shape.position + shape.tokens, start = segment * kSegmentKeys;
  const std::int64_t last = end < start + kSegmentKeys ? end : start + kSegmentKeys;
  float* made = latents + kBlockKeys * padded_dim(tile.latent + tile.rope);
  const HeadBlock<float> converted(scratch.keys, scratch.values, tile.value_dim);
  for (std::int64_t block = start / kBlockKeys; block <= (last - 1) / kBlockKeys; ++block) {
    const std::int64_t count = last - block * kBlockKeys < kBlockKeys ? last - block * kBlockKeys : kBlockKeys;
    latents_as_columns(tile, block, count, latents);
    expand_block(tile, count, latents, made, scratch);
    const std::int64_t before = block * kBlockKeys - shape.position;  // tokens that see nothing of it
    attend_block(shape, block, before > 0 ? before : 0, shape.rows(), scratch.q, converted, converted, scratch.weights,
                 state);
  }
}

void attend_expanded(const ExpandedTile& tile, float* scratch_floats, float* out, std::int64_t out_stride) {
  const AttentionTile shape{.q = nullptr, .q_stride = 0, .tokens = tile.tokens, .group = 1,
                            .head_dim = tile.nope + tile.rope, .position = tile.position, .window = kNoWindow,
                            .scale = tile.scale, .type = tile.type, .blocks = tile.blocks, .offset = tile.offset,
                            .value_dim = tile.value_dim, .latent = true};
  const Scratch scratch(scratch_floats, shape);
  const float factor = tile.scale * kLog2OfE;
  for (std::int64_t t = 0; t < tile.tokens; ++t) {
    float* to = scratch.q + t * shape.head_dim;
    for (std::int64_t i = 0; i < tile.nope; ++i) to[i] = tile.q_nope[t * tile.nope_stride + i] * factor;
    for (std::int64_t i = 0; i < tile.rope; ++i) to[tile.nope + i] = tile.q_rope[t * tile.rope_stride + i] * factor;
  }
  const std::int64_t rows = shape.rows();
  float* state = scratch.states;
  float* next = state + rows * state_stride(shape.value_dim);
  float* latents = next + rows * state_stride(shape.value_dim);
  for (std::int64_t segment = 0; segment < shape.end_segment(); ++segment) {
    float* to = segment == 0 ? state : next;
    expanded_segment(tile, shape, segment, scratch, latents, to);
    if (to == next) merge_states(state, next, rows, shape.value_dim);
  }
  finalise(shape, state, nullptr, out, out_stride);
}

template <typename Element>
inline void append_as(const float* k, const float* v, std::int64_t head_dim, Element* head_block, std::int64_t slot) {
  Element column[16];
  Element* values = head_block + head_dim * kBlockKeys + slot * padded_dim(head_dim);
  for (std::int64_t i = 0; i < head_dim; i += 16) {
    const int count = static_cast<int>(head_dim - i < 16 ? head_dim - i : 16);
    Lanes::load_some(k + i, count).store(column);
    for (int j = 0; j < count; ++j) head_block[(i + j) * kBlockKeys + slot] = column[j];
    Lanes::load_some(v + i, count).store(values + i);  // zeros beyond head_dim
  }
}

// codes: padded_dim(head_dim), with zeros beyond head_dim.
inline void quantise(const float* x, std::int64_t head_dim, std::int8_t* codes, float* scales) {
  constexpr float kLeast = 0x1p-100f;
  for (std::int64_t i = 0; i < head_dim; i += kScaleDim, codes += kScaleDim) {
    const int count = static_cast<int>(head_dim - i < kScaleDim ? head_dim - i : kScaleDim);
    const Lanes zero = Lanes::all(0.0f), first = Lanes::load_some(x + i, count < 16 ? count : 16);
    const Lanes second = count > 16 ? Lanes::load_some(x + i + 16, count - 16) : zero;
    const float most = largest(larger(larger(first, zero - first), larger(second, zero - second)));
    float inverse = 0.0f, scale = 0.0f;
    if (sum(first * zero + second * zero) != 0.0f) {  // NaN also for infinity times zero
      scale = std::numeric_limits<float>::quiet_NaN();
    } else if (most >= kLeast) {
      inverse = 127.0f / most;
      scale = most / 127.0f;
    }
    *scales++ = scale;
    if (inverse == 0.0f) {
      for (int j = 0; j < (count > 16 ? 32 : 16); ++j) codes[j] = 0;
      continue;
    }
    nearest(first * Lanes::all(inverse)).store(codes);
    if (count > 16) nearest(second * Lanes::all(inverse)).store(codes + 16);
  }
}

// Rotates the key and value, subtracts the block's first key from the key, and writes both as codes and scales.
inline void append_codes(const float* k, const float* v, std::int64_t head_dim, std::uint8_t* head_block,
                         std::int64_t slot, const float* first) {
  const std::int64_t count = scales_of(head_dim), padded = padded_dim(head_dim), n = hadamard_dim(head_dim);
  auto* keys = reinterpret_cast<std::int8_t*>(head_block);
  std::int8_t* values = keys + head_dim * kBlockKeys + slot * padded;
  auto* key_scales = reinterpret_cast<float*>(head_block + element_block_bytes(head_dim, CacheType::q8));
  float* value_scales = key_scales + count * kBlockKeys + slot * count;
  auto* first_rotated = reinterpret_cast<float*>(head_block + first_key_at(head_dim));
  const auto rotated = [n](const float* from, std::int64_t some, float* to) {
    std::memcpy(to, from, static_cast<std::size_t>(some) * sizeof(float));
    hadamard(to, some, n);
  };
  for (std::int64_t start = 0; start < head_dim; start += kMostHadamard) {  // a multiple of n and of kScaleDim
    const std::int64_t some = head_dim - start < kMostHadamard ? head_dim - start : kMostHadamard;
    float numbers[kMostHadamard], first_key[kMostHadamard], scales[kMostHadamard / kScaleDim];
    std::int8_t codes[kMostHadamard];
    rotated(k + start, some, numbers);
    const float* centre = first_rotated + start;
    if (slot == 0) {
      std::memcpy(first_rotated + start, numbers, static_cast<std::size_t>(some) * sizeof(float));
    } else if (first != nullptr) {
      rotated(first + start, some, first_key);
      centre = first_key;
    }
    for (std::int64_t i = 0; i < some; ++i) numbers[i] -= centre[i];
    quantise(numbers, some, codes, scales);
    for (std::int64_t i = 0; i < some; ++i) keys[(start + i) * kBlockKeys + slot] = codes[i];
    for (std::int64_t i = 0; i < scales_of(some); ++i)
      key_scales[(start / kScaleDim + i) * kBlockKeys + slot] = scales[i];
    rotated(v + start, some, numbers);
    quantise(numbers, some, values + start, value_scales + start / kScaleDim);
  }
}

void append(const float* k, const float* v, std::int64_t head_dim, CacheType type, std::uint8_t* head_block,
            std::int64_t slot, const float* first) {
  switch (type) {
    case CacheType::f16: return append_as(k, v, head_dim, reinterpret_cast<Half*>(head_block), slot);
    case CacheType::f32: return append_as(k, v, head_dim, reinterpret_cast<float*>(head_block), slot);
    case CacheType::q8: return append_codes(k, v, head_dim, head_block, slot, first);
  }
}

template <typename Element>
inline void append_latent_as(const float* x, std::int64_t width, Element* row) {
  for (std::int64_t i = 0; i < width; i += 16)
    Lanes::load_some(x + i, static_cast<int>(width - i < 16 ? width - i : 16)).store(row + i);  // zeros beyond width
}

void append_latent(const float* x, std::int64_t width, CacheType type, std::uint8_t* latents, std::int64_t slot) {
  const std::int64_t padded = padded_dim(width);
  switch (type) {
    case CacheType::f16: return append_latent_as(x, width, reinterpret_cast<Half*>(latents) + slot * padded);
    case CacheType::f32: return append_latent_as(x, width, reinterpret_cast<float*>(latents) + slot * padded);
    case CacheType::q8: {
      auto* scales = reinterpret_cast<float*>(latents + kBlockKeys * padded);
      auto* codes = reinterpret_cast<std::int8_t*>(latents) + slot * padded;
      return quantise(x, width, codes, scales + slot * scales_of(width));
    }
  }
}

}  // namespace
