// Attention that leaves its weights for whoever looks: attention.h over Lanes. Included after attention_body.h, by the same
// files. What it computes it computes with the functions of that file.

#pragma once

namespace {

// segment_state, a few rows at a time, whose weights are kept before the next ones take their place.
inline void shown_state(const AttentionTile& tile, std::int64_t segment, const Scratch& scratch, float* state,
                        const ShownRows& to) {
  clear_state(state, tile.rows(), tile.value_dim);
  const std::int64_t stride = state_stride(tile.value_dim), padded = padded_dim(tile.value_dim);
  const auto keep = [&](std::int64_t block, std::int64_t row, std::int64_t count) {
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t token = (row + r) / tile.group, head = (row + r) % tile.group;
      const VisibleKeys visible = visible_keys(tile, block, token);
      if (to.weights[token] == nullptr || visible.first >= visible.last) continue;
      std::memcpy(to.weights[token] + head * to.positions + block * kBlockKeys + visible.first,
                  scratch.weights + r * kBlockKeys + visible.first,
                  static_cast<std::size_t>(visible.last - visible.first) * sizeof(float));
      to.largest[token][head * to.blocks + block] = state[(row + r) * stride + padded + 16];
    }
  };
  for_each_block(tile, segment, scratch,
                 [&](std::int64_t block, std::int64_t begin, std::int64_t end, const auto& from, const auto& next) {
                   for (std::int64_t row = begin; row < end; row += Lanes::kRows) {
                     const std::int64_t count = end - row < Lanes::kRows ? end - row : Lanes::kRows;
                     attend_block(tile, block, row, row + count, scratch.q, from, next, scratch.weights, state);
                     keep(block, row, count);
                   }
                 });
}

void attend_shown(const AttentionTile& tile, const float* sinks, float* scratch, float* out, std::int64_t out_stride,
                  const ShownRows& to) {
  attend_segments(tile, sinks, scratch, out, out_stride,
                  [&](std::int64_t segment, const Scratch& room, float* state) {
                    shown_state(tile, segment, room, state, to);
                  });
}

void attend_segment_shown(const AttentionTile& tile, std::int64_t segment, float* scratch_floats, float* state,
                          const ShownRows& to) {
  const Scratch scratch(scratch_floats, tile);
  prepare_queries(tile, scratch.q);
  shown_state(tile, segment, scratch, state, to);
}

// Puts position s among a row's heaviest, behind equal ones.
inline void insert_heavy(const ShownRow& row, std::int64_t s, float weight) {
  std::int64_t at = row.most;
  while (at > 0 && (row.top[at - 1] < 0 || weight > row.top_weights[at - 1])) --at;
  if (at == row.most) return;
  for (std::int64_t j = row.most - 1; j > at; --j) row.top[j] = row.top[j - 1], row.top_weights[j] = row.top_weights[j - 1];
  row.top[at] = static_cast<std::int32_t>(s), row.top_weights[at] = weight;
}

// each(at, lanes) for every sixteen of `count` numbers, the last of them fewer.
template <typename Each>
inline void by_lanes(std::int64_t count, Each each) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) each(i, 16);
  if (i < count) each(i, static_cast<int>(count - i));
}

// The largest of `count` scores.
inline float largest_of(const float* scores, std::int64_t count) {
  Lanes best = Lanes::all(-FLT_MAX);
  by_lanes(count, [&](std::int64_t i, int lanes) {
    best = larger(best, keep(Lanes::load_some(scores + i, lanes), 0, lanes, -FLT_MAX));
  });
  return largest(best);
}

// The part of a row that lies in one block.
struct BlockOfRow {
  float* weights;
  std::int64_t first_key, count;  // the position of the first, and how many
};

inline BlockOfRow block_of(const ShownRow& row, std::int64_t first, std::int64_t block) {
  const std::int64_t begin = first > block * kBlockKeys ? first : block * kBlockKeys;
  const std::int64_t end = row.position + 1 < (block + 1) * kBlockKeys ? row.position + 1 : (block + 1) * kBlockKeys;
  return {row.weights + begin, begin, end - begin};
}

// Weights of a block by `factor` are shares: those among the heaviest, which are not below `least`, go there.
inline void heaviest_of_block(const ShownRow& row, const BlockOfRow& part, float factor, float least) {
  by_lanes(part.count, [&](std::int64_t i, int lanes) {
    float shares[16];
    const Lanes share = Lanes::load_some(part.weights + i, lanes) * Lanes::all(factor);
    if (largest(share) < least) return;
    share.store(shares);
    for (int j = 0; j < lanes; ++j)
      if (shares[j] >= least) insert_heavy(row, part.first_key + i + j, shares[j]);
  });
}

// What the `most` heaviest of a row are not below: of its lanes' largest shares, which are shares of sixteen positions,
// number `most`. A little less, for they are rounded otherwise.
inline float least_of_top(Lanes largest_shares, std::int64_t most) {
  if (most > 16) return 0.0f;
  float shares[16], sorted[16];
  largest_shares.store(shares);
  for (int n = 0; n < 16; ++n) {
    int at = n;
    for (; at > 0 && sorted[at - 1] < shares[n]; --at) sorted[at] = sorted[at - 1];
    sorted[at] = shares[n];
  }
  return sorted[most - 1] * (1.0f - 0x1p-20f);
}

void finish_row(const ShownRow& row) {
  const std::int64_t first = row.position - row.window + 1 > 0 ? row.position - row.window + 1 : 0;
  const std::int64_t begin = first / kBlockKeys, end = row.position / kBlockKeys + 1;
  float now = largest_of(row.largest + begin, end - begin);
  if (row.sink != nullptr && *row.sink * kLog2OfE > now) now = *row.sink * kLog2OfE;
  by_lanes(end - begin, [&](std::int64_t i, int lanes) {  // what each block is multiplied by
    float* at = row.largest + begin + i;
    two_to_the(Lanes::load_some(at, lanes) - Lanes::all(now)).store_some(at, lanes);
  });
  Lanes sums = Lanes::all(0.0f), peaks = sums;
  for (std::int64_t block = begin; block < end; ++block) {
    const BlockOfRow part = block_of(row, first, block);
    Lanes of_block = Lanes::all(0.0f), peak = of_block;
    by_lanes(part.count, [&](std::int64_t i, int lanes) {
      const Lanes weight = Lanes::load_some(part.weights + i, lanes);
      of_block = of_block + weight;
      peak = larger(peak, weight);
    });
    sums = fma(of_block, Lanes::all(row.largest[block]), sums);
    peaks = larger(peaks, peak * Lanes::all(row.largest[block]));
    row.peaks[block] = largest(peak);
  }
  Lanes total = Lanes::all(sum(sums)), sink = Lanes::all(0.0f);
  if (row.sink != nullptr) {
    sink = two_to_the(Lanes::all(*row.sink * kLog2OfE - now));
    total = total + sink;
  }
  if (row.sink_share != nullptr) (sink / total).store_some(row.sink_share, 1);
  by_lanes(end - begin, [&](std::int64_t i, int lanes) {
    float* at = row.largest + begin + i;
    (Lanes::load_some(at, lanes) / total).store_some(at, lanes);
  });
  for (std::int64_t i = 0; row.top != nullptr && i < row.most; ++i) row.top[i] = -1, row.top_weights[i] = 0.0f;
  const float least = row.top == nullptr ? 0.0f : least_of_top(peaks / total, row.most);
  for (std::int64_t block = begin; block < end; ++block) {
    const BlockOfRow part = block_of(row, first, block);
    const float factor = row.largest[block];
    if (row.top != nullptr && row.peaks[block] * factor >= least) heaviest_of_block(row, part, factor, least);
    if (row.keeps_weights)
      by_lanes(part.count, [&](std::int64_t i, int lanes) {
        (Lanes::load_some(part.weights + i, lanes) * Lanes::all(factor)).store_some(part.weights + i, lanes);
      });
  }
}

}  // namespace
