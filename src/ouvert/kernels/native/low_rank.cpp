#include "low_rank.h"

#include <algorithm>
#include <thread>

#include "pieces.h"
#include "program.h"

namespace ouvert {
namespace {

// Rows of an addition that lie in [begin, end): where they start among its rows, and where they end.
std::pair<std::int64_t, std::int64_t> within(const Addition& addition, std::int64_t begin, std::int64_t end) {
  const std::int32_t *first = addition.rows, *last = first + addition.count;
  return {std::lower_bound(first, last, begin) - first, std::lower_bound(first, last, end) - first};
}

}  // namespace

std::int64_t Additions::plan(const std::vector<std::string>& names, bool of_tokens,
                             const std::vector<AdaptedRows>& adapted) {
  of_.assign(names.size(), {});
  work_.clear();
  std::int64_t floats = 0;
  for (std::size_t product = 0; product < names.size(); ++product)
    for (const AdaptedRows& each : adapted) {
      const std::vector<std::int32_t>& rows = of_tokens ? each.of_tokens : each.of_wanted;
      const LowRank* found = names[product].empty() || rows.empty() ? nullptr : each.adapter->find(names[product]);
      if (found == nullptr) continue;
      const auto count = static_cast<std::int64_t>(rows.size());
      of_[product].push_back({found, rows.data(), count, floats});
      floats += count * found->rank();
    }
  for (const auto& additions : of_)
    for (const Addition& addition : additions)
      for (std::int64_t begin = 0; begin < addition.count; begin += kTokensPerPiece)
        work_.push_back({&addition, begin, std::min(addition.count, begin + kTokensPerPiece)});
  chunks_ = static_cast<std::uint32_t>(work_.size());
  return floats;
}

void Additions::help(Program& p, const float* x, std::int64_t stride) noexcept {
  if (next_.load(std::memory_order_relaxed) >= chunks_) return;
  for (std::uint32_t n; (n = next_.fetch_add(1, std::memory_order_relaxed)) < chunks_;) {
    const auto& [of, begin, end] = work_[n];
    const std::int64_t rank = of->of->rank();
    float* u = p.low_rank() + of->first + begin * rank;
    p.linear.matmul_f32(of->of->a, x, stride, of->rows + begin, u, rank, {0, rank, 0, end - begin}, {});
    for (std::int64_t i = 0; i < (end - begin) * rank; ++i) u[i] *= of->of->scale;
    done_.fetch_add(1, std::memory_order_release);
  }
}

void Additions::wait() const noexcept {
  for (int turns = 0; done_.load(std::memory_order_acquire) < chunks_; ++turns)
    if (turns > 100) std::this_thread::yield();
}

bool Additions::touches(std::size_t product, std::int64_t begin, std::int64_t end) const noexcept {
  return std::any_of(of_[product].begin(), of_[product].end(), [&](const Addition& addition) {
    const auto [first, last] = within(addition, begin, end);
    return first < last;
  });
}

void Additions::add(Program& p, std::size_t product, float* out, std::int64_t stride,
                    const Piece& piece) const noexcept {
  for (const Addition& addition : of_[product]) {
    const auto [first, last] = within(addition, piece.token_begin, piece.token_end);
    if (first == last) continue;
    const std::int64_t rank = addition.of->rank();
    p.linear.matmul_f32(addition.of->b, p.low_rank() + addition.first + first * rank, rank, nullptr, out, stride,
                        {piece.row_begin, piece.row_end, 0, last - first},
                        {.accumulate = true, .out_rows = addition.rows + first});
  }
}

}  // namespace ouvert
