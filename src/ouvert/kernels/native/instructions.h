// What a program can be made of. Each takes values it reads and values it writes; how they compute is said in rows.h,
// linear.h and attention.h.

#pragma once

#include <cstdint>
#include <vector>

#include "program.h"

namespace ouvert {

// Row i is row ids[i] of the table, as its encoding says.
class Embed final : public Instruction {
 public:
  Embed(Matrix table, Value out) : table_(table), out_(out) {}
  const char* kind() const override { return "embed"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Matrix table_;
  Value out_;
};

// Row i: the cosines, then the sines, of float(position i) * frequency, times magnitude.
class Angles final : public Instruction {
 public:
  Angles(std::vector<float> frequencies, float magnitude, Value out)
      : frequencies_(std::move(frequencies)), magnitude_(magnitude), out_(out) {}
  const char* kind() const override { return "angles"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::vector<float> frequencies_;
  float magnitude_;
  Value out_;
};

// Rows of x as whole numbers with scales, for products: int8, or int16 with two bytes a code.
class Quantise final : public Instruction {
 public:
  Quantise(Value x, std::int64_t code_bytes, Value out) : x_(x), code_bytes_(code_bytes), out_(out) {}
  const char* kind() const override { return "quantise"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value x_;
  std::int64_t code_bytes_;
  Value out_;
};

// rms_norm of every stretch of weight.size() values of a row; if `quantised` has a width, the result as int8 as well.
class Norm final : public Instruction {
 public:
  Norm(Value x, std::vector<float> weight, float eps, Value out, Value quantised)
      : x_(x), weight_(std::move(weight)), eps_(eps), out_(out), quantised_(quantised) {}
  const char* kind() const override { return "rms_norm"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value x_;
  std::vector<float> weight_;
  float eps_;
  Value out_, quantised_;
};

class Add final : public Instruction {
 public:
  Add(Value a, Value b, Value out) : a_(a), b_(b), out_(out) {}
  const char* kind() const override { return "add"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value a_, b_, out_;
};

// The rows whose logits are wanted.
class Select final : public Instruction {
 public:
  Select(Value x, Value out) : x_(x), out_(out) {}
  const char* kind() const override { return "select"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value x_, out_;
};

// How gate and up become one.
struct Gate {
  bool clamped = false;
  float alpha = 1.0f;
  float limit = 0.0f;

  void apply(const RowKernels& row, const float* gate, const float* up, float* y, std::int64_t count) const {
    if (clamped)
      row.clamped_swiglu(gate, up, y, count, alpha, limit);
    else
      row.swiglu(gate, up, y, count);
  }
};

class Gated final : public Instruction {
 public:
  Gated(Value gate, Value up, Gate how, Value out) : gate_(gate), up_(up), how_(how), out_(out) {}
  const char* kind() const override { return how_.clamped ? "clamped_swiglu" : "swiglu"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value gate_, up_;
  Gate how_;
  Value out_;
};

struct Product {
  Matrix weights;
  std::vector<float> bias;  // empty for none
  Value out;
  bool accumulate = false;  // out already holds what the product is added to
};

// Products of one input, computed side by side: floats (`code_bytes` is 0), or whole numbers of 1 or 2 bytes. With `gated`
// there are two products, gate and up, of int8, and the first one's output becomes their gated product.
class Linear final : public Instruction {
 public:
  Linear(Value x, std::int64_t code_bytes, std::vector<Product> products, bool gated, Gate gate)
      : x_(x), code_bytes_(code_bytes), products_(std::move(products)), gated_(gated), gate_(gate) {
    row_step_.resize(products_.size());
  }
  const char* kind() const override;
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  void multiply(Program& p, const Product& product, const Piece& piece) const noexcept;

  Value x_;
  std::int64_t code_bytes_;
  std::vector<Product> products_;
  bool gated_;
  Gate gate_;
  std::vector<std::int64_t> row_step_;
  std::int64_t token_step_ = 0, pieces_per_token_step_ = 0;
};

// Turns the heads of x by the angles of their tokens.
class Rotate final : public Instruction {
 public:
  Rotate(Value x, Value angles, std::int64_t head_dim, Value out)
      : x_(x), angles_(angles), head_dim_(head_dim), out_(out) {}
  const char* kind() const override { return "rotate"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value x_, angles_;
  std::int64_t head_dim_;
  Value out_;
};

// Writes keys and values into the caches of one layer.
class Remember final : public Instruction {
 public:
  Remember(std::int64_t layer, Value k, Value v) : layer_(layer), k_(k), v_(v) {}
  // The same, turning the keys, and the queries q in place, on the way.
  Remember(std::int64_t layer, Value k, Value v, Value q, Value angles)
      : layer_(layer), k_(k), v_(v), turns_(true), q_(q), angles_(angles) {}
  const char* kind() const override { return turns_ ? "rotate, remember" : "remember"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::int64_t layer_;
  Value k_, v_;
  bool turns_ = false;
  Value q_, angles_;
};

// The causal convolution of a layer with a state, and silu: weight is [taps][channels]. Leaves the last inputs where the
// state is kept. Channels by themselves, so that a piece is some of them, of one sequence.
class Convolve final : public Instruction {
 public:
  Convolve(std::int64_t layer, Value x, std::vector<float> weight, std::vector<float> bias, Value out)
      : layer_(layer), x_(x), weight_(std::move(weight)), bias_(std::move(bias)), out_(out) {}
  const char* kind() const override { return "convolve"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::int64_t taps() const { return static_cast<std::int64_t>(weight_.size() / bias_.size()); }

  std::int64_t layer_;
  Value x_;
  std::vector<float> weight_, bias_;
  Value out_;
};

// The selective scan of a layer, from the state before a step to the one after: decay is [states][channels]. Cut as above.
class Scan final : public Instruction {
 public:
  Scan(std::int64_t layer, Value x, Value step, std::vector<float> decay, Value b, Value c, std::vector<float> skip,
       Value out);
  const char* kind() const override { return "scan"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::int64_t states() const { return static_cast<std::int64_t>(decay_.size() / skip_.size()); }

  std::int64_t layer_;
  Value x_, step_;
  std::vector<float> decay_;  // times log2 e
  Value b_, c_;
  std::vector<float> skip_;
  Value out_;
};

// Writes latents into the cache of one layer.
class RememberLatent final : public Instruction {
 public:
  RememberLatent(std::int64_t layer, Value x) : layer_(layer), x_(x) {}
  const char* kind() const override { return "remember"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::int64_t layer_;
  Value x_;
};

// Head by head, the columns of a, then those of b.
class JoinColumns final : public Instruction {
 public:
  JoinColumns(Value a, Value b, std::int64_t heads, Value out) : a_(a), b_(b), heads_(heads), out_(out) {}
  const char* kind() const override { return "join columns"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value a_, b_;
  std::int64_t heads_;
  Value out_;
};

// Which tiles the attention of a step falls into; the same for all layers of one shape. `value_dim` is head_dim, but for
// latents.
class AttentionPlan {
 public:
  AttentionPlan(std::int64_t group, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t window,
                std::int64_t value_dim)
      : group(group), kv_heads(kv_heads), head_dim(head_dim), window(window), value_dim(value_dim) {}

  struct Item {
    std::int32_t part;
    std::int32_t token, tokens;  // within the part
    std::int32_t segment;        // -1: all segments, and straight to the answer
    std::int64_t state;          // floats from the start of the states, of this segment and the first head
  };
  struct Split {
    std::int32_t part, token, tokens, segments;
    std::int64_t state;
  };

  void make(Program& p) noexcept;
  std::int64_t state_floats(const Split& split) const { return split.tokens * group * state_stride(value_dim); }

  const std::int64_t group, kv_heads, head_dim, window, value_dim;
  std::vector<Item> items;
  std::vector<Split> splits;
  Buffer states;

 private:
  void make(Program& p, bool split);
  std::uint64_t made_for_ = 0;
};

class Attend final : public Instruction {
 public:
  Attend(std::shared_ptr<AttentionPlan> plan, std::int64_t layer, Value q, std::vector<float> sinks, float scale,
         Value out)
      : plan_(std::move(plan)), layer_(layer), q_(q), sinks_(std::move(sinks)), scale_(scale), out_(out) {}
  const char* kind() const override { return "attend"; }
  void prepare(Program& p, std::int64_t tokens) override;
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  friend class Join;
  AttentionTile tile(Program& p, std::int32_t part, std::int32_t token, std::int32_t tokens, std::int64_t head) const;
  float* out(Program& p, std::int32_t part, std::int32_t token, std::int64_t head) const;

  std::shared_ptr<AttentionPlan> plan_;
  std::int64_t layer_;
  Value q_;
  std::vector<float> sinks_;  // one per query head, or empty
  float scale_;
  Value out_;
};

// Puts together what Attend left in pieces: long pasts of few tokens.
class Join final : public Instruction {
 public:
  explicit Join(const Attend& attend) : attend_(attend) {}
  const char* kind() const override { return "join"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  const Attend& attend_;  // stands before this one in the same program
};

// Per row the indices (int32) of the `kept` largest scores, best first, the lower index first among equals, and their
// softmax. Both outputs are `kept` wide.
class BestFew final : public Instruction {
 public:
  BestFew(Value scores, std::int64_t kept, Value chosen, Value share)
      : scores_(scores), kept_(kept), chosen_(chosen), share_(share) {}
  const char* kind() const override { return "best_few"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value scores_;
  std::int64_t kept_;
  Value chosen_, share_;
};

// DeepSeek-V3's choice: per row the `kept` best experts by sigmoid(score) + correction, among those of the best groups (by
// their two best experts), best first; shares are the sigmoids, perhaps over their sum, times factor. The lower index first
// among equals.
class BestFewOfGroups final : public Instruction {
 public:
  BestFewOfGroups(Value scores, std::vector<float> correction, std::int64_t kept, std::int64_t groups,
                  std::int64_t groups_kept, bool normalised, float factor, Value chosen, Value share)
      : scores_(scores), correction_(std::move(correction)), kept_(kept), groups_(groups), groups_kept_(groups_kept),
        normalised_(normalised), factor_(factor), chosen_(chosen), share_(share) {}
  const char* kind() const override { return "best_few"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value scores_;
  std::vector<float> correction_;
  std::int64_t kept_, groups_, groups_kept_;
  bool normalised_;
  float factor_;
  Value chosen_, share_;
};

// The matrices of all experts, one after the other; biases are (experts, rows) or empty.
struct ExpertProduct {
  Matrix weights;  // of expert 0
  std::vector<float> bias;

  Matrix expert(std::int64_t e) const {
    Matrix one = weights;
    one.data += e * packed_bytes(weights.layout, weights.rows, weights.columns);
    return one;
  }
  Epilogue epilogue(std::int64_t e) const { return {.bias = bias.empty() ? nullptr : bias.data() + e * weights.rows}; }
};

// Each head's columns of x times its own matrix, in floats.
class LinearHeads final : public Instruction {
 public:
  LinearHeads(Value x, ExpertProduct product, Value out) : x_(x), product_(std::move(product)), out_(out) {}
  const char* kind() const override { return "linear of heads"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value x_;
  ExpertProduct product_;
  Value out_;
};

// What the experts of a step are busy with. All layers' mixtures use the same one, one after the other.
struct ExpertBuffers {
  Buffer codes, gate, up, inner_codes, answers;
};

// A mixture of experts, in five instructions: tokens are gathered by expert, so that each expert's weights are read
// once; every token's answers are mixed in ascending order of experts.
class Experts {
 public:
  Experts(Value x, Value chosen, Value share, Value out, std::int64_t experts, std::int64_t kept, ExpertProduct gate,
          ExpertProduct up, ExpertProduct down, Gate how, bool exact, std::shared_ptr<ExpertBuffers> buffers)
      : x(x), chosen(chosen), share(share), out(out), experts(experts), kept(kept), gate(std::move(gate)),
        up(std::move(up)), down(std::move(down)), how(how), exact(exact), buffers(std::move(buffers)) {}

  // One expert's pairs of token and rank: [first, first + count), and where their activations begin, in tokens.
  struct Stretch {
    std::int64_t expert, first, count, padded_first;
  };
  // Rows and pairs (within a stretch) of one piece of a product.
  struct Unit {
    std::int32_t stretch, row_begin, row_end, token_begin, token_end;
  };

  void prepare(Program& p, std::int64_t tokens);
  void gather(Program& p) noexcept;
  void cut(Program& p, const Matrix& weights, std::int64_t matrices) noexcept;
  void multiply(Program& p, const ExpertProduct& product, const Buffer& codes, const float* x, std::int64_t x_stride,
                const std::int32_t* from_rows, float* to, const Unit& unit) const noexcept;
  bool int8(const ExpertProduct& product) const { return !exact && takes_int8(product.weights.layout); }
  bool alone(Program& p) const { return p.rows_of(x) == 1; }  // one token: all its experts look at the same activations
  static Activations view(const Buffer& codes, std::int64_t columns, const Stretch& stretch, bool shared);

  const Value x, chosen, share, out;
  const std::int64_t experts, kept;
  const ExpertProduct gate, up, down;
  const Gate how;
  const bool exact;
  const std::shared_ptr<ExpertBuffers> buffers;

  std::vector<Stretch> stretches;
  std::vector<std::int32_t> token_of;  // by pair
  std::vector<std::int32_t> pair_of;   // [token][n-th of its experts in ascending order]
  std::vector<float> share_of;         // the same
  std::vector<Unit> units;

 private:
  std::vector<std::int64_t> next_;  // by expert, while gathering
};

// The five, in this order.
class GatherTokens final : public Instruction {
 public:
  explicit GatherTokens(std::shared_ptr<Experts> e) : e_(std::move(e)) {}
  const char* kind() const override { return "experts: gather"; }
  void prepare(Program& p, std::int64_t tokens) override { e_->prepare(p, tokens); }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::shared_ptr<Experts> e_;
};

class GateExperts final : public Instruction {
 public:
  explicit GateExperts(std::shared_ptr<Experts> e) : e_(std::move(e)) {}
  const char* kind() const override { return "experts: gate, up"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::shared_ptr<Experts> e_;
};

class QuantiseInner final : public Instruction {
 public:
  explicit QuantiseInner(std::shared_ptr<Experts> e) : e_(std::move(e)) {}
  const char* kind() const override { return "experts: quantise"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::shared_ptr<Experts> e_;
};

class DownExperts final : public Instruction {
 public:
  explicit DownExperts(std::shared_ptr<Experts> e) : e_(std::move(e)) {}
  const char* kind() const override { return "experts: down"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::shared_ptr<Experts> e_;
};

class MixAnswers final : public Instruction {
 public:
  explicit MixAnswers(std::shared_ptr<Experts> e) : e_(std::move(e)) {}
  const char* kind() const override { return "experts: mix"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::shared_ptr<Experts> e_;
};

}  // namespace ouvert
