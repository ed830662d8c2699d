// The instruction that shows where heads look. It stands after Attend of the same layer and changes nothing that others
// read: scores are computed once more, for the tokens that were asked for.

#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "program.h"

namespace ouvert {

// Work space, by thread. All layers use the same one, one after the other.
struct RowBuffers {
  RowBuffers() = default;
  RowBuffers(const RowBuffers&) = delete;
  RowBuffers& operator=(const RowBuffers&) = delete;

  std::vector<std::unique_ptr<Buffer>> of_threads;
};

// Of one layer: which heads there are, as in AttentionPlan.
struct RowHeads {
  std::int64_t group, kv_heads, head_dim, window;
};

class AttentionRows final : public Instruction {
 public:
  // Where the rows of a step go: one for each token of `tokens` (rows of the step, ascending). What nobody wants is null,
  // and top_weights is there if top is, and the other way round. Shapes: weights (rows, q_heads, positions) of zeros,
  // sinks (rows, q_heads), top and top_weights (rows, q_heads, most).
  struct Target {
    std::vector<std::int32_t> tokens;
    std::int64_t positions = 0, most = 0;
    float *weights = nullptr, *sinks = nullptr;
    std::int32_t* top = nullptr;
    float* top_weights = nullptr;
  };

  AttentionRows(std::shared_ptr<RowBuffers> buffers, std::int64_t layer, Value q, RowHeads heads,
                std::vector<float> sinks, float scale)
      : buffers_(std::move(buffers)), layer_(layer), q_(q), heads_(heads), sinks_(std::move(sinks)), scale_(scale) {}
  const char* kind() const override { return "attention rows"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

  // What the next step leaves where. What it points to must live until the step has ended. Throws std::bad_alloc.
  void look(int threads, std::vector<Target> targets);

 private:
  // Tokens of one part that follow one another and are computed together.
  struct Run {
    std::int32_t part, token, tokens;  // token: within the part
    std::int64_t row;                  // of the target
    std::size_t target;
  };
  std::int64_t most_tokens() const { return heads_.group < kTileRows ? kTileRows / heads_.group : 1; }

  std::shared_ptr<RowBuffers> buffers_;
  std::int64_t layer_;
  Value q_;
  RowHeads heads_;
  std::vector<float> sinks_;
  float scale_;
  std::vector<Target> targets_;
  std::vector<Run> runs_;
};

}  // namespace ouvert
