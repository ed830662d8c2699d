// Where heads look: Attend keeps the weights of the tokens that were asked for, bit for bit computing what it always
// computes, and this instruction after it makes shares of them.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "instructions.h"

namespace ouvert {

// Most of the heaviest positions of a head that are shown.
inline constexpr std::int64_t kMostTop = 64;

// Work space. All layers use the same one, one after the other.
struct RowBuffers {
  RowBuffers() = default;
  RowBuffers(const RowBuffers&) = delete;
  RowBuffers& operator=(const RowBuffers&) = delete;

  Buffer weights, largest;
};

class AttentionRows final : public Instruction {
 public:
  // One thing that is shown of some tokens of a step, which ascend; row after row it goes `to` there.
  template <typename T>
  struct Shown {
    std::span<const std::int32_t> tokens;
    T* to = nullptr;
  };
  // Shapes: weights (rows, q_heads, positions), of zeros before; sinks (rows, q_heads); top and top_weights (rows,
  // q_heads, most).
  struct Wish {
    Shown<float> weights, sinks;
    Shown<std::int32_t> top;
    Shown<float> top_weights;
    std::int64_t most = 0;
  };

  // `attend` is the instruction before the one before this one, and keeps weights from now on.
  AttentionRows(std::shared_ptr<RowBuffers> buffers, Attend& attend);
  const char* kind() const override { return "attention rows"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

  // What the next steps, of so many tokens, are to leave. `positions` is the length of rows, at least the tokens of the
  // longest sequence after the step. What the wish points to must live as long as it stands. Throws std::bad_alloc.
  // The work space is made by `reserve`, of all layers, before the first of them is told what to `show`.
  void reserve(const Wish& wish, std::int64_t positions);
  void show(const Wish& wish, std::int64_t tokens, std::int64_t positions);

  // Where the weights of a tile go: tokens from `token` of a part on, query heads of kv head `head`. False: nowhere.
  bool shown(Program& p, std::int32_t part, std::int32_t token, std::int64_t head, ShownRows& to) const;

 private:
  // A token that is looked at; what nobody wants of it is null.
  struct Row {
    std::int32_t token;
    bool keeps_weights = false;
    float* sinks = nullptr;
    std::int32_t* top = nullptr;
    float* top_weights = nullptr;
  };
  std::int64_t q_heads() const;
  void score(Program& p, const Row& row, std::int64_t head, int thread) const noexcept;

  std::shared_ptr<RowBuffers> buffers_;
  const Attend& attend_;
  std::vector<Row> rows_;
  std::vector<float*> weights_, largest_;  // [kv head][token]; null for a token that nobody looks at
  std::int64_t tokens_ = 0, positions_ = 0, most_ = 0;
};

}  // namespace ouvert
