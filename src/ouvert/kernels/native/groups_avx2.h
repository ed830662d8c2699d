// Products of packed weights with whole-number activations in AVX2: the loops over groups of rows and over tokens. What
// depends on the size of a code of activations is a template argument, `Tokens<layout, W>`:
//
//   Code, kWidest                         type of a code; most tokens at a time
//   prepare(codes, scales, sums, width)   reads a block of W tokens
//
// and a function beside it, which adds a block of 16 rows to the sums [half][token]:
//
//   add_block(packed, scales, stretch, within, tokens, sums)

#pragma once

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "linear_layout.h"
#include "store_avx2.h"
#include "weights_avx2.h"

namespace ouvert {
namespace {

// Adds a block's dot product, times the scales of weights and token, and the minimum's part, to a sum.
template <Layout L, typename Tokens>
OUVERT_INLINE void add_scaled(__m256i dot, const BlockScales& weights, const Tokens& tokens, int t, __m256& sum) {
  __m256 now = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(weights.scale, tokens.scales[t]), sum);
  if constexpr (has_minimum(L)) now = _mm256_fmadd_ps(weights.minimum, tokens.scaled_sums[t], now);
  sum = now;
}

// Up to kStreams groups of rows side by side, block by block. Where memory is the limit, a thread reads a fifth to a
// third faster from several places at a time than from one; and the tokens of a block are prepared once for all groups.
// Memory is prefetched kAhead bytes ahead, across the ends of pages and of groups, into the second-level cache.
constexpr int kStreams = 4;
constexpr std::int64_t kAhead = 1024;

template <Layout L, int W, template <Layout, int> typename Tokens>
__attribute__((noinline)) void tokens(const std::uint8_t* group, int groups, std::int64_t columns,
                                      const TileOf<typename Tokens<L, W>::Code>& tile, std::int64_t t0,
                                      std::int64_t token, const Destination& to) {
  constexpr Geometry g = geometry(L);
  constexpr std::int64_t kBytes = g.codes + g.scales * kBlock / g.scales_columns;  // of one block
  const std::int64_t bytes = group_bytes(L, columns);
  const auto* activations = tile.codes + t0 * kBlock;
  const float* scales = tile.scales + t0;
  const std::int32_t* code_sums = tile.sums + t0;
  Tokens<L, W> now;
  __m256 sums[kStreams][2][W];
  for (int n = 0; n < groups; ++n)
#pragma GCC unroll 8
    for (int t = 0; t < W; ++t) sums[n][0][t] = sums[n][1][t] = _mm256_setzero_ps();
  std::int64_t stretch = 0, ahead = kAhead;  // from the start of each group
  for (std::int64_t left = columns / kBlock; left > 0; left -= kStretchBlocks) {
    const std::int64_t blocks = std::min(left, kStretchBlocks);
    std::int64_t packed = stretch + stretch_scales(L, blocks);
    StretchScales shared[kStreams];
    for (int n = 0; n < groups; ++n) load_shared_scales<L>(group + n * bytes + stretch, shared[n]);
    for (std::int64_t within = 0; within < blocks; ++within, packed += g.codes, ahead += kBytes) {
      now.prepare(activations, scales, code_sums, tile.width);
      activations += tile.width * kBlock;
      scales += tile.width;
      code_sums += 2 * tile.width;
      const std::uint8_t* from = group;
      const std::int64_t skip = ahead < bytes ? ahead : ahead + (groups - 1) * bytes;
      for (int n = 0; n < groups; ++n, from += bytes) {
#pragma GCC unroll 10
        for (std::int64_t line = 0; line < kBytes; line += 64)
          _mm_prefetch(reinterpret_cast<const char*>(from + skip + line), _MM_HINT_T1);
        add_block(from + packed, from + stretch, shared[n], within, now, sums[n]);
      }
    }
    stretch = packed;
  }
  for (int n = 0; n < groups; ++n)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half)
#pragma GCC unroll 8
      for (int t = 0; t < W; ++t) store(to.group(n), token + t, half, sums[n][half][t]);
}

template <typename Code>
using TokensFunction = void(const std::uint8_t*, int, std::int64_t, const TileOf<Code>&, std::int64_t, std::int64_t,
                            const Destination&);

template <template <Layout, int> typename T, Layout L>
void matmul_layout(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
                   const Epilogue& epilogue) {
  using Code = typename T<L, 1>::Code;
  constexpr std::int64_t kWidest = T<L, 1>::kWidest;
  const std::int64_t columns = weights.columns, bytes = group_bytes(L, columns);
  constexpr auto kTokens = []<int... N>(std::integer_sequence<int, N...>) {
    return std::array<TokensFunction<Code>*, kWidest>{tokens<L, N + 1, T>...};
  }(std::make_integer_sequence<int, kWidest>());
  // As many tokens at a time as fit into the second-level cache, for all rows.
  constexpr std::int64_t kCache = 192 << 10;
  const std::int64_t token_bytes = columns / kBlock * activation_block_bytes(sizeof(Code));
  const std::int64_t chunk = std::max<std::int64_t>(1, kCache / token_bytes / kTokenTile) * kTokenTile;
  for (std::int64_t begin = piece.token_begin, end; begin < piece.token_end; begin = end) {
    end = std::min(piece.token_end, (begin / chunk + 1) * chunk);
    for (std::int64_t row = piece.row_begin; row < piece.row_end; row += kStreams * kRowGroup) {
      const std::uint8_t* group = weights.data + row / kRowGroup * bytes;
      const std::int64_t left_groups = (piece.row_end - row + kRowGroup - 1) / kRowGroup;
      const int groups = static_cast<int>(std::min<std::int64_t>(kStreams, left_groups));
      const Destination to{out, stride, &epilogue, row, weights.rows - row};
      for (std::int64_t token = begin; token < end;) {
        const TileOf<Code> tile = tile_at<Code>(x, token / kTokenTile);
        const std::int64_t t0 = token % kTokenTile, left = std::min(tile.width - t0, end - token);
        const std::int64_t width = std::min(left, kWidest);
        kTokens[static_cast<std::size_t>(width - 1)](group, groups, columns, tile, t0, token, to);
        token += width;
      }
    }
  }
}

template <template <Layout, int> typename T>
void multiply(const Matrix& w, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
              const Epilogue& e) {
  with_int8_layout(w.layout, [&](auto layout) { matmul_layout<T, layout>(w, x, out, stride, piece, e); });
}

}  // namespace
}  // namespace ouvert
