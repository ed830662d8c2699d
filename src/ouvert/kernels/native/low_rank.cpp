#include "low_rank.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "pieces.h"
#include "program.h"

namespace ouvert {
namespace {

// Rows of an addition that lie in [begin, end) of the product: where they start among its rows, and where they end.
std::pair<std::int64_t, std::int64_t> within(const Addition& addition, std::int64_t begin, std::int64_t end) {
  const std::int32_t *first = addition.to, *last = first + addition.count;
  return {std::lower_bound(first, last, begin) - first, std::lower_bound(first, last, end) - first};
}

// Starts reading so many bytes.
void fetch(const std::uint8_t* from, std::int64_t bytes) {
  for (std::int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
}

constexpr std::int64_t kFirstBytes = 4096;  // of a, before anybody multiplies by it

std::size_t parts_of(const LowRank& of) {
  return static_cast<std::size_t>(parts(of.a.columns, kLowRankColumns));
}

Matrix nth_matrix(Matrix matrix, std::int64_t n) {
  matrix.data += n * packed_bytes(matrix.layout, matrix.rows, matrix.columns);
  return matrix;
}

}  // namespace

// `blocks` of kTokensPerPiece rows, each with at most so many parts.
void Additions::reserve(std::size_t products, std::size_t most, std::size_t blocks, std::size_t parts) {
  ends_.reserve(products), all_.reserve(most), work_.reserve(blocks * parts);
  if (blocks <= most_blocks_) return;
  parts_left_ = std::make_unique<std::atomic<std::int64_t>[]>(blocks);
  most_blocks_ = blocks;
}

void Additions::clear() noexcept {
  all_.clear(), ends_.clear(), work_.clear();
  floats_ = 0;
}

void Additions::push(Addition addition) noexcept {
  addition.first = floats_;
  floats_ += addition.parts() * addition.count * addition.rank();
  all_.push_back(addition);
}

void Additions::plan(const std::vector<std::string>& names, bool of_tokens, const std::vector<AdaptedRows>& adapted) {
  clear();
  std::size_t blocks = 0, parts = 0;
  for (const AdaptedRows& each : adapted) {
    blocks += each.rows(of_tokens).size() / kTokensPerPiece + 1;
    for (const std::string& name : names)
      if (const LowRank* of = each.adapter->find(name)) parts = std::max(parts, parts_of(*of));
  }
  reserve(names.size(), names.size() * adapted.size(), names.size() * blocks, parts);
  for (const std::string& name : names) {
    for (const AdaptedRows& each : adapted) {
      const std::vector<std::int32_t>& rows = each.rows(of_tokens);
      const LowRank* of = name.empty() || rows.empty() ? nullptr : each.adapter->find(name);
      if (of != nullptr)
        push({of->a, of->b, of->scale, rows.data(), rows.data(), static_cast<std::int64_t>(rows.size())});
    }
    end_product();
  }
}

void Additions::begin() noexcept {
  work_.clear();
  blocks_ = 0;
  next_.store(0), done_.store(0);
}

void Additions::want(std::size_t product) noexcept {
  for (std::size_t n = begin_of(product); n < ends_[product]; ++n) {
    const Addition& of = all_[n];
    fetch(of.a.data, std::min<std::int64_t>(kFirstBytes, packed_bytes(of.a.layout, of.a.rows, of.a.columns)));
    for (std::int64_t begin = 0; begin < of.count; begin += kTokensPerPiece) {
      parts_left_[blocks_].store(of.parts(), std::memory_order_relaxed);
      for (std::int64_t part = 0; part < of.parts(); ++part)
        work_.push_back({n, begin, std::min(of.count, begin + kTokensPerPiece), part, blocks_});
      ++blocks_;
    }
  }
}

void Additions::prefetch(std::size_t product, const Piece& piece) const noexcept {
  for (std::size_t n = begin_of(product); n < ends_[product]; ++n) {
    const Matrix& b = all_[n].b;
    const std::int64_t group = packed_group_bytes(b.layout, b.columns);
    fetch(b.data + piece.row_begin / kRowGroup * group, parts(piece.row_end - piece.row_begin, kRowGroup) * group);
  }
}

void Additions::help(Program& p, const float* x, std::int64_t stride) noexcept {
  if (next_.load(std::memory_order_relaxed) >= work_.size()) return;
  for (std::size_t n; (n = next_.fetch_add(1, std::memory_order_relaxed)) < work_.size();) {
    const Chunk& chunk = work_[n];
    multiply(p, chunk, x, stride);
    if (parts_left_[chunk.together].fetch_sub(1, std::memory_order_acq_rel) == 1) join(p, chunk);
    done_.fetch_add(1, std::memory_order_release);
  }
}

void Additions::multiply(Program& p, const Chunk& chunk, const float* x, std::int64_t stride) const noexcept {
  const Addition& of = all_[chunk.addition];
  const std::int64_t rank = of.rank(), first = chunk.part * kLowRankColumns;
  const std::int64_t columns = std::min(kLowRankColumns, of.a.columns - first);
  float* u = p.low_rank() + of.first + (chunk.part * of.count + chunk.begin) * rank;
  for (std::int64_t row = 0; row < rank; row += kRowGroup) {
    const std::int64_t rows = std::min(kRowGroup, rank - row);
    const std::uint8_t* data = of.a.data + row / kRowGroup * packed_group_bytes(of.a.layout, of.a.columns) +
                               packed_group_bytes(of.a.layout, first);
    p.linear.matmul_f32({of.a.layout, rows, columns, data}, x + first, stride, of.from + chunk.begin, u + row, rank,
                        {0, rows, 0, chunk.end - chunk.begin}, {});
  }
}

// The sum of the parts in their order, scaled.
void Additions::join(Program& p, const Chunk& chunk) const noexcept {
  const Addition& of = all_[chunk.addition];
  const std::int64_t count = (chunk.end - chunk.begin) * of.rank(), stride = of.count * of.rank();
  float* u = p.low_rank() + of.first + chunk.begin * of.rank();
  for (std::int64_t part = 1; part < of.parts(); ++part) p.row.add(u, u + part * stride, u, count);
  for (std::int64_t i = 0; i < count; ++i) u[i] *= of.scale;
}

void Additions::wait() const noexcept {
  for (int turns = 0; done_.load(std::memory_order_acquire) < work_.size(); ++turns)
    if (turns > 100) std::this_thread::yield();
}

bool Additions::touches(std::size_t product, std::int64_t begin, std::int64_t end) const noexcept {
  for (std::size_t n = begin_of(product); n < ends_[product]; ++n)
    if (const auto [first, last] = within(all_[n], begin, end); first < last) return true;
  return false;
}

void Additions::add(Program& p, std::size_t product, float* out, std::int64_t stride,
                    const Piece& piece) const noexcept {
  for (std::size_t n = begin_of(product); n < ends_[product]; ++n) {
    const Addition& of = all_[n];
    const auto [first, last] = within(of, piece.token_begin, piece.token_end);
    if (first == last) continue;
    p.linear.matmul_f32(of.b, p.low_rank() + of.first + first * of.rank(), of.rank(), nullptr, out, stride,
                        {piece.row_begin, piece.row_end, 0, last - first}, {.accumulate = true, .out_rows = of.to + first});
  }
}

std::int64_t ExpertAdditions::adapt(const ExpertNames& names, bool of_tokens, const std::vector<AdaptedRows>& adapted,
                                    std::int64_t experts, std::int64_t top_k) {
  adapters_.clear();
  gate_up_.clear(), down_.clear();
  std::size_t pairs = 0, most_parts = 0;
  std::int64_t floats[2] = {};
  for (const AdaptedRows& each : adapted) {
    OfAdapter of{};
    const std::vector<std::int32_t>& rows = each.rows(of_tokens);
    const std::size_t count = rows.size() * static_cast<std::size_t>(top_k);
    for (std::size_t which = 0; which < 3; ++which) {
      of.additions[which] = names[which].empty() ? nullptr : each.adapter->find(names[which]);
      if (of.additions[which] == nullptr) continue;
      const std::size_t its = parts_of(*of.additions[which]);
      most_parts = std::max(most_parts, its);
      floats[which == 2] += static_cast<std::int64_t>(count * its) * of.additions[which]->rank();
    }
    if (count == 0 || of.additions == decltype(of.additions){}) continue;
    of.has.resize(static_cast<std::size_t>(rows.back()) + 1);
    for (const std::int32_t row : rows) of.has[static_cast<std::size_t>(row)] = 1;
    adapters_.push_back(std::move(of));
    pairs += count;
  }
  if (adapters_.empty()) return 0;
  const auto count = static_cast<std::size_t>(experts);
  nth_.resize(count), spans_.resize(adapters_.size());
  for (auto* list : {&tokens_, &pairs_, &within_}) list->reserve(pairs);
  const std::size_t most = std::min(count * adapters_.size(), pairs), blocks = most + pairs / kTokensPerPiece;
  gate_up_.reserve(2 * count, 2 * most, 2 * blocks, most_parts);
  down_.reserve(count, most, blocks, most_parts);
  return std::max(floats[0], floats[1]);
}

void ExpertAdditions::begin_gathering() noexcept {
  gate_up_.clear(), down_.clear();
  tokens_.clear(), pairs_.clear(), within_.clear();
  gathered_ = 0;
}

void ExpertAdditions::gather(std::int64_t expert, std::int64_t first, std::int64_t count,
                             const std::int32_t* token_of) noexcept {
  nth_[static_cast<std::size_t>(expert)] = gathered_++;
  for (std::size_t n = 0; n < adapters_.size(); ++n) {
    const OfAdapter& of = adapters_[n];
    spans_[n].first = tokens_.size();
    const bool adds = std::any_of(of.additions.begin(), of.additions.end(), [&](const LowRank* addition) {
      return addition != nullptr && addition->nth_of(expert) >= 0;
    });
    for (std::int64_t i = 0; adds && i < count; ++i) {
      const std::int32_t token = token_of[first + i];
      if (static_cast<std::size_t>(token) >= of.has.size() || of.has[static_cast<std::size_t>(token)] == 0) continue;
      tokens_.push_back(token);
      pairs_.push_back(static_cast<std::int32_t>(first + i));
      within_.push_back(static_cast<std::int32_t>(i));
    }
    spans_[n].second = tokens_.size();
  }
  for (int which = 0; which < 3; ++which) push(expert, which);
}

void ExpertAdditions::push(std::int64_t expert, int which) noexcept {
  Additions& to = which == 2 ? down_ : gate_up_;
  for (std::size_t n = 0; n < adapters_.size(); ++n) {
    const LowRank* of = adapters_[n].additions[static_cast<std::size_t>(which)];
    const auto [begin, end] = spans_[n];
    const std::int64_t nth = of == nullptr || begin == end ? -1 : of->nth_of(expert);
    if (nth < 0) continue;
    const std::int32_t* from = (which == 2 ? pairs_ : tokens_).data() + begin;
    to.push({nth_matrix(of->a, nth), nth_matrix(of->b, nth), of->scale, from, within_.data() + begin,
             static_cast<std::int64_t>(end - begin)});
  }
  to.end_product();
}

void ExpertAdditions::want(std::int64_t expert, bool down) noexcept {
  if (down) {
    down_.want(product(2, expert));
  } else {
    gate_up_.want(product(0, expert));
    gate_up_.want(product(1, expert));
  }
}

}  // namespace ouvert
