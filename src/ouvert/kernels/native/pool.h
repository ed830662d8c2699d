// A pool of threads that work through a list of instructions together.
//
// The pool does not know what an instruction does. Each instruction is cut into pieces, and any thread may take the
// next piece (half of the threads from the front, half from the back, so that each continues reading where it stopped).
// The thread that finishes the last piece of an instruction starts the next instruction. So no thread waits for a
// particular other thread: if the system suspends a thread, the others wait for it only if it is in the middle of a
// piece. To make that rare, threads yield their core between pieces, when they hold none.
//
// Between two jobs the workers poll for a moment, then sleep; within a job they stay awake.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace ouvert {

inline constexpr std::uint32_t kMostPieces = (1u << 20) - 1;

// What a pool executes. Nothing here may throw.
class Job {
 public:
  virtual ~Job() = default;

  // Number of pieces of an instruction, 0 to kMostPieces. Called whenever its turn comes, by one thread, after every
  // piece of the instruction before it is done and visible. Work that is too small to share can be done here.
  virtual std::uint32_t pieces(std::uint32_t instruction) noexcept = 0;

  // The instruction that comes after this one, all of whose pieces are done. Called by one thread. An instruction may so
  // come again, as long as the end is reached.
  virtual std::uint32_t after(std::uint32_t instruction) noexcept { return instruction + 1; }

  // Computes one piece. `thread` is below Pool::threads() and distinct among pieces that run at the same time.
  // Pieces of one instruction must not depend on one another.
  virtual void run(std::uint32_t instruction, std::uint32_t piece, int thread) noexcept = 0;
};

class Pool {
 public:
  // Starts threads - 1 workers; the thread that calls execute() is the remaining one. threads >= 1.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Runs instructions 0 .. instructions - 1 in the job's order, and returns when the last piece is done and visible.
  // One call at a time: calls from several threads take turns.
  void execute(Job& job, std::uint32_t instructions) noexcept;

  // f(piece, thread) for piece 0 .. pieces - 1, in any order, on all threads.
  template <typename F>
  void for_each(std::uint32_t pieces, F&& f) noexcept {
    struct One final : Job {
      std::uint32_t count;
      std::remove_reference_t<F>& f;
      One(std::uint32_t n, std::remove_reference_t<F>& g) : count(n), f(g) {}
      std::uint32_t pieces(std::uint32_t) noexcept override { return count; }
      void run(std::uint32_t, std::uint32_t piece, int thread) noexcept override { f(piece, thread); }
    } job(pieces, f);
    execute(job, 1);
  }

 private:
  struct Hand;  // a thread's own state
  void worker(int thread) noexcept;
  bool work(Hand& hand) noexcept;
  bool report(Hand& hand) noexcept;
  void advance(int thread) noexcept;

  // The instruction that is being computed. Written by the one thread that advances, before `open_` is released; read
  // only by a thread that holds a piece, or that has just finished the last one.
  Job* job_ = nullptr;
  std::uint32_t instructions_ = 0;
  std::uint32_t instruction_ = 0;
  std::uint32_t count_ = 0;

  alignas(64) std::atomic<std::uint64_t> open_{0};   // turn, first piece not taken, end of those not taken
  alignas(64) std::atomic<std::uint32_t> done_{0};   // pieces finished in this turn
  alignas(64) std::atomic<std::uint32_t> running_{0};  // 1 while a job is under way
  std::atomic<bool> stopping_{false};
  std::atomic<int> asleep_{0};

  std::mutex turns_;  // one execute() at a time
  std::mutex sleep_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace ouvert
