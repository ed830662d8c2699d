// What adapters add to products: matrices of low rank (Hu et al., LoRA, arXiv:2106.09685). y += b (scale (a x)).
//
// Both products are LinearKernels::matmul_f32, from the floats that the weight's own product reads before it rounds
// them. So the numbers of a token depend on its own activations and its adapters alone: not on the instruction set, the
// threads, or what shares its step.

#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "linear.h"

namespace ouvert {

class Program;

// An addition to one weight (out x in). a is rank x in, b is out x rank; of experts, those of all that are adapted,
// ascending, one after the other.
struct LowRank {
  Matrix a, b;
  float scale;
  std::vector<std::int32_t> nth;  // of a weight that holds experts: which matrix is this expert's, or -1

  std::int64_t rank() const { return b.columns; }
};

// By the name of the weight.
struct Adapter {
  std::unordered_map<std::string, LowRank> additions;

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

  bool operator==(const AdaptedRows&) const = default;
};

// One addition to some rows of a product: u = scale (a x) of the n-th of them lies at floats + n * rank.
struct Addition {
  const LowRank* of;
  const std::int32_t* rows;
  std::int64_t count;
  std::int64_t first;  // where its u begins, in floats
};

// The additions to the products of one input. Their u are made by whoever of the threads comes first: there is no
// instruction, and so no meeting of threads, for them alone.
class Additions {
 public:
  // Of the products of these names (empty: a weight that carries none). Returns the floats that all u need.
  std::int64_t plan(const std::vector<std::string>& names, bool of_tokens, const std::vector<AdaptedRows>& adapted);
  bool empty() const { return chunks_ == 0; }
  // Before the pieces of a step.
  void begin() noexcept { next_.store(0), done_.store(0); }
  // Computes what of u nobody has begun. x: floats, row-major.
  void help(Program& p, const float* x, std::int64_t stride) noexcept;
  // Until all of u is there. Threads that hold some of it are at work on it.
  void wait() const noexcept;
  // Whether the n-th product has additions to any of these rows.
  bool touches(std::size_t product, std::int64_t begin, std::int64_t end) const noexcept;
  // out += the additions to the n-th product, in their order, of a piece of it.
  void add(Program& p, std::size_t product, float* out, std::int64_t stride, const Piece& piece) const noexcept;

 private:
  struct Chunk {
    const Addition* of;
    std::int64_t begin, end;  // of its rows
  };

  std::vector<std::vector<Addition>> of_;  // by product
  std::vector<Chunk> work_;
  std::uint32_t chunks_ = 0;
  std::atomic<std::uint32_t> next_{0}, done_{0};
};

}  // namespace ouvert
