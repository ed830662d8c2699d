// Where sequences keep their keys and values.
//
// Layers with the same window form a group and share a table of blocks. One block holds kBlockKeys keys and values of
// every kv head of every layer of the group, so a sequence needs one pointer per block and group, whatever the number
// of layers. Blocks come from large regions of address space; the system gives them memory when they are first written
// to.
//
// Layers with a state (in place of keys and values) form a group too. One block holds, for every such layer, the inputs
// and the state after the last token of the block. A sequence continues from the block of its last token. It can be
// truncated to the end of a block only.
//
// References to blocks are counted: several sequences and pages may hold the same block. A block with more than one
// holder is never written to: a sequence that continues in the middle of such a block continues in a copy.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "attention.h"
#include "edits.h"
#include "low_rank.h"
#include "pool.h"

namespace ouvert {

struct LayerMemory {
  std::int64_t kv_heads;  // latents: how much of one is the value; a state: 1
  std::int64_t head_dim;  // latents: width; a state: its floats, the convolution's last inputs first
  std::int64_t window;    // tokens that a token sees, itself included; kNoWindow for all
  enum class Kind : std::uint8_t { keys_and_values, latents, state } kind = Kind::keys_and_values;

  bool state() const { return kind == Kind::state; }
  bool latents() const { return kind == Kind::latents; }
  std::int64_t block_bytes(CacheType type) const {
    if (state()) return (kv_heads * head_dim * 4 + 63) / 64 * 64;
    return latents() ? latent_block_bytes(head_dim, type) : kv_heads * head_block_bytes(head_dim, type);
  }
};

// States are large. A sequence keeps those of its last two blocks, and of the blocks before them those at the ends of
// every kStateEvery blocks, or of twice as many, or again twice, so that these take at most kStateBytes and there are at
// most kMostStates (and may be kLeastStates). So what a sequence holds does not grow with its length, and there is
// something not too far back to be truncated to.
inline constexpr std::int64_t kStateEvery = 4;
inline constexpr std::int64_t kStateBytes = 128 << 20;
inline constexpr std::int64_t kMostStates = 16, kLeastStates = 2;

class Cache {
 public:
  // kept_before_window: how many tokens before its window a windowed layer keeps, so that a sequence can be truncated.
  Cache(std::vector<LayerMemory> layers, CacheType type, std::int64_t kept_before_window);
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  struct Group {
    std::int64_t window = 0;  // states: 2, because a token reads the state of the one before it
    bool state = false;
    std::int64_t block_bytes = 0;
    std::int64_t most_states = 0;  // that are kept far back
    std::vector<std::uint8_t*> free;
    std::vector<std::uint8_t*> regions;
    std::int64_t region_blocks = 0;  // in each of them
    std::unordered_map<const std::uint8_t*, std::int64_t> references;  // of each block in use

    std::int64_t in_use() const { return static_cast<std::int64_t>(references.size()); }
  };

  const std::vector<LayerMemory>& layers() const { return layers_; }
  std::int64_t groups() const { return static_cast<std::int64_t>(groups_.size()); }
  const Group& group(std::int64_t n) const { return groups_[static_cast<std::size_t>(n)]; }
  std::int64_t group_of(std::int64_t layer) const { return group_of_[static_cast<std::size_t>(layer)]; }
  std::int64_t offset_of(std::int64_t layer) const { return offset_of_[static_cast<std::size_t>(layer)]; }
  CacheType type() const { return type_; }
  std::int64_t kept_before_window() const { return kept_before_window_; }

  // A block with one reference. Throws std::bad_alloc, also if it would exceed `limit`.
  std::uint8_t* take(std::int64_t group);
  // Adds or removes a reference to a block that is in use. A block without references is free.
  void share(std::int64_t group, const std::uint8_t* block) noexcept;
  void give(std::int64_t group, std::uint8_t* block) noexcept;
  bool shared(std::int64_t group, const std::uint8_t* block) const noexcept;

  // Bytes that a sequence of so many tokens needs at most; of all blocks in use now; of one block of each group.
  std::int64_t bytes_for(std::int64_t tokens) const;
  std::int64_t bytes_in_use() const;
  std::int64_t page_bytes() const;

  // Bytes that all blocks in use may have together; below 0: no limit but the memory.
  std::int64_t limit = -1;

 private:
  std::vector<LayerMemory> layers_;
  CacheType type_;
  std::int64_t kept_before_window_;
  std::vector<Group> groups_;
  std::vector<std::int64_t> group_of_, offset_of_;
};

// The cache of up to kBlockKeys tokens, those of one block, in all groups. Never changes. Its Cache must outlive it.
// Pages and sequences of one Cache must not be used from several threads at once. The exception is read(): it may run
// beside anything but close() of the same page.
class Page {
 public:
  Page(Cache& cache, std::int64_t tokens, std::vector<std::uint8_t*> blocks)
      : cache_(&cache), tokens_(tokens), blocks_(std::move(blocks)) {}  // takes over one reference to each block
  // With blocks to be filled; present: by group. Throws std::bad_alloc.
  Page(Cache& cache, std::int64_t tokens, std::span<const bool> present);
  ~Page() { close(); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  const Cache& cache() const { return *cache_; }
  std::int64_t tokens() const { return tokens_; }
  std::uint8_t* block(std::int64_t group) const { return blocks_[static_cast<std::size_t>(group)]; }  // null: a hole
  std::int64_t bytes() const;
  // Writes bytes() bytes: the blocks that it holds, one after the other, with zeros for tokens that it lacks.
  void read(std::uint8_t* to) const noexcept;
  // The blocks from the bytes that read() wrote, on all threads of the pool: what costs is memory that nobody touched.
  void fill(const std::uint8_t* bytes, Pool& pool) noexcept;
  void close() noexcept;

 private:
  Cache* cache_;
  std::int64_t tokens_;
  std::vector<std::uint8_t*> blocks_;  // by group
};

// The cache of one sequence. Its Cache must outlive it. Must not be used from several threads at once.
class Sequence {
 public:
  explicit Sequence(Cache& cache);
  // The first `length` tokens of these pages, which must hold that many; or fewer, if the next token would not find all
  // that it reads. If only a part of the last page is used, that part is copied. Throws std::bad_alloc.
  Sequence(Cache& cache, std::span<const Page* const> pages, std::int64_t length);
  ~Sequence() { close(); }
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  std::int64_t length() const { return length_; }

  // Tokens before this position are computed in the expanded form, others in the absorbed one: of latents only.
  std::int64_t expanded = 0;
  // What is changed of values while its tokens are computed; null: nothing.
  std::shared_ptr<const Edits> edits;
  // What is added to products of weights while its tokens are computed, in this order.
  std::vector<std::shared_ptr<const Adapter>> adapters;
  std::uint8_t* const* blocks(std::int64_t group) const { return blocks_[static_cast<std::size_t>(group)].data(); }
  std::int64_t blocks_held(std::int64_t group) const noexcept;

  // Makes room for `tokens` more, in two steps. reserve() may throw std::bad_alloc and changes nothing that is there;
  // settle() follows, or release(), which gives back what was reserved.
  void reserve(std::int64_t tokens);
  void settle() noexcept;
  void release() noexcept;
  // `tokens` more have been written. Windowed layers give back blocks that nobody will read.
  void grew(std::int64_t tokens) noexcept;
  // Removes every token from `length` on. Returns the new length: `length`; with states the end of a block at or before
  // it whose states are held; or 0 if a windowed layer has given back keys that the next token would read.
  std::int64_t truncate(std::int64_t length) noexcept;
  void close() noexcept { truncate(0); }

  // Block n of all groups, shared: 0 <= n * kBlockKeys < length. Throws std::bad_alloc.
  Page* page(std::int64_t n) const;
  // A new sequence with the same tokens. Throws std::bad_alloc.
  Sequence* fork() const;
  void swap(Sequence& other) noexcept;  // of the same cache

 private:
  // The first of the blocks that a sequence of so many tokens keeps without exception.
  std::int64_t first_kept(std::int64_t group, std::int64_t length) const noexcept;
  std::size_t last_block() const noexcept { return static_cast<std::size_t>(length_ / kBlockKeys); }  // if not whole

  Cache& cache_;
  std::int64_t length_ = 0;
  std::vector<std::vector<std::uint8_t*>> blocks_;  // by group; null where given back
  std::vector<std::int64_t> first_;                 // by group: the blocks before it were given back
  std::vector<std::uint8_t*> copies_;               // by group: reserved, to replace a shared last block
};

}  // namespace ouvert
