#include "cache.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__linux__) || defined(__APPLE__)
#include <sys/mman.h>
#endif

namespace ouvert {
namespace {

constexpr std::int64_t kRegionBytes = 32 << 20;
constexpr std::int64_t kHugePage = 2 << 20;

std::uint8_t* reserve_region(std::int64_t bytes) {
#if defined(__linux__)
  // One huge page more than asked for, so that the region can begin where a huge page does.
  void* at = mmap(nullptr, static_cast<std::size_t>(bytes + kHugePage), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  auto* start = static_cast<std::uint8_t*>(at);
  auto* aligned = reinterpret_cast<std::uint8_t*>((reinterpret_cast<std::uintptr_t>(start) + kHugePage - 1) /
                                                  kHugePage * kHugePage);
  if (aligned > start) munmap(start, static_cast<std::size_t>(aligned - start));
  if (const auto tail = static_cast<std::size_t>(start + kHugePage - aligned); tail > 0) munmap(aligned + bytes, tail);
  // Long caches are read from end to end for every token: large pages save address translations. Only advice.
  madvise(aligned, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  return aligned;
#else
  auto* at = static_cast<std::uint8_t*>(std::aligned_alloc(64, static_cast<std::size_t>(bytes)));
  if (at == nullptr) throw std::bad_alloc();
  return at;
#endif
}

void release_region(std::uint8_t* at, std::int64_t bytes) {
#if defined(__linux__)
  munmap(at, static_cast<std::size_t>(bytes));
#else
  (void)bytes;
  std::free(at);
#endif
}

std::int64_t blocks_of(std::int64_t tokens) { return (tokens + kBlockKeys - 1) / kBlockKeys; }

std::int64_t region_bytes(const Cache::Group& group) {
  return (group.region_blocks * group.block_bytes + kHugePage - 1) / kHugePage * kHugePage;
}

// The blocks of the last region become free.
void offer(Cache::Group& group) {
  for (std::int64_t b = group.region_blocks; b-- > 0;)
    group.free.push_back(group.regions.back() + b * group.block_bytes);
}

}  // namespace

Cache::Cache(std::vector<LayerMemory> layers, CacheType type, std::int64_t kept_before_window)
    : layers_(std::move(layers)), type_(type), kept_before_window_(kept_before_window) {
  for (const LayerMemory& layer : layers_) {
    const std::int64_t window = layer.state() ? 2 : layer.window;
    std::size_t n = 0;
    while (n < groups_.size() && (groups_[n].window != window || groups_[n].state != layer.state())) ++n;
    if (n == groups_.size()) {
      groups_.emplace_back().window = window;
      groups_[n].state = layer.state();
    }
    group_of_.push_back(static_cast<std::int64_t>(n));
    offset_of_.push_back(groups_[n].block_bytes);
    groups_[n].block_bytes += layer.block_bytes(type);
  }
  for (Group& group : groups_) {
    if (group.state) group.most_states = std::clamp(kStateBytes / group.block_bytes, kLeastStates, kMostStates);
    group.region_blocks = std::max<std::int64_t>(1, kRegionBytes / std::max<std::int64_t>(1, group.block_bytes));
  }
}

Cache::~Cache() {
  for (Group& group : groups_)
    for (std::uint8_t* region : group.regions) release_region(region, region_bytes(group));
}

std::uint8_t* Cache::take(std::int64_t n) {
  Group& group = groups_[static_cast<std::size_t>(n)];
  if (limit >= 0 && bytes_in_use() + group.block_bytes > limit) throw std::bad_alloc();
  if (group.free.empty()) {
    group.regions.reserve(group.regions.size() + 1);
    group.free.reserve((group.regions.size() + 1) * static_cast<std::size_t>(group.region_blocks));
    std::uint8_t* region = reserve_region(region_bytes(group));
    group.regions.push_back(region);
    offer(group);
  }
  std::uint8_t* block = group.free.back();
  group.references.emplace(block, 1);
  group.free.pop_back();
  return block;
}

void Cache::share(std::int64_t n, const std::uint8_t* block) noexcept {
  ++groups_[static_cast<std::size_t>(n)].references.find(block)->second;
}

bool Cache::shared(std::int64_t n, const std::uint8_t* block) const noexcept {
  return groups_[static_cast<std::size_t>(n)].references.find(block)->second > 1;
}

void Cache::give(std::int64_t n, std::uint8_t* block) noexcept {
  Group& group = groups_[static_cast<std::size_t>(n)];
  const auto references = group.references.find(block);
  if (--references->second > 0) return;
  group.references.erase(references);
  group.free.push_back(block);  // does not allocate: take() has reserved room
  if (group.references.empty() && group.regions.size() > 1) {  // all regions but one go back to the system
    for (; group.regions.size() > 1; group.regions.pop_back())
      release_region(group.regions.back(), region_bytes(group));
    group.free.clear();
    offer(group);
  }
}

std::int64_t Cache::bytes_for(std::int64_t tokens) const {
  std::int64_t bytes = 0;
  for (const Group& group : groups_) {
    std::int64_t blocks = blocks_of(tokens);
    // Of windowed layers: the window, what is kept before it, and the incomplete blocks at both ends.
    if (group.state)
      blocks = std::min(blocks, std::min(blocks / kStateEvery, group.most_states) + 3);
    else if (group.window != kNoWindow)
      blocks = std::min(blocks, blocks_of(group.window + kept_before_window_) + 1);
    bytes += blocks * group.block_bytes;
  }
  return bytes;
}

std::int64_t Cache::bytes_in_use() const {
  std::int64_t bytes = 0;
  for (const Group& group : groups_) bytes += group.in_use() * group.block_bytes;
  return bytes;
}

std::int64_t Cache::page_bytes() const {
  std::int64_t bytes = 0;
  for (const Group& group : groups_) bytes += group.block_bytes;
  return bytes;
}

// --- pages ---

namespace {

// Gives back one block of each group, where there is one.
void give_all(Cache& cache, std::vector<std::uint8_t*>& blocks) noexcept {
  for (std::size_t g = 0; g < blocks.size(); ++g) {
    if (blocks[g] != nullptr) cache.give(static_cast<std::int64_t>(g), blocks[g]);
    blocks[g] = nullptr;
  }
}

// Zeros in every slot of a group's block from `tokens` on. States have none.
void clear_from(const Cache& cache, std::int64_t group, std::int64_t tokens, std::uint8_t* block) noexcept {
  if (cache.group(group).state) return;
  for (std::size_t n = 0; n < cache.layers().size(); ++n) {
    if (cache.group_of(static_cast<std::int64_t>(n)) != group) continue;
    const LayerMemory& layer = cache.layers()[n];
    std::uint8_t* region = block + cache.offset_of(static_cast<std::int64_t>(n));
    if (layer.latents()) {
      clear_latents(region, layer.head_dim, cache.type(), tokens);
      continue;
    }
    for (std::int64_t h = 0; h < layer.kv_heads; ++h, region += head_block_bytes(layer.head_dim, cache.type()))
      clear_slots(region, layer.head_dim, cache.type(), tokens);
  }
}

}  // namespace

Page::Page(Cache& cache, std::int64_t tokens, std::span<const bool> present)
    : cache_(&cache), tokens_(tokens), blocks_(static_cast<std::size_t>(cache.groups())) {
  try {
    for (std::size_t g = 0; g < blocks_.size(); ++g)
      if (present[g]) blocks_[g] = cache.take(static_cast<std::int64_t>(g));
  } catch (const std::bad_alloc&) {
    give_all(cache, blocks_);
    throw;
  }
}

void Page::fill(const std::uint8_t* bytes, Pool& pool) noexcept {
  constexpr std::int64_t kPiece = 256 << 10;
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    if (blocks_[g] == nullptr) continue;
    const std::int64_t size = cache_->group(static_cast<std::int64_t>(g)).block_bytes;
    pool.for_each(static_cast<std::uint32_t>((size + kPiece - 1) / kPiece), [&](std::uint32_t piece, int) {
      const std::int64_t begin = piece * kPiece;
      std::memcpy(blocks_[g] + begin, bytes + begin, static_cast<std::size_t>(std::min(kPiece, size - begin)));
    });
    bytes += size;
  }
}

std::int64_t Page::bytes() const {
  std::int64_t bytes = 0;
  for (std::size_t g = 0; g < blocks_.size(); ++g)
    if (blocks_[g] != nullptr) bytes += cache_->group(static_cast<std::int64_t>(g)).block_bytes;
  return bytes;
}

void Page::read(std::uint8_t* to) const noexcept {
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    if (blocks_[g] == nullptr) continue;
    const std::int64_t size = cache_->group(static_cast<std::int64_t>(g)).block_bytes;
    std::memcpy(to, blocks_[g], static_cast<std::size_t>(size));
    if (tokens_ < kBlockKeys) clear_from(*cache_, static_cast<std::int64_t>(g), tokens_, to);
    to += size;
  }
}

void Page::close() noexcept { give_all(*cache_, blocks_); }

// --- sequences ---

namespace {

// The first of the blocks that a sequence of `length` tokens needs to continue; it needs all after it too.
std::int64_t first_needed(std::int64_t length, std::int64_t window) {
  return std::max<std::int64_t>(0, length - window + 1) / kBlockKeys;
}

// Of how many blocks of states a sequence of `length` tokens keeps one, of those far back.
std::int64_t stride_of_states(const Cache::Group& group, std::int64_t length) {
  std::int64_t stride = kStateEvery;
  while (length / kBlockKeys / stride > group.most_states) stride *= 2;
  return stride;
}

// Whether a sequence of `length` tokens keeps its n-th block of states however far back it is.
bool kept_far_back(const Cache::Group& group, std::int64_t n, std::int64_t length) {
  return group.state && (n + 1) % stride_of_states(group, length) == 0;
}

// The largest length, up to `length`, for which every group finds all that it needs in these pages.
std::int64_t resumable(const Cache& cache, std::span<const Page* const> pages, std::int64_t length) {
  for (std::int64_t before = -1; before != length;) {
    before = length;
    for (std::int64_t g = 0; g < cache.groups(); ++g) {
      if (cache.group(g).state) {
        while (length > 0) {
          const Page& page = *pages[static_cast<std::size_t>((length - 1) / kBlockKeys)];
          if (page.block(g) != nullptr && page.tokens() == (length - 1) % kBlockKeys + 1) break;
          length = (length - 1) / kBlockKeys * kBlockKeys;
        }
        continue;
      }
      const std::int64_t first = first_needed(length, cache.group(g).window);
      for (std::int64_t n = blocks_of(length); n-- > first;)
        if (pages[static_cast<std::size_t>(n)]->block(g) == nullptr) {
          length = n * kBlockKeys;
          break;
        }
    }
  }
  return length;
}

}  // namespace

Sequence::Sequence(Cache& cache)
    : cache_(cache),
      blocks_(static_cast<std::size_t>(cache.groups())),
      first_(static_cast<std::size_t>(cache.groups())),
      copies_(static_cast<std::size_t>(cache.groups())) {}

Sequence::Sequence(Cache& cache, std::span<const Page* const> pages, std::int64_t length) : Sequence(cache) {
  length_ = resumable(cache, pages, length);
  const std::int64_t count = blocks_of(length_);
  for (auto& blocks : blocks_) blocks.resize(static_cast<std::size_t>(count));
  for (std::int64_t g = 0; g < cache.groups(); ++g) {
    // Backwards to the first hole, and not further than a sequence that had computed the same would hold.
    const std::int64_t first = first_kept(g, length_);
    std::int64_t n = count;
    for (; n > first && pages[static_cast<std::size_t>(n - 1)]->block(g) != nullptr; --n) {
      std::uint8_t* block = pages[static_cast<std::size_t>(n - 1)]->block(g);
      cache.share(g, block);
      blocks_[static_cast<std::size_t>(g)][static_cast<std::size_t>(n - 1)] = block;
    }
    first_[static_cast<std::size_t>(g)] = n;
    if (!cache.group(g).state) continue;
    while (n-- > 0) {
      std::uint8_t* block = pages[static_cast<std::size_t>(n)]->block(g);
      if (!kept_far_back(cache.group(g), n, length_) || block == nullptr) continue;
      cache.share(g, block);
      blocks_[static_cast<std::size_t>(g)][static_cast<std::size_t>(n)] = block;
    }
  }
  if (length_ % kBlockKeys == 0) return;
  for (std::int64_t g = 0; g < cache.groups(); ++g) copies_[static_cast<std::size_t>(g)] = cache.take(g);
  settle();
}

std::int64_t Sequence::blocks_held(std::int64_t group) const noexcept {
  const auto& blocks = blocks_[static_cast<std::size_t>(group)];
  return static_cast<std::int64_t>(blocks.size()) - std::count(blocks.begin(), blocks.end(), nullptr);
}

void Sequence::reserve(std::int64_t tokens) {
  const auto wanted = static_cast<std::size_t>(blocks_of(length_ + tokens));
  try {
    for (std::size_t g = 0; g < blocks_.size(); ++g) {
      const auto group = static_cast<std::int64_t>(g);
      blocks_[g].reserve(wanted);
      const std::int64_t after = length_ + tokens, first = first_kept(group, after);
      while (blocks_[g].size() < wanted) {
        const auto n = static_cast<std::int64_t>(blocks_[g].size());
        const bool written = !cache_.group(group).state || n >= first || kept_far_back(cache_.group(group), n, after);
        blocks_[g].push_back(written ? cache_.take(group) : nullptr);
      }
      if (tokens > 0 && length_ % kBlockKeys != 0 && cache_.shared(group, blocks_[g][last_block()]))
        copies_[g] = cache_.take(group);
    }
  } catch (const std::bad_alloc&) {
    release();
    throw;
  }
}

void Sequence::settle() noexcept {
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    if (copies_[g] == nullptr) continue;
    const auto group = static_cast<std::int64_t>(g);
    std::uint8_t*& block = blocks_[g][last_block()];
    std::memcpy(copies_[g], block, static_cast<std::size_t>(cache_.group(group).block_bytes));
    cache_.give(group, block);
    block = copies_[g];
    copies_[g] = nullptr;
  }
}

void Sequence::release() noexcept {
  give_all(cache_, copies_);
  for (std::size_t g = 0; g < blocks_.size(); ++g)
    for (; static_cast<std::int64_t>(blocks_[g].size()) > blocks_of(length_); blocks_[g].pop_back())
      if (blocks_[g].back() != nullptr) cache_.give(static_cast<std::int64_t>(g), blocks_[g].back());
}

std::int64_t Sequence::first_kept(std::int64_t group, std::int64_t length) const noexcept {
  const std::int64_t kept = cache_.group(group).state ? kBlockKeys : cache_.kept_before_window();
  return std::max<std::int64_t>(0, length - cache_.group(group).window + 1 - kept) / kBlockKeys;
}

void Sequence::grew(std::int64_t tokens) noexcept {
  const std::int64_t before = length_;
  length_ += tokens;
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    const auto group = static_cast<std::int64_t>(g);
    const Cache::Group& of = cache_.group(group);
    const std::int64_t kept = first_kept(group, length_);
    const bool fewer = of.state && stride_of_states(of, before) != stride_of_states(of, length_);
    for (std::int64_t n = fewer ? 0 : first_[g]; n < kept; ++n) {
      std::uint8_t*& block = blocks_[g][static_cast<std::size_t>(n)];
      if (block == nullptr || kept_far_back(of, n, length_)) continue;
      cache_.give(group, block);
      block = nullptr;
    }
    first_[g] = std::max(first_[g], kept);
  }
}

std::int64_t Sequence::truncate(std::int64_t length) noexcept {
  length = std::min(length, length_);
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    if (!cache_.group(static_cast<std::int64_t>(g)).state || length == length_) continue;
    length -= length % kBlockKeys;
    while (length > 0 && blocks_[g][static_cast<std::size_t>(length / kBlockKeys - 1)] == nullptr) length -= kBlockKeys;
  }
  for (std::size_t g = 0; g < blocks_.size(); ++g) {
    const Cache::Group& group = cache_.group(static_cast<std::int64_t>(g));
    if (!group.state && first_[g] > first_needed(length, group.window)) length = 0;
  }
  length_ = length;
  release();
  for (std::size_t g = 0; g < blocks_.size(); ++g)
    if (length == 0 || cache_.group(static_cast<std::int64_t>(g)).state)
      first_[g] = std::min(first_[g], blocks_of(length));
  return length;
}

Page* Sequence::page(std::int64_t n) const {
  std::vector<std::uint8_t*> blocks;
  for (const auto& of_group : blocks_) blocks.push_back(of_group[static_cast<std::size_t>(n)]);
  auto page = std::make_unique<Page>(cache_, std::min(kBlockKeys, length_ - n * kBlockKeys), std::move(blocks));
  for (std::int64_t g = 0; g < cache_.groups(); ++g)
    if (page->block(g) != nullptr) cache_.share(g, page->block(g));
  return page.release();
}

Sequence* Sequence::fork() const {
  auto other = std::make_unique<Sequence>(cache_);
  auto blocks = blocks_;
  other->first_ = first_;
  other->length_ = length_;
  other->blocks_.swap(blocks);
  for (std::size_t g = 0; g < blocks_.size(); ++g)
    for (const std::uint8_t* block : blocks_[g])
      if (block != nullptr) cache_.share(static_cast<std::int64_t>(g), block);
  return other.release();
}

void Sequence::swap(Sequence& other) noexcept {
  std::swap(length_, other.length_);
  blocks_.swap(other.blocks_);
  first_.swap(other.first_);
}

}  // namespace ouvert
