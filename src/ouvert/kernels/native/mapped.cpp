#include "mapped.h"

#include <atomic>
#include <cstdint>
#include <mutex>

#if defined(__unix__) || defined(__APPLE__)
#include <cerrno>
#include <csignal>
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace ouvert {
namespace {

struct Range {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};  // 0: not in use
  std::atomic<bool> lost{false};
};

// The handler may run at any time in any thread: it reads these and takes no lock.
Range ranges[kMostGuarded];
std::mutex changing;

#if defined(__unix__) || defined(__APPLE__)

std::uintptr_t page_bytes = 4096;
struct sigaction before;

void pass_on(int signal, siginfo_t* info, void* context) {
  if ((before.sa_flags & SA_SIGINFO) != 0 && before.sa_sigaction != nullptr) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(signal);
  } else {
    sigaction(SIGBUS, &before, nullptr);  // the read is repeated, and ends the process as it would without us
  }
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (Range& range : ranges) {
    const std::uintptr_t end = range.end.load(std::memory_order_acquire);
    if (end == 0 || at >= end || at < range.begin.load(std::memory_order_acquire)) continue;
    range.lost.store(true, std::memory_order_release);
    const std::uintptr_t page = at & ~(page_bytes - 1);
    void* zeros = mmap(reinterpret_cast<void*>(page), end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                       -1, 0);
    if (zeros == MAP_FAILED) break;
    errno = error;
    return;
  }
  pass_on(signal, info, context);
  errno = error;
}

void install() {
  page_bytes = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  struct sigaction ours = {};
  ours.sa_sigaction = on_bus_error;
  ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigemptyset(&ours.sa_mask);
  sigaction(SIGBUS, &ours, &before);
}

#else

void install() {}

#endif

}  // namespace

int guard(const void* begin, std::size_t size) {
  static std::once_flag installed;
  std::call_once(installed, install);
  std::lock_guard lock(changing);
  for (int number = 0; number < kMostGuarded; ++number) {
    Range& range = ranges[number];
    if (range.end.load(std::memory_order_relaxed) != 0) continue;
    range.lost.store(false, std::memory_order_relaxed);
    range.begin.store(reinterpret_cast<std::uintptr_t>(begin), std::memory_order_release);
    range.end.store(reinterpret_cast<std::uintptr_t>(begin) + size, std::memory_order_release);
    return number;
  }
  return -1;
}

bool lost(int number) { return ranges[number].lost.load(std::memory_order_acquire); }

void unguard(int number) {
  std::lock_guard lock(changing);
  ranges[number].end.store(0, std::memory_order_release);
}

}  // namespace ouvert
