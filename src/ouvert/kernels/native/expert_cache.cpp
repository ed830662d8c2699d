#include "expert_cache.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace ouvert {
namespace {

// What O_DIRECT asks of offsets, sizes and addresses, at most, on the disks of today.
constexpr std::int64_t kSector = 4096;
// Weights are scaled down before they are out of range.
constexpr double kLargestWeight = 0x1p900;

constexpr std::int64_t down(std::int64_t n) { return n / kSector * kSector; }
constexpr std::int64_t up(std::int64_t n) { return down(n + kSector - 1); }

// Bytes at `offset` into `to`, at least `needed` of `most`: the file may end between the two.
bool read_at(int descriptor, std::int64_t offset, std::int64_t most, std::int64_t needed, std::uint8_t* to) {
#if defined(__unix__) || defined(__APPLE__)
  std::int64_t done = 0;
  while (done < needed) {
    const ssize_t got = pread(descriptor, to + done, static_cast<std::size_t>(most - done), offset + done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += got;
  }
  return true;
#else
  return false;
#endif
}

void close_file([[maybe_unused]] int descriptor) {
#if defined(__unix__) || defined(__APPLE__)
  close(descriptor);
#endif
}

// The system need not keep what was read: it is kept here.
void let_go([[maybe_unused]] int descriptor, [[maybe_unused]] std::int64_t offset,
            [[maybe_unused]] std::int64_t bytes) {
#if defined(POSIX_FADV_DONTNEED)
  posix_fadvise(descriptor, offset, bytes, POSIX_FADV_DONTNEED);
#endif
}

// Memory in huge pages where the system has them: a read past the page cache is handed to the disk in pieces of
// memory that lie together, and with pages of 4 KB a virtual disk gave less than half of its speed. Null if there is
// none.
std::uint8_t* huge_pages(std::int64_t bytes) {
  constexpr std::int64_t kHugePage = 2 << 20;
  const auto size = static_cast<std::size_t>((bytes + kHugePage - 1) / kHugePage * kHugePage);
  void* data = std::aligned_alloc(kHugePage, size);
#if defined(MADV_HUGEPAGE)
  if (data != nullptr) madvise(data, size, MADV_HUGEPAGE);
#endif
  return static_cast<std::uint8_t*>(data);
}

}  // namespace

ExpertCache::ExpertCache(int descriptor, bool direct, std::int64_t bytes, int readers)
    : descriptor_(descriptor), direct_(direct), bytes_(bytes), memory_(nullptr, &std::free) {
  for (int n = 0; n < readers; ++n) readers_.emplace_back([this] { work(); });
}

ExpertCache::~ExpertCache() {
  {
    std::lock_guard lock(queue_mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& reader : readers_) reader.join();
  close_file(descriptor_);
}

std::int64_t ExpertCache::add(const Layer& layer) {
  for (std::size_t n = 0; n < layers_.size(); ++n)
    if (layers_[n] == layer) return static_cast<std::int64_t>(n);
  first_.push_back(static_cast<std::int64_t>(where_.size()));
  where_.resize(where_.size() + static_cast<std::size_t>(layer.experts), -1);
  heat_.resize(where_.size(), 0.0);
  reached_.push_back(0);
  layers_.push_back(layer);
  return static_cast<std::int64_t>(layers_.size()) - 1;
}

void ExpertCache::prepare() {
  if (!slots_.empty()) return;
  std::int64_t largest[kMatrices] = {};
  for (const Layer& layer : layers_)
    for (int m = 0; m < kMatrices; ++m) largest[m] = std::max(largest[m], layer.matrices[m].bytes);
  std::int64_t at = 0;
  for (int m = 0; m < kMatrices; ++m) {
    parts_[m] = at;
    at += up(largest[m]) + kSector;  // it may begin anywhere in its first sector
  }
  slot_bytes_ = at;
  const auto all = static_cast<std::int64_t>(where_.size());
  const std::int64_t count = std::min(std::max<std::int64_t>(bytes_ / slot_bytes_, 2), std::max<std::int64_t>(all, 2));
  memory_.reset(huge_pages(count * slot_bytes_));
  if (memory_ == nullptr) throw std::bad_alloc();
  slots_ = std::vector<Slot>(static_cast<std::size_t>(count));
}

void ExpertCache::begin_step(std::uint64_t number, std::int64_t tokens) noexcept {
  if (number == step_) return;
  step_ = number;
  const double count = static_cast<double>(tokens);
  growth_ = std::exp2(count / kHalfLife);
  spread_ = (1.0 - 1.0 / growth_) * kHalfLife / (std::log(2.0) * count);
  weight_ *= growth_;
  if (weight_ < kLargestWeight) return;
  for (double& heat : heat_) heat /= weight_;
  weight_ = 1.0;
}

void ExpertCache::touch(std::int64_t layer, std::int64_t expert, std::int64_t tokens) noexcept {
  reached_[static_cast<std::size_t>(layer)] = step_;
  heat_[static_cast<std::size_t>(first_[static_cast<std::size_t>(layer)] + expert)] +=
      weight_ * spread_ * static_cast<double>(tokens);
}

double ExpertCache::heat(const Slot& slot) const noexcept {
  if (slot.layer < 0) return -1.0;
  const auto layer = static_cast<std::size_t>(slot.layer);
  return heat_[static_cast<std::size_t>(first_[layer] + slot.expert)] * (reached_[layer] == step_ ? 1.0 : growth_);
}

std::int64_t ExpertCache::coldest() const noexcept {
  std::int64_t best = -1;
  double least = 0.0;
  for (std::size_t n = 0; n < slots_.size(); ++n) {
    if (slots_[n].held != 0) continue;
    const double now = heat(slots_[n]);
    if (best < 0 || now < least) best = static_cast<std::int64_t>(n), least = now;
    if (now < 0.0) break;  // empty
  }
  return best;
}

std::uint8_t* ExpertCache::place(std::int64_t slot, int which) const noexcept {
  return memory_.get() + slot * slot_bytes_ + parts_[which];
}

std::int64_t ExpertCache::acquire(std::int64_t layer, std::int64_t expert) noexcept {
  ++lookups_;
  if (const std::int32_t there = where(layer, expert); there >= 0) {
    ++hits_;
    ++slots_[static_cast<std::size_t>(there)].held;
    return there;
  }
  const std::int64_t number = coldest();
  Slot& slot = slots_[static_cast<std::size_t>(number)];
  // What was to be read for the expert before may still be under way: its step may have needed nothing of it.
  for (int m = 0; m < kMatrices; ++m)
    if (slot.layer >= 0) slot.ready[m].wait(0, std::memory_order_acquire);
  if (slot.layer >= 0) where(slot.layer, slot.expert) = -1;
  slot.layer = layer, slot.expert = expert, slot.held = 1;
  where(layer, expert) = static_cast<std::int32_t>(number);
  {
    std::lock_guard lock(queue_mutex_);
    for (int m = 0; m < kMatrices; ++m) {
      Range range = layers_[static_cast<std::size_t>(layer)].matrices[m];
      range.offset += expert * range.bytes;
      slot.matrices[m] = place(number, m) + (range.offset - down(range.offset));
      slot.ready[m].store(0, std::memory_order_relaxed);
      queue_.push_back({number, m, range});
    }
  }
  wake_.notify_all();
  return number;
}

const std::uint8_t* ExpertCache::matrix(std::int64_t slot, int which) noexcept {
  Slot& here = slots_[static_cast<std::size_t>(slot)];
  here.ready[which].wait(0, std::memory_order_acquire);
  return here.matrices[which];
}

void ExpertCache::work() noexcept {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(queue_mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      job = queue_.front();
      queue_.pop_front();
    }
    Slot& slot = slots_[static_cast<std::size_t>(job.slot)];
    const std::int64_t begin = down(job.range.offset), needed = job.range.offset + job.range.bytes - begin;
    std::uint8_t* to = place(job.slot, job.which);
    if (!read_at(descriptor_, begin, up(needed), needed, to)) {
      std::memset(to, 0, static_cast<std::size_t>(needed));
      lost_.store(true, std::memory_order_release);
    }
    if (!direct_) let_go(descriptor_, begin, needed);
    bytes_read_.fetch_add(job.range.bytes, std::memory_order_relaxed);
    slot.ready[job.which].store(1, std::memory_order_release);
    slot.ready[job.which].notify_all();
  }
}

bool ExpertCache::read(std::int64_t offset, std::int64_t bytes, std::uint8_t* to) noexcept {
  constexpr std::int64_t kPiece = 4 << 20;
  std::uint8_t* room = huge_pages(kPiece + kSector);
  if (room == nullptr) return false;
  bool whole = true;
  for (std::int64_t done = 0; done < bytes && whole;) {
    const std::int64_t begin = down(offset + done), skipped = offset + done - begin;
    const std::int64_t here = std::min(bytes - done, kPiece - skipped);
    whole = read_at(descriptor_, begin, up(skipped + here), skipped + here, room);
    if (whole) std::memcpy(to + done, room + skipped, static_cast<std::size_t>(here));
    if (!direct_) let_go(descriptor_, begin, skipped + here);
    done += here;
  }
  std::free(room);
  return whole;
}

ExpertCache::Statistics ExpertCache::statistics() const noexcept {
  return {bytes_read_.load(std::memory_order_relaxed), lookups_, hits_, slots(), slot_bytes_,
          static_cast<std::int64_t>(where_.size())};
}

}  // namespace ouvert
