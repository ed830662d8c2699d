// The weights that attention gives to positions, for whoever looks: attention.h over Lanes. Included after
// attention_body.h, by the same files.

#pragma once

namespace {

// Puts position s into a row's heaviest, behind equal ones.
inline void insert_heavy(std::int64_t s, float weight, const RowWeights& to, std::int32_t* top, float* top_weights) {
  std::int64_t at = to.most;
  while (at > 0 && (top[at - 1] < 0 || weight > top_weights[at - 1])) --at;
  if (at == to.most) return;
  for (std::int64_t j = to.most - 1; j > at; --j) top[j] = top[j - 1], top_weights[j] = top_weights[j - 1];
  top[at] = static_cast<std::int32_t>(s), top_weights[at] = weight;
}

// The weights of one row, relative to the largest score of each block so far, become shares; the heaviest are found.
inline void finish_row(const AttentionTile& tile, std::int64_t token, float* weights, const float* peaks,
                       const float* totals, Lanes factor, const RowWeights& to, std::int32_t* top, float* top_weights) {
  for (std::int64_t i = 0; top != nullptr && i < to.most; ++i) top[i] = -1, top_weights[i] = 0.0f;
  const std::int64_t position = tile.position + token;
  const std::int64_t first = position - tile.window + 1 > 0 ? position - tile.window + 1 : 0;
  for (std::int64_t block = first / kBlockKeys; block <= position / kBlockKeys; ++block) {
    const VisibleKeys visible = visible_keys(tile, block, token);
    float* at = weights + block * kBlockKeys;
    const Lanes rescale = two_to_the(Lanes::all(peaks[block]) - Lanes::load(totals + 16)) * factor;
    Lanes heaviest = Lanes::all(0.0f);
    for (std::int64_t i = visible.first; i < visible.last; i += 16) {
      const int count = static_cast<int>(visible.last - i < 16 ? visible.last - i : 16);
      const Lanes share = Lanes::load_some(at + i, count) * rescale;
      share.store_some(at + i, count);
      heaviest = larger(heaviest, share);
    }
    if (top == nullptr || (top[to.most - 1] >= 0 && largest(heaviest) <= top_weights[to.most - 1])) continue;
    for (std::int64_t i = visible.first; i < visible.last; ++i)
      insert_heavy(block * kBlockKeys + i, at[i], to, top, top_weights);
  }
}

void weigh(const AttentionTile& given, const float* sinks, float* scratch_floats, const RowWeights& to) {
  AttentionTile tile = given;
  tile.value_dim = 0;  // the states of `attend`, without sums of values
  const Scratch scratch(scratch_floats, tile);
  prepare_queries(tile, scratch.q);
  const std::int64_t rows = tile.rows(), stride = state_stride(0);
  float *state = scratch.states, *next_state = state + rows * stride;
  for (std::int64_t segment = tile.first_segment(); segment < tile.end_segment(); ++segment) {
    float* into = segment == tile.first_segment() ? state : next_state;
    clear_state(into, rows, 0);
    const auto add = [&](std::int64_t block, std::int64_t begin, std::int64_t end, const auto& from, const auto& next) {
      for (std::int64_t row = begin; row < end; row += Lanes::kRows) {
        const std::int64_t count = end - row < Lanes::kRows ? end - row : Lanes::kRows;
        attend_block(tile, block, row, row + count, scratch.q, from, next, scratch.weights, into);
        for (std::int64_t r = 0; r < count; ++r) {
          const std::int64_t token = (row + r) / tile.group, head = (row + r) % tile.group;
          const VisibleKeys visible = visible_keys(tile, block, token);
          if (visible.first >= visible.last) continue;
          std::memcpy(to.weights + token * to.token_stride + head * to.head_stride + block * kBlockKeys + visible.first,
                      scratch.weights + r * kBlockKeys + visible.first,
                      static_cast<std::size_t>(visible.last - visible.first) * sizeof(float));
          to.largest[(row + r) * to.blocks + block] = into[(row + r) * stride + 16];
        }
      }
    };
    for_each_block(tile, segment, scratch, add);
    if (into == next_state) merge_states(state, next_state, rows, 0);
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t token = r / tile.group, head = r % tile.group;
    const RowEnd end = end_of_row(state + r * stride, sinks == nullptr ? nullptr : sinks + head);
    if (to.sinks != nullptr) end.sink.store_some(to.sinks + token * to.sink_stride + head, 1);
    const std::int64_t at = token * to.top_stride + head * to.most;
    finish_row(tile, token, to.weights + token * to.token_stride + head * to.head_stride, to.largest + r * to.blocks,
               state + r * stride, end.factor, to, to.top == nullptr ? nullptr : to.top + at,
               to.top == nullptr ? nullptr : to.top_weights + at);
  }
}

}  // namespace
