#include "cache.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#if defined(__linux__) || defined(__APPLE__)
#include <sys/mman.h>
#endif

namespace ouvert {
namespace {

constexpr std::int64_t kStretchBytes = 32 << 20;
constexpr std::int64_t kHugePage = 2 << 20;

std::uint8_t* reserve_stretch(std::int64_t bytes) {
#if defined(__linux__)
  // One huge page more than asked for, so that the start can be moved to a huge page's.
  void* at = mmap(nullptr, static_cast<std::size_t>(bytes + kHugePage), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  auto* start = static_cast<std::uint8_t*>(at);
  auto* aligned = reinterpret_cast<std::uint8_t*>((reinterpret_cast<std::uintptr_t>(start) + kHugePage - 1) /
                                                  kHugePage * kHugePage);
  if (aligned > start) munmap(start, static_cast<std::size_t>(aligned - start));
  if (const auto tail = static_cast<std::size_t>(start + kHugePage - aligned); tail > 0) munmap(aligned + bytes, tail);
  // Long pasts are read end to end at every token: large pages spare the look-ups. Only advice.
  madvise(aligned, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  return aligned;
#else
  auto* at = static_cast<std::uint8_t*>(std::aligned_alloc(64, static_cast<std::size_t>(bytes)));
  if (at == nullptr) throw std::bad_alloc();
  return at;
#endif
}

void release_stretch(std::uint8_t* at, std::int64_t bytes) {
#if defined(__linux__)
  munmap(at, static_cast<std::size_t>(bytes));
#else
  (void)bytes;
  std::free(at);
#endif
}

std::int64_t blocks_of(std::int64_t tokens) { return (tokens + kBlockKeys - 1) / kBlockKeys; }

std::int64_t stretch_bytes(const Cache::Group& group) {
  return (group.stretch_blocks * group.block_bytes + kHugePage - 1) / kHugePage * kHugePage;
}

}  // namespace

namespace {

// The blocks of the last stretch are free.
void offer(Cache::Group& group) {
  for (std::int64_t b = group.stretch_blocks; b-- > 0;)
    group.free.push_back(group.stretches.back() + b * group.block_bytes);
}

}  // namespace

Cache::Cache(std::vector<LayerMemory> layers, CacheType type, std::int64_t kept)
    : layers_(std::move(layers)), type_(type), kept_(kept) {
  for (const LayerMemory& layer : layers_) {
    std::size_t n = 0;
    while (n < groups_.size() && groups_[n].window != layer.window) ++n;
    if (n == groups_.size()) groups_.emplace_back().window = layer.window;
    group_of_.push_back(static_cast<std::int64_t>(n));
    offset_of_.push_back(groups_[n].block_bytes);
    groups_[n].block_bytes += layer.kv_heads * head_block_bytes(layer.head_dim, type);
  }
  for (Group& group : groups_)
    group.stretch_blocks = std::max<std::int64_t>(1, kStretchBytes / std::max<std::int64_t>(1, group.block_bytes));
}

Cache::~Cache() {
  for (Group& group : groups_)
    for (std::uint8_t* stretch : group.stretches) release_stretch(stretch, stretch_bytes(group));
}

std::uint8_t* Cache::take(std::int64_t n) {
  Group& group = groups_[static_cast<std::size_t>(n)];
  if (group.free.empty()) {
    group.stretches.reserve(group.stretches.size() + 1);
    group.free.reserve((group.stretches.size() + 1) * static_cast<std::size_t>(group.stretch_blocks));
    std::uint8_t* stretch = reserve_stretch(stretch_bytes(group));
    group.stretches.push_back(stretch);
    offer(group);
  }
  std::uint8_t* block = group.free.back();
  group.free.pop_back();
  ++group.in_use;
  return block;
}

void Cache::give(std::int64_t n, std::uint8_t* block) noexcept {
  Group& group = groups_[static_cast<std::size_t>(n)];
  group.free.push_back(block);  // its room was reserved when the block was made
  if (--group.in_use == 0 && group.stretches.size() > 1) {  // nobody is left: the system has all but one back
    for (; group.stretches.size() > 1; group.stretches.pop_back())
      release_stretch(group.stretches.back(), stretch_bytes(group));
    group.free.clear();
    offer(group);
  }
}

std::int64_t Cache::bytes_for(std::int64_t tokens) const {
  std::int64_t bytes = 0;
  for (const Group& group : groups_) {
    std::int64_t blocks = blocks_of(tokens);
    // A window, what is kept before it, and the blocks at both ends that are not whole.
    if (group.window != kNoWindow) blocks = std::min(blocks, blocks_of(group.window + kept_) + 1);
    bytes += blocks * group.block_bytes;
  }
  return bytes;
}

std::int64_t Cache::bytes_in_use() const {
  std::int64_t bytes = 0;
  for (const Group& group : groups_) bytes += group.in_use * group.block_bytes;
  return bytes;
}

Sequence::Sequence(Cache& cache)
    : cache_(cache), blocks_(static_cast<std::size_t>(cache.groups())), first_(static_cast<std::size_t>(cache.groups())) {}

void Sequence::reserve(std::int64_t tokens) {
  const auto wanted = static_cast<std::size_t>(blocks_of(length_ + tokens));
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    blocks_[g].reserve(wanted);
    while (blocks_[g].size() < wanted) blocks_[g].push_back(cache_.take(static_cast<std::int64_t>(g)));
  }
}

void Sequence::grew(std::int64_t tokens) noexcept {
  length_ += tokens;
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    const std::int64_t window = cache_.group(static_cast<std::int64_t>(g)).window;
    const std::int64_t needed = (length_ - window + 1 - cache_.kept()) / kBlockKeys;
    for (; first_[g] < needed; ++first_[g]) {
      cache_.give(static_cast<std::int64_t>(g), blocks_[g][static_cast<std::size_t>(first_[g])]);
      blocks_[g][static_cast<std::size_t>(first_[g])] = nullptr;
    }
  }
}

std::int64_t Sequence::truncate(std::int64_t length) noexcept {
  length = std::min(length, length_);
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    const std::int64_t first_seen =
        std::max<std::int64_t>(0, length - cache_.group(static_cast<std::int64_t>(g)).window + 1);
    if (first_[g] * kBlockKeys > first_seen) length = 0;
  }
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    while (static_cast<std::int64_t>(blocks_[g].size()) > blocks_of(length)) {
      if (blocks_[g].back() != nullptr) cache_.give(static_cast<std::int64_t>(g), blocks_[g].back());
      blocks_[g].pop_back();
    }
    if (length == 0) first_[g] = 0;
  }
  length_ = length;
  return length;
}

}  // namespace ouvert
