// What adapters add to products: matrices of low rank (Hu et al., LoRA, arXiv:2106.09685). y += b (scale (a x)).
//
// Both products are LinearKernels::matmul_f32, from the floats that the weight's own product reads before it rounds
// them; a x is a sum of products of up to kLowRankColumns columns, in their order. So the numbers of a token depend on
// its own activations and its adapters alone: not on the instruction set, the threads, or what shares its step.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "linear.h"

namespace ouvert {

class Program;

inline constexpr std::int64_t kLowRankColumns = 1024;  // of x: what one thread does at a time

// An addition to one weight (out x in). a is rank x in, b is out x rank; of experts, those of all that are adapted,
// ascending, one after the other.
struct LowRank {
  Matrix a, b;
  float scale;
  std::vector<std::int32_t> nth;  // of a weight that holds experts: which matrix is this expert's, or -1

  std::int64_t rank() const { return b.columns; }
  // Which of its matrices an expert has, or -1.
  std::int64_t nth_of(std::int64_t expert) const {
    return expert < static_cast<std::int64_t>(nth.size()) ? nth[static_cast<std::size_t>(expert)] : -1;
  }
};

// By the name of the weight.
struct Adapter {
  std::unordered_map<std::string, LowRank> additions;

  // Null for a weight that it leaves alone.
  const LowRank* find(const std::string& name) const {
    const auto found = additions.find(name);
    return found == additions.end() ? nullptr : &found->second;
  }
};

// The rows of a step that an adapter adds to, ascending: numbers of tokens, or of wanted rows. A sequence with several
// adapters has its rows in several of these, in the order in which they add.
struct AdaptedRows {
  std::shared_ptr<const Adapter> adapter;
  std::vector<std::int32_t> of_tokens, of_wanted;

  const std::vector<std::int32_t>& rows(bool tokens) const { return tokens ? of_tokens : of_wanted; }
  bool operator==(const AdaptedRows&) const = default;
};

// One addition to some rows of a product.
struct Addition {
  Matrix a, b;
  float scale;
  const std::int32_t *from, *to;  // rows of x, and of the product, ascending
  std::int64_t count;
  std::int64_t first = 0;  // in Program::low_rank: where u = scale (a x) of the first row is

  std::int64_t rank() const { return b.columns; }
  std::int64_t parts() const { return (a.columns + kLowRankColumns - 1) / kLowRankColumns; }
};

// The additions to the products of one input. Their u are made by whoever of the threads comes first: there is no
// instruction, and so no meeting of threads, for them alone.
class Additions {
 public:
  // Those to weights of these names (empty: it carries none), each of which makes a product.
  void plan(const std::vector<std::string>& names, bool of_tokens, const std::vector<AdaptedRows>& adapted);
  // Or filled product after product, once there is room.
  void reserve(std::size_t products, std::size_t additions, std::size_t blocks, std::size_t parts);
  void clear() noexcept;
  void push(Addition addition) noexcept;  // to the product under way
  void end_product() noexcept { ends_.push_back(all_.size()); }

  bool empty() const { return all_.empty(); }
  std::int64_t floats() const { return floats_; }  // of all u

  // Before the pieces of an instruction: which products they compute.
  void begin() noexcept;
  void want(std::size_t product) noexcept;

  // Within a piece. `prefetch`: what `add` will read. `help` computes what of u nobody has begun; x is floats, row-major.
  void prefetch(std::size_t product, const Piece& piece) const noexcept;
  void help(Program& p, const float* x, std::int64_t stride) noexcept;
  // Until all of u is there. Threads that hold some of it are at work on it.
  void wait() const noexcept;
  // Whether a product has additions to any of these rows.
  bool touches(std::size_t product, std::int64_t begin, std::int64_t end) const noexcept;
  // out += the additions to a product, in their order, of a piece of it.
  void add(Program& p, std::size_t product, float* out, std::int64_t stride, const Piece& piece) const noexcept;

 private:
  struct Chunk {
    std::size_t addition;
    std::int64_t begin, end;  // of its rows
    std::int64_t part;        // of its columns
    std::size_t together;     // which of parts_left_ has how many chunks of these rows are not done
  };
  void multiply(Program& p, const Chunk& chunk, const float* x, std::int64_t stride) const noexcept;
  void join(Program& p, const Chunk& chunk) const noexcept;
  std::size_t begin_of(std::size_t product) const { return product == 0 ? 0 : ends_[product - 1]; }

  std::vector<Addition> all_;
  std::vector<std::size_t> ends_;  // by product: where its additions end
  std::int64_t floats_ = 0;
  std::vector<Chunk> work_;
  std::unique_ptr<std::atomic<std::int64_t>[]> parts_left_;
  std::size_t blocks_ = 0, most_blocks_ = 0;  // of rows: those in work_, and room for them
  std::atomic<std::size_t> next_{0}, done_{0};
};

// The names of a layer's experts: gate, up and down; empty where they carry no adapter.
using ExpertNames = std::array<std::string, 3>;

// The additions to the experts of one layer. Rows are pairs of a token and one of its experts, gathered by expert; a
// product's are numbered within its expert.
class ExpertAdditions {
 public:
  // What adapters add in the steps from now on. Returns the floats of Program::low_rank that it needs.
  std::int64_t adapt(const ExpertNames& names, bool of_tokens, const std::vector<AdaptedRows>& adapted,
                     std::int64_t experts, std::int64_t top_k);
  bool empty() const { return adapters_.empty(); }

  void begin_gathering() noexcept;
  // The next expert, in ascending order. Its pairs are [first, first + count); token_of says of which tokens all are.
  void gather(std::int64_t expert, std::int64_t first, std::int64_t count, const std::int32_t* token_of) noexcept;

  // Before the pieces of an instruction, which computes `down`, or gate and up.
  void begin(bool down) noexcept { of(down).begin(); }
  void want(std::int64_t expert, bool down) noexcept;
  // x: the tokens' rows, for down the pairs'.
  void prefetch(int which, std::int64_t expert, const Piece& piece) const noexcept {
    (which == 2 ? down_ : gate_up_).prefetch(product(which, expert), piece);
  }
  void help(Program& p, bool down, const float* x, std::int64_t stride) noexcept { of(down).help(p, x, stride); }
  // out += the additions to gate (0), up (1) or down (2) of an expert. Waits for their u.
  void add(Program& p, int which, std::int64_t expert, float* out, std::int64_t stride, const Piece& piece) noexcept {
    const std::size_t n = product(which, expert);
    Additions& additions = of(which == 2);
    if (!additions.touches(n, piece.token_begin, piece.token_end)) return;
    additions.wait();
    additions.add(p, n, out, stride, piece);
  }

 private:
  struct OfAdapter {
    std::array<const LowRank*, 3> additions;
    std::vector<std::uint8_t> has;  // by row: whether it adds to it; false from the end on
  };
  Additions& of(bool down) { return down ? down_ : gate_up_; }
  std::size_t product(int which, std::int64_t expert) const {
    const auto nth = static_cast<std::size_t>(nth_[static_cast<std::size_t>(expert)]);
    return which == 2 ? nth : 2 * nth + static_cast<std::size_t>(which);
  }
  void push(std::int64_t expert, int which) noexcept;

  std::vector<OfAdapter> adapters_;
  std::vector<std::int32_t> tokens_, pairs_, within_;      // of the rows of additions, all one after the other
  std::vector<std::pair<std::size_t, std::size_t>> spans_;  // of these, by adapter: those of the expert under way
  std::vector<std::int32_t> nth_;                           // by expert: how many were gathered before it
  std::int32_t gathered_ = 0;
  Additions gate_up_, down_;
};

}  // namespace ouvert
