// Where sequences keep their keys and values.
//
// Layers that look equally far back share a table of blocks: one block holds kBlockKeys keys and values of every kv
// head of every such layer, so a sequence needs one pointer per block, whatever the number of layers. Blocks come from
// large stretches of address space that the system backs with memory as they are first written to.
//
// Layers with a state in place of keys and values share a table as well: a block of theirs holds, for every such layer,
// the inputs and the state as they were after the last of the block's tokens that are there. A sequence goes on from the
// block of its last token, and can be cut back to the end of a block only.
//
// Blocks are counted references: sequences and pages may hold the same one. Nobody writes into a block that somebody
// else holds as well; a sequence that goes on in the middle of such a block goes on in a copy.

#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "attention.h"

namespace ouvert {

struct LayerMemory {
  std::int64_t kv_heads;  // of latents: how much of them is a value; of a state: channels
  std::int64_t head_dim;  // of latents: their width; of a state: floats of each channel, [inputs, then states][channels]
  std::int64_t window;    // tokens that a token sees, itself included; kNoWindow for all
  enum class Kind : std::uint8_t { keys_and_values, latents, state } kind = Kind::keys_and_values;

  bool state() const { return kind == Kind::state; }
  bool latents() const { return kind == Kind::latents; }
  std::int64_t block_bytes(CacheType type) const {
    if (state()) return (kv_heads * head_dim * 4 + 63) / 64 * 64;
    return latents() ? latent_block_bytes(head_dim, type) : kv_heads * head_block_bytes(head_dim, type);
  }
};

// States are large: a sequence holds those at the ends of every so many blocks (then they take about as much as keys and
// values would), and of its last two.
inline constexpr std::int64_t kStateEvery = 4;

class Cache {
 public:
  // `kept` is how many tokens before its window a windowed layer goes on holding, so that a sequence can be cut back.
  Cache(std::vector<LayerMemory> layers, CacheType type, std::int64_t kept);
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  struct Group {
    std::int64_t window = 0;  // of states 2: the next token looks at what the last one left
    bool state = false;
    std::int64_t block_bytes = 0;
    std::vector<std::uint8_t*> free;
    std::vector<std::uint8_t*> stretches;
    std::int64_t stretch_blocks = 0;  // in each of them
    std::unordered_map<const std::uint8_t*, std::int64_t> references;  // of each block in use

    std::int64_t in_use() const { return static_cast<std::int64_t>(references.size()); }
  };

  const std::vector<LayerMemory>& layers() const { return layers_; }
  std::int64_t groups() const { return static_cast<std::int64_t>(groups_.size()); }
  const Group& group(std::int64_t n) const { return groups_[static_cast<std::size_t>(n)]; }
  std::int64_t group_of(std::int64_t layer) const { return group_of_[static_cast<std::size_t>(layer)]; }
  std::int64_t offset_of(std::int64_t layer) const { return offset_of_[static_cast<std::size_t>(layer)]; }
  CacheType type() const { return type_; }
  std::int64_t kept() const { return kept_; }

  // A block with one reference. Throws std::bad_alloc, also where the limit would be passed.
  std::uint8_t* take(std::int64_t group);
  // One reference more, one less; a block without any is free. The block is in use.
  void share(std::int64_t group, const std::uint8_t* block) noexcept;
  void give(std::int64_t group, std::uint8_t* block) noexcept;
  bool shared(std::int64_t group, const std::uint8_t* block) const noexcept;

  // Bytes that a sequence of so many tokens occupies at most, bytes of all blocks in use now, and of one of each group.
  std::int64_t bytes_for(std::int64_t tokens) const;
  std::int64_t bytes_in_use() const;
  std::int64_t page_bytes() const;

  // Bytes that blocks in use may come to; less than 0 for as many as there is memory.
  std::int64_t limit = -1;

 private:
  std::vector<LayerMemory> layers_;
  CacheType type_;
  std::int64_t kept_;
  std::vector<Group> groups_;
  std::vector<std::int64_t> group_of_, offset_of_;
};

// What the kBlockKeys tokens of one block left in the caches of all groups, or the first few of them. Never changes.
// Its cache outlives it. Pages and sequences of one cache are not for use from several threads at once; only read() may
// run beside anything but the close() of the same page.
class Page {
 public:
  Page(Cache& cache, std::int64_t tokens, std::vector<std::uint8_t*> blocks)
      : cache_(&cache), tokens_(tokens), blocks_(std::move(blocks)) {}  // takes over one reference to each block
  // From what read() wrote. Throws std::bad_alloc.
  Page(Cache& cache, std::int64_t tokens, std::span<const bool> present, const std::uint8_t* bytes);
  ~Page() { close(); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;

  const Cache& cache() const { return *cache_; }
  std::int64_t tokens() const { return tokens_; }
  std::uint8_t* block(std::int64_t group) const { return blocks_[static_cast<std::size_t>(group)]; }  // null: a hole
  std::int64_t bytes() const;
  // bytes(): the blocks of those groups that have one, one after the other, with zeros for tokens it does not hold.
  void read(std::uint8_t* to) const noexcept;
  void close() noexcept;

 private:
  Cache* cache_;
  std::int64_t tokens_;
  std::vector<std::uint8_t*> blocks_;  // by group
};

// The past of one sequence. Its cache outlives it. Not for use from several threads at once.
class Sequence {
 public:
  explicit Sequence(Cache& cache);
  // The first `length` tokens of these pages, which hold as many, or as many less as it takes for the next token to
  // find all that it looks at. What it holds of a last page in part is a copy. Throws std::bad_alloc.
  Sequence(Cache& cache, std::span<const Page* const> pages, std::int64_t length);
  ~Sequence() { close(); }
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  std::int64_t length() const { return length_; }
  std::uint8_t* const* blocks(std::int64_t group) const { return blocks_[static_cast<std::size_t>(group)].data(); }
  std::int64_t blocks_held(std::int64_t group) const noexcept;

  // Room for `tokens` more, in two steps: the first may throw std::bad_alloc, and until the second nothing that was
  // there has changed. release() gives back what was reserved.
  void reserve(std::int64_t tokens);
  void settle() noexcept;
  void release() noexcept;
  // The tokens that there is room for now are there. Windowed layers let go of what nobody will look at.
  void grew(std::int64_t tokens) noexcept;
  // Forgets every token from `length` on, and returns the length that is left: `length`; the end of a block before it
  // whose states are held, if there are states; or 0 if a windowed layer has let go of keys that the next token would
  // look at.
  std::int64_t truncate(std::int64_t length) noexcept;
  void close() noexcept { truncate(0); }

  // Block n, 0 <= n * kBlockKeys < length, shared. Throws std::bad_alloc.
  Page* page(std::int64_t n) const;
  // Another sequence that holds the same. Throws std::bad_alloc.
  Sequence* fork() const;
  void swap(Sequence& other) noexcept;  // of the same cache

 private:
  std::int64_t first_kept(std::int64_t group) const noexcept;
  std::size_t last_block() const noexcept { return static_cast<std::size_t>(length_ / kBlockKeys); }  // if not whole

  Cache& cache_;
  std::int64_t length_ = 0;
  std::vector<std::vector<std::uint8_t*>> blocks_;  // by group; null where let go
  std::vector<std::int64_t> first_;                 // by group: blocks before it were let go
  std::vector<std::uint8_t*> copies_;               // by group: reserved, to take the place of a shared last block
};

}  // namespace ouvert
