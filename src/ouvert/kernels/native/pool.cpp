#include "pool.h"

#include <chrono>

#if defined(__linux__) || defined(__APPLE__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ouvert {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBits = 20;  // of a piece's number: kMostPieces
constexpr int kLooks = 40;                                        // about a microsecond
constexpr auto kBetweenJobs = std::chrono::microseconds(150);     // then a worker sleeps
constexpr auto kBetweenYields = std::chrono::microseconds(1000);  // while there is work

void breathe() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void hand_over() {
#if defined(__linux__) || defined(__APPLE__)
  sched_yield();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

struct Pool::Hand {
  int thread;
  std::uint32_t held = 0;  // pieces done and not yet reported
  int looks = 0;           // for work, in vain, since the last piece
  Clock::time_point yielded = Clock::now();
};

Pool::Pool(int threads) {
  for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { worker(thread); });
}

Pool::~Pool() {
  {
    std::lock_guard lock(sleep_);
    stopping_.store(true);
  }
  wake_.notify_all();
  for (auto& thread : workers_) thread.join();
}

// Starts instructions until one has pieces to share, or the job is over. Called by one thread only: the one that
// finished the last piece of the turn before, or execute() at the start.
void Pool::advance(int thread) noexcept {
  for (;;) {
    if (instruction_ == instructions_) {
      running_.store(0, std::memory_order_release);
      return;
    }
    const std::uint32_t count = job_->pieces(instruction_);
    if (count > 1) {
      count_ = count;
      done_.store(0, std::memory_order_relaxed);
      const std::uint64_t turn = (open_.load(std::memory_order_relaxed) >> (2 * kBits)) + 1;
      open_.store(turn << (2 * kBits) | count, std::memory_order_release);
      return;
    }
    if (count == 1) job_->run(instruction_, 0, thread);  // too small to share
    instruction_ = job_->after(instruction_);
  }
}

// Counts the pieces that this thread has done since its last report. If they were the last ones, starts the next
// instruction. Returns whether it did.
bool Pool::report(Hand& hand) noexcept {
  if (hand.held == 0) return false;
  const std::uint32_t count = count_;  // stable as long as some pieces of the turn are not reported
  const std::uint32_t mine = hand.held;
  hand.held = 0;
  if (done_.fetch_add(mine, std::memory_order_acq_rel) + mine != count) return false;
  instruction_ = job_->after(instruction_);
  advance(hand.thread);
  return true;
}

// Takes and computes one piece, or reports. Returns false if there was nothing to do.
bool Pool::work(Hand& hand) noexcept {
  std::uint64_t open = open_.load(std::memory_order_acquire);
  for (;;) {
    const auto begin = static_cast<std::uint32_t>(open >> kBits & kMostPieces);
    const auto end = static_cast<std::uint32_t>(open & kMostPieces);
    if (begin == end) return report(hand);
    const bool front = hand.thread % 2 == 0;
    if (open_.compare_exchange_weak(open, front ? open + (std::uint64_t{1} << kBits) : open - 1,
                                    std::memory_order_acquire)) {
      job_->run(instruction_, front ? begin : end - 1, hand.thread);
      ++hand.held;
      if (const auto now = Clock::now(); now - hand.yielded > kBetweenYields) {
        report(hand);
        hand_over();
        hand.yielded = now;
      }
      return true;
    }
  }
}

void Pool::execute(Job& job, std::uint32_t instructions) noexcept {
  std::lock_guard one_at_a_time(turns_);
  job_ = &job;
  instructions_ = instructions;
  instruction_ = 0;
  running_.store(1, std::memory_order_seq_cst);
  if (asleep_.load(std::memory_order_seq_cst) != 0) {
    { std::lock_guard lock(sleep_); }
    wake_.notify_all();
  }
  Hand hand{0};
  advance(0);
  while (running_.load(std::memory_order_acquire) != 0) {
    if (work(hand)) {
      hand.looks = 0;
    } else if (++hand.looks < kLooks) {
      breathe();
    } else {
      hand_over();
      hand.yielded = Clock::now();
    }
  }
}

void Pool::worker(int thread) noexcept {
  Hand hand{thread};
  Clock::time_point busy = Clock::now();  // when a job was last seen
  for (;;) {
    if (work(hand)) {
      hand.looks = 0;
    } else if (++hand.looks < kLooks) {
      breathe();
    } else {
      const auto now = Clock::now();
      if (running_.load(std::memory_order_acquire) != 0 || hand.looks == kLooks) busy = now;
      if (now - busy < kBetweenJobs) {
        hand_over();
        hand.yielded = now;
        continue;
      }
      std::unique_lock lock(sleep_);
      asleep_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, [this] { return stopping_.load() || running_.load(std::memory_order_seq_cst) != 0; });
      asleep_.fetch_sub(1, std::memory_order_seq_cst);
      if (stopping_.load()) return;
      hand.looks = 0;
    }
  }
}

}  // namespace ouvert
