// Where sequences keep their keys and values.
//
// Layers that look equally far back share a table of blocks: one block holds kBlockKeys keys and values of every kv
// head of every such layer, so a sequence needs one pointer per block, whatever the number of layers. Blocks come from
// large stretches of address space that the system backs with memory as they are first written to.

#pragma once

#include <cstdint>
#include <vector>

#include "attention.h"

namespace ouvert {

struct LayerMemory {
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t window;  // tokens that a token sees, itself included; kNoWindow for all
};

class Cache {
 public:
  // `kept` is how many tokens before its window a windowed layer goes on holding, so that a sequence can be cut back.
  Cache(std::vector<LayerMemory> layers, CacheType type, std::int64_t kept);
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  struct Group {
    std::int64_t window = 0;
    std::int64_t block_bytes = 0;
    std::vector<std::uint8_t*> free;
    std::vector<std::uint8_t*> stretches;
    std::int64_t stretch_blocks = 0;  // in each of them
    std::int64_t in_use = 0;
  };

  const std::vector<LayerMemory>& layers() const { return layers_; }
  std::int64_t groups() const { return static_cast<std::int64_t>(groups_.size()); }
  const Group& group(std::int64_t n) const { return groups_[static_cast<std::size_t>(n)]; }
  std::int64_t group_of(std::int64_t layer) const { return group_of_[static_cast<std::size_t>(layer)]; }
  std::int64_t offset_of(std::int64_t layer) const { return offset_of_[static_cast<std::size_t>(layer)]; }
  CacheType type() const { return type_; }
  std::int64_t kept() const { return kept_; }

  std::uint8_t* take(std::int64_t group);  // throws std::bad_alloc
  void give(std::int64_t group, std::uint8_t* block) noexcept;

  // Bytes that a sequence of so many tokens occupies at most, and bytes of all blocks in use now.
  std::int64_t bytes_for(std::int64_t tokens) const;
  std::int64_t bytes_in_use() const;

 private:
  std::vector<LayerMemory> layers_;
  CacheType type_;
  std::int64_t kept_;
  std::vector<Group> groups_;
  std::vector<std::int64_t> group_of_, offset_of_;
};

// The past of one sequence. Its cache outlives it. Not for use from several threads at once.
class Sequence {
 public:
  explicit Sequence(Cache& cache);
  ~Sequence() { close(); }
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  std::int64_t length() const { return length_; }
  std::uint8_t* const* blocks(std::int64_t group) const { return blocks_[static_cast<std::size_t>(group)].data(); }

  // Room for `tokens` more. Throws std::bad_alloc; what was there stays as it was.
  void reserve(std::int64_t tokens);
  // The tokens that reserve() made room for are there now. Windowed layers let go of what nobody will look at.
  void grew(std::int64_t tokens) noexcept;
  // Forgets every token from `length` on, and returns the length that is left: `length`, or 0 if a windowed layer has
  // let go of keys that the next token would look at.
  std::int64_t truncate(std::int64_t length) noexcept;
  void close() noexcept { truncate(0); }

 private:
  Cache& cache_;
  std::int64_t length_ = 0;
  std::vector<std::vector<std::uint8_t*>> blocks_;  // by group; null where let go
  std::vector<std::int64_t> first_;                 // by group: blocks before it were let go
};

}  // namespace ouvert
