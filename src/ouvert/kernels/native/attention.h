// Causal attention over paged caches.
//
// The cache of a sequence is a list of blocks of kBlockKeys keys. Within a block, every kv head of every layer has one
// contiguous run of bytes, its head block: the keys transposed, [head_dim][kBlockKeys], then the values,
// [kBlockKeys][padded_dim], as float16, float32 or int8. Because keys are transposed, one load serves sixteen keys, and
// scores need no sums across lanes.
//
// int8 codes have one float32 scale for every kScaleDim neighbours of a key or value (the last scale may have fewer).
// Behind the codes stand the scales of the keys, [scales][kBlockKeys], those of the values, [kBlockKeys][scales], and
// the first key, [head_dim]:
//
//   largest = max |x| of the neighbours      scale = largest / 127      code = nearest(x * (127 / largest)), ties to even
//
// Before rounding, keys and values are rotated: every hadamard_dim(head_dim) neighbours are multiplied by an
// orthonormal Hadamard matrix (Sylvester's order). This spreads a few very large numbers over all of their neighbours,
// so that the common scale does not round the others away. Queries are rotated too, which leaves the scores as they
// were. The output is rotated once more, which undoes the rotation. Ashkboos et al., QuaRot, arXiv:2404.00456. Of a
// key, only the difference from the block's first key is rounded: what all keys have in common (for example the biases
// of Qwen2.5) then does not enlarge the scale. The first key of a block, rotated, is kept as float32 behind the scales.
// A key is read as code * scale, rounded, plus the number of the first key, rounded. Latents are neither rotated nor
// stored as differences.
//
// Neighbours whose largest is below 2^-100 become zero. If one of them is infinite or NaN, all become NaN. A code is
// read as code * scale, rounded to float32; all else is computed as with a float32 cache.
//
// The result of a query depends on its position and the cache only. Keys are taken in blocks at absolute positions.
// Blocks are added one after the other within a segment of kSegmentKeys keys (with a running maximum), and segments are
// merged one after the other. A block or segment of which a query sees nothing changes none of its bits. So the result
// does not depend on which queries are computed together, how a prompt was split, or which thread computes a segment.
//
//   score = sum over d, in order, fused, of (q[d] * scale * log2 e) * k[d]
//   weight = 2^(score - largest)
//
// Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135. Sinks: Xiao et al., arXiv:2309.17453.

#pragma once

#include <cstddef>
#include <cstdint>

#include "instruction_set.h"

namespace ouvert {

inline constexpr std::int64_t kBlockKeys = 64;
inline constexpr std::int64_t kSegmentKeys = 256;
inline constexpr std::int64_t kTileRows = 64;  // queries computed together: tokens times query heads of one kv head
inline constexpr std::int64_t kNoWindow = INT64_MAX / 2;

inline constexpr std::int64_t kScaleDim = 32;

// Numbers of a key that are rotated together: the largest power of two that divides head_dim, at most kMostHadamard.
inline constexpr std::int64_t kMostHadamard = 256;
constexpr std::int64_t hadamard_dim(std::int64_t head_dim) {
  const std::int64_t n = head_dim & -head_dim;
  return n < kMostHadamard ? n : kMostHadamard;
}

enum class CacheType : std::uint8_t { f16, f32, q8 };
const char* name(CacheType type);

constexpr std::int64_t padded_dim(std::int64_t head_dim) { return (head_dim + 15) / 16 * 16; }

constexpr std::int64_t element_bytes(CacheType type) {
  return type == CacheType::f16 ? 2 : type == CacheType::f32 ? 4 : 1;
}

// Scales of one key or value.
constexpr std::int64_t scales_of(std::int64_t head_dim) { return (head_dim + kScaleDim - 1) / kScaleDim; }

// Bytes of the keys and values in a head block; scales, if there are any, stand behind them.
constexpr std::int64_t element_block_bytes(std::int64_t head_dim, CacheType type) {
  return kBlockKeys * (head_dim + padded_dim(head_dim)) * element_bytes(type);
}

// Where the first key stands, in bytes from the start of a head block of int8 codes.
constexpr std::int64_t first_key_at(std::int64_t head_dim) {
  return element_block_bytes(head_dim, CacheType::q8) + 2 * kBlockKeys * scales_of(head_dim) * 4;
}

// Bytes of a head block: one kv head of one layer in one block. A multiple of 64.
constexpr std::int64_t head_block_bytes(std::int64_t head_dim, CacheType type) {
  const std::int64_t bytes = type == CacheType::q8 ? first_key_at(head_dim) + 4 * head_dim
                                                   : element_block_bytes(head_dim, type);
  return (bytes + 63) / 64 * 64;
}

// Bytes of the latents of one layer in one block: [kBlockKeys][padded_dim(width)], and for int8 the scales of each,
// [kBlockKeys][scales]. A multiple of 64. A latent is read as a key, and its first value_dim numbers as a value; all
// else is computed as with a float32 cache.
constexpr std::int64_t latent_block_bytes(std::int64_t width, CacheType type) {
  const std::int64_t scales = type == CacheType::q8 ? scales_of(width) * 4 : 0;
  return (kBlockKeys * (padded_dim(width) * element_bytes(type) + scales) + 63) / 64 * 64;
}

// Zeros in the slots of a head block, or of a layer's latents, from `first` on.
void clear_slots(std::uint8_t* head_block, std::int64_t head_dim, CacheType type, std::int64_t first);
void clear_latents(std::uint8_t* latents, std::int64_t width, CacheType type, std::int64_t first);

// Queries of one kv head that are computed together. Row r is token r / group, query head r % group.
struct AttentionTile {
  const float* q;               // of the first token and the group's first head; heads are head_dim apart
  std::int64_t q_stride;        // floats from token to token
  std::int64_t tokens;
  std::int64_t group;           // query heads that share this kv head
  std::int64_t head_dim;
  std::int64_t position;        // of the first token
  std::int64_t window;          // tokens that a token sees, itself included; kNoWindow for all
  float scale;
  CacheType type;
  std::uint8_t* const* blocks;  // block b holds keys b * kBlockKeys ..
  std::int64_t offset;          // bytes from the start of a block to this layer's and head's part of it
  std::int64_t value_dim;       // head_dim, or for latents how much of one is the value
  bool latent = false;

  std::int64_t rows() const { return tokens * group; }
  std::int64_t first_key() const { return position - window + 1 > 0 ? position - window + 1 : 0; }
  std::int64_t first_segment() const { return first_key() / kSegmentKeys; }
  std::int64_t end_segment() const { return (position + tokens - 1) / kSegmentKeys + 1; }
};

// Floats of one row of a state: padded_dim weighted sums of values, 16 partial sums of weights, 16 times the largest
// score.
constexpr std::int64_t state_stride(std::int64_t value_dim) { return padded_dim(value_dim) + 32; }

// Floats of scratch that a thread needs for tiles of so many rows.
constexpr std::int64_t attention_scratch(std::int64_t rows, std::int64_t head_dim, std::int64_t value_dim) {
  return rows * head_dim + kBlockKeys * (head_dim + padded_dim(value_dim)) + 8 * kBlockKeys +
         2 * rows * state_stride(value_dim) + 64;
}

// Queries of one head whose keys and values are made of the latents: a key is `nope` numbers of a latent by a matrix,
// and the rest of what is cached, which knows its position; a value is `value_dim` numbers by another. The scores are
// those of the latents (AttentionTile::latent) in another order of products, so their last bits differ.
struct ExpandedTile {
  const float* q_nope;          // of the first token and this head
  std::int64_t nope_stride;     // floats from token to token
  const float* q_rope;
  std::int64_t rope_stride;
  const float* weights;         // (nope + value_dim) x latent: what makes keys, then what makes values
  std::int64_t tokens, nope, rope, value_dim, latent;
  std::int64_t position;        // of the first token
  float scale;
  CacheType type;
  std::uint8_t* const* blocks;
  std::int64_t offset;
};

// Floats of scratch for it.
constexpr std::int64_t expanded_scratch(const ExpandedTile& t) {
  return attention_scratch(t.tokens, t.nope + t.rope, t.value_dim) +
         kBlockKeys * (padded_dim(t.latent + t.rope) + t.nope + t.value_dim);
}

// Where the weights of a tile go while its attention is computed, for whoever looks. A row has one number a position: its
// weight relative to the largest score that was met up to its block, which `largest` has for each block.
struct ShownRows {
  float* const* weights;  // of each token of the tile and the group's first head; null for a token that nobody looks at
  float* const* largest;  // the same
  std::int64_t positions, blocks;  // from head to head
};

// A row of ShownRows on its way to shares, and what else is shown of it.
struct ShownRow {
  float* weights;
  bool keeps_weights;  // they become shares; what the token does not see stays as it is
  float *largest, *peaks;  // of each block; work space afterwards, as peaks is before
  std::int64_t position, window;
  const float* sink;  // the score of the head's sink, or null
  float* sink_share;  // or null
  std::int32_t* top;  // the `most` heaviest positions, heaviest first, the lower among equals; -1 where there are fewer
  float* top_weights;  // both or neither are null
  std::int64_t most;
};

struct AttentionKernels {
  // Writes the key and value of one token and kv head into slot `slot` (0 .. 63) of a head block. `first` is the key of
  // slot 0, or null if slot 0 is written already: by this thread, or in an earlier step.
  void (*append)(const float* k, const float* v, std::int64_t head_dim, CacheType type, std::uint8_t* head_block,
                 std::int64_t slot, const float* first);

  // Writes the latent of one token into slot `slot` of a layer's latents.
  void (*append_latent)(const float* x, std::int64_t width, CacheType type, std::uint8_t* latents, std::int64_t slot);

  // The result of a tile: out[token * out_stride + head * value_dim + d]. sinks: one per head of the group, or null.
  // The cache holds the keys up to the last token's.
  void (*attend)(const AttentionTile& tile, const float* sinks, float* scratch, float* out, std::int64_t out_stride);

  // The same in two steps: the state of one segment (rows x state_stride) ...
  void (*attend_segment)(const AttentionTile& tile, std::int64_t segment, float* scratch, float* state);
  // ... and the result from the states of `count` segments in order, `between` floats apart. Changes the first state.
  void (*merge_segments)(const AttentionTile& tile, float* states, std::int64_t count, std::int64_t between,
                         const float* sinks, float* out, std::int64_t out_stride);

  // out[token * out_stride + d]. Keys are taken in the same blocks and segments as everywhere; each is made of its latent
  // alone, by sums in the order of the latent's numbers, so the result of a query depends on its position and the cache.
  void (*attend_expanded)(const ExpandedTile& tile, float* scratch, float* out, std::int64_t out_stride);

  // The same as `attend` and `attend_segment`, bit for bit, and the weights on the way. With a value_dim of 0 nothing but
  // the weights is computed.
  void (*attend_shown)(const AttentionTile& tile, const float* sinks, float* scratch, float* out,
                       std::int64_t out_stride, const ShownRows& to);
  void (*attend_segment_shown)(const AttentionTile& tile, std::int64_t segment, float* scratch, float* state,
                               const ShownRows& to);
  // Those weights as shares: of the same largest score, their sum added up block after block. Heaviest first.
  void (*finish_row)(const ShownRow& row);
};

// The set must be one this machine has. All sets compute the same numbers bit for bit.
const AttentionKernels& attention_kernels(InstructionSet set);

extern const AttentionKernels attention_plain;
extern const AttentionKernels attention_avx2;
extern const AttentionKernels attention_avx512;

}  // namespace ouvert
