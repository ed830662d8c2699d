// Causal attention over paged caches.
//
// A sequence's cache is a row of blocks of kBlockKeys keys. Within a block, each kv head of each layer has one stretch
// of bytes: its keys transposed, [head_dim][kBlockKeys], then its values, [kBlockKeys][padded_dim], as float16, float32
// or int8. Transposed keys let one load serve sixteen keys, so that scores need no sums across lanes.
//
// int8 codes have a float32 scale for every kScaleDim neighbours of one key or value (the last of them for as many as
// are left): behind the codes stand those of the keys, [scales][kBlockKeys], and of the values, [kBlockKeys][scales], and
// behind them the first key, [head_dim].
//
//   largest = max |x| of the neighbours      scale = largest / 127      code = nearest(x * (127 / largest)), ties to even
//
// Before that, keys and values are turned: multiplied by an orthonormal Hadamard matrix (Sylvester's order), every
// turned_dim(head_dim) neighbours together. A few numbers that are many times larger than the rest are then spread over
// all, and the common scale does not round the rest away. Queries are turned too, so that scores are what they were; what
// the shares bring back is turned once more, which is back. Ashkboos et al., QuaRot, arXiv:2404.00456.
// And of a key only its difference from the block's first key is rounded: what all keys have in common, as Qwen2.5's
// biases give them, takes no part of the scale. The first key of a block, turned, stands behind the scales as float32,
// and what is read is code * scale, rounded, plus its number, rounded. Latents are neither turned nor taken from another.
//
// Neighbours below 2^-100 become zero, and all of them not a number if one is infinite or not a number. What is read is
// code * scale rounded to float32, and everything else is as if that had been in a float32 cache.
//
// The numbers of a query depend on its position, the cache and nothing else. Keys are taken in blocks at absolute
// positions; blocks are joined one after the other within a segment of kSegmentKeys keys (running maximum), and
// segments one after the other. A block or segment in which a query sees nothing changes none of its bits, so it does
// not matter which other queries are looked at together, how a prompt was split, or who computes a segment.
//
//   score = sum over d, in order, fused, of (q[d] * scale * log2 e) * k[d]
//   share = 2^(score - largest)
//
// Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135. Sinks: Xiao et al., arXiv:2309.17453.

#pragma once

#include <cstddef>
#include <cstdint>

#include "instruction_set.h"

namespace ouvert {

inline constexpr std::int64_t kBlockKeys = 64;
inline constexpr std::int64_t kSegmentKeys = 256;
inline constexpr std::int64_t kTileRows = 64;  // queries looked at together: tokens times query heads of one kv head
inline constexpr std::int64_t kNoWindow = INT64_MAX / 2;

inline constexpr std::int64_t kScaleDim = 32;

// Numbers of a key that are turned together: as many as the largest power of two that goes into them.
inline constexpr std::int64_t kMostTurned = 256;
constexpr std::int64_t turned_dim(std::int64_t head_dim) {
  const std::int64_t n = head_dim & -head_dim;
  return n < kMostTurned ? n : kMostTurned;
}

enum class CacheType : std::uint8_t { f16, f32, q8 };

constexpr std::int64_t padded_dim(std::int64_t head_dim) { return (head_dim + 15) / 16 * 16; }

constexpr std::int64_t element_bytes(CacheType type) {
  return type == CacheType::f16 ? 2 : type == CacheType::f32 ? 4 : 1;
}

// Scales of one key or value.
constexpr std::int64_t scales_of(std::int64_t head_dim) { return (head_dim + kScaleDim - 1) / kScaleDim; }

// Bytes of the keys and values in a stretch; scales, if there are any, stand behind them.
constexpr std::int64_t element_block_bytes(std::int64_t head_dim, CacheType type) {
  return kBlockKeys * (head_dim + padded_dim(head_dim)) * element_bytes(type);
}

// Where the first key of a block of int8 codes stands, in bytes from the start of the stretch.
constexpr std::int64_t first_key_at(std::int64_t head_dim) {
  return element_block_bytes(head_dim, CacheType::q8) + 2 * kBlockKeys * scales_of(head_dim) * 4;
}

// Bytes of one kv head of one layer in one block. A multiple of 64.
constexpr std::int64_t head_block_bytes(std::int64_t head_dim, CacheType type) {
  const std::int64_t bytes = type == CacheType::q8 ? first_key_at(head_dim) + 4 * head_dim
                                                   : element_block_bytes(head_dim, type);
  return (bytes + 63) / 64 * 64;
}

// Bytes of the latents of one layer in one block: [kBlockKeys][padded_dim(width)], and for int8 the scales of each,
// [kBlockKeys][scales]. A multiple of 64. They are read as keys and, as far as a value goes, as values, and everything
// else is as if both had been in a float32 cache.
constexpr std::int64_t latent_block_bytes(std::int64_t width, CacheType type) {
  const std::int64_t scales = type == CacheType::q8 ? scales_of(width) * 4 : 0;
  return (kBlockKeys * (padded_dim(width) * element_bytes(type) + scales) + 63) / 64 * 64;
}

// Zeros in the slots of a stretch, or of a layer's latents, from `first` on.
void clear_slots(std::uint8_t* stretch, std::int64_t head_dim, CacheType type, std::int64_t first);
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
  std::int64_t offset;          // bytes from a block's start to this layer's and head's stretch
  std::int64_t value_dim;       // head_dim, but for latents
  bool latent = false;

  std::int64_t rows() const { return tokens * group; }
  std::int64_t first_key() const { return position - window + 1 > 0 ? position - window + 1 : 0; }
  std::int64_t first_segment() const { return first_key() / kSegmentKeys; }
  std::int64_t end_segment() const { return (position + tokens - 1) / kSegmentKeys + 1; }
};

// Floats of a row of a state: padded_dim sums, 16 partial totals, 16 with the largest score.
constexpr std::int64_t state_stride(std::int64_t value_dim) { return padded_dim(value_dim) + 32; }

// Floats of scratch that a thread needs for tiles of so many rows.
constexpr std::int64_t attention_scratch(std::int64_t rows, std::int64_t head_dim, std::int64_t value_dim) {
  return rows * head_dim + kBlockKeys * (head_dim + padded_dim(value_dim)) + 8 * kBlockKeys +
         2 * rows * state_stride(value_dim) + 64;
}

struct AttentionKernels {
  // Writes the key and value of one token and kv head into slot `slot` (0 .. 63) of a block's stretch. `first` is the key
  // of slot 0, or null where slot 0 has been written: by this thread, or in an earlier step.
  void (*remember)(const float* k, const float* v, std::int64_t head_dim, CacheType type, std::uint8_t* stretch,
                   std::int64_t slot, const float* first);

  // Writes the latent of one token into slot `slot` of a layer's latents.
  void (*remember_latent)(const float* x, std::int64_t width, CacheType type, std::uint8_t* latents, std::int64_t slot);

  // The whole answer of a tile: out[token * out_stride + head * value_dim + d]. sinks: one per head of the group, or
  // null. The keys up to the last token's are in the cache.
  void (*attend)(const AttentionTile& tile, const float* sinks, float* scratch, float* out, std::int64_t out_stride);

  // The same in two steps: one segment's state (rows x state_stride) ...
  void (*attend_segment)(const AttentionTile& tile, std::int64_t segment, float* scratch, float* state);
  // ... and the answer from `count` states one after the other, `between` floats apart; the first is changed.
  void (*join)(const AttentionTile& tile, float* states, std::int64_t count, std::int64_t between, const float* sinks,
               float* out, std::int64_t out_stride);
};

// The set must be one this machine has. All sets compute the same numbers bit for bit.
const AttentionKernels& attention_kernels(InstructionSet set);

extern const AttentionKernels attention_plain;
extern const AttentionKernels attention_avx2;
extern const AttentionKernels attention_avx512;

}  // namespace ouvert
