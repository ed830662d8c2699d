// Experts that stay in a file and are read when a router chooses them: a bounded number of them is kept in memory.
//
// An expert of a layer is three matrices (gate, up, down), each a range of the file. The cache has slots of one size,
// that of the largest expert. When a slot is needed, the expert goes whose heat is the least: its tokens, each counting
// half as much after every kHalfLife tokens, so frequency and recency in one number. The tokens of a step count as if
// they came one after the other. Of layers that this step has not reached, it is assumed that their experts get as many
// tokens as before: or whatever a long step needs next would look cold, and go.
//
// Threads of its own read, several ranges at a time, past the system's page cache where the system can (O_DIRECT), so
// that memory holds each byte once at most.
//
// One thread at a time plans (touch, acquire, release); any thread may wait for a matrix of an acquired expert.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ouvert {

class ExpertCache {
 public:
  // Tokens after which a token counts half.
  static constexpr double kHalfLife = 64.0;
  // Gate, up, down.
  static constexpr int kMatrices = 3;

  // Where one matrix of every expert of a layer lies: expert e at offset + e * bytes. Offsets are multiples of 64.
  struct Range {
    std::int64_t offset, bytes;
    bool operator==(const Range&) const = default;
  };
  struct Layer {
    std::int64_t experts;
    Range matrices[kMatrices];
    bool operator==(const Layer&) const = default;
  };
  struct Statistics {
    std::int64_t bytes_read, lookups, hits;  // since it was made; a lookup is a step's use of an expert
    std::int64_t slots, slot_bytes, experts;
  };

  // Reads from `descriptor`, which it closes at its end; `direct`: it was opened with O_DIRECT. Slots take `bytes` at
  // most, but for two that there always are. `readers` >= 1 threads read.
  ExpertCache(int descriptor, bool direct, std::int64_t bytes, int readers);
  ~ExpertCache();
  ExpertCache(const ExpertCache&) = delete;
  ExpertCache& operator=(const ExpertCache&) = delete;

  // The number of this layer; the same for the same layer.
  std::int64_t add(const Layer& layer);
  // Makes slots, once all layers are there; later calls do nothing. Throws std::bad_alloc.
  void prepare();
  std::int64_t slots() const { return static_cast<std::int64_t>(slots_.size()); }

  // --- planning ---

  // A step of so many tokens begins, unless it has begun.
  void begin_step(std::uint64_t number, std::int64_t tokens) noexcept;
  // So many tokens of this step use the expert.
  void touch(std::int64_t layer, std::int64_t expert, std::int64_t tokens) noexcept;
  bool present(std::int64_t layer, std::int64_t expert) const noexcept { return where(layer, expert) >= 0; }
  // The expert has a slot until `release`; if it is not there, reading it begins. At most slots() may be held.
  std::int64_t acquire(std::int64_t layer, std::int64_t expert) noexcept;
  void release(std::int64_t slot) noexcept { --slots_[static_cast<std::size_t>(slot)].held; }

  // --- from any thread ---

  // The bytes of a matrix of the expert in this slot, once they are read. Zeros if they could not be.
  const std::uint8_t* matrix(std::int64_t slot, int which) noexcept;
  // Reads a part of the file, now. Returns whether it could.
  bool read(std::int64_t offset, std::int64_t bytes, std::uint8_t* to) noexcept;
  // Whether something could not be read since it was made: what was computed since is worth nothing.
  bool lost() const noexcept { return lost_.load(std::memory_order_acquire); }
  Statistics statistics() const noexcept;

 private:
  struct Slot {
    std::int64_t layer = -1, expert = -1, held = 0;
    const std::uint8_t* matrices[kMatrices] = {};
    std::atomic<std::uint32_t> ready[kMatrices] = {};
  };
  struct Job {
    std::int64_t slot;
    int which;
    Range range;
  };
  std::int32_t& where(std::int64_t layer, std::int64_t expert) noexcept {
    return where_[static_cast<std::size_t>(first_[static_cast<std::size_t>(layer)] + expert)];
  }
  std::int32_t where(std::int64_t layer, std::int64_t expert) const noexcept {
    return where_[static_cast<std::size_t>(first_[static_cast<std::size_t>(layer)] + expert)];
  }
  double heat(const Slot& slot) const noexcept;
  std::int64_t coldest() const noexcept;
  std::uint8_t* place(std::int64_t slot, int which) const noexcept;
  void work() noexcept;

  const int descriptor_;
  const bool direct_;
  const std::int64_t bytes_;
  std::vector<Layer> layers_;
  std::vector<std::int64_t> first_;  // by layer: its first expert's place in the next two
  std::vector<std::int32_t> where_;  // by expert: its slot, or -1
  std::vector<double> heat_;         // by expert: its tokens, each weighed by the time it came
  std::vector<std::uint64_t> reached_;  // by layer: the last step that did
  double weight_ = 1.0;              // of a token at the end of this step
  double spread_ = 1.0;              // what of it a token of this step counts on average
  double growth_ = 1.0;              // of weights in this step
  std::uint64_t step_ = 0;
  std::int64_t slot_bytes_ = 0;
  std::int64_t parts_[kMatrices] = {};  // where each matrix begins in a slot
  std::unique_ptr<std::uint8_t, void (*)(void*)> memory_;
  std::vector<Slot> slots_;
  std::int64_t lookups_ = 0, hits_ = 0;
  std::atomic<std::int64_t> bytes_read_{0};
  std::atomic<bool> lost_{false};

  std::mutex queue_mutex_;
  std::condition_variable wake_;
  std::deque<Job> queue_;
  bool stopping_ = false;
  std::vector<std::thread> readers_;
};

}  // namespace ouvert
