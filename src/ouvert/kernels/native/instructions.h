// The instructions of a program. Each is made with the values that it reads and writes. What they compute is described
// in rows.h, linear.h and attention.h; the code is in instructions_*.cpp.

#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "expert_cache.h"
#include "program.h"

namespace ouvert {

// Row i is row ids[i] of the table, decoded.
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

// Rows of x as whole numbers with scales, for products: int8 (code_bytes 1) or int16 (2).
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

// rms_norm of every `width` neighbours of a row; every weight.size() neighbours have the same weights. If `quantised`
// has a width, the result as int8 too.
class Norm final : public Instruction {
 public:
  Norm(Value x, std::vector<float> weight, std::int64_t width, float eps, Value out, Value quantised)
      : x_(x), weight_(std::move(weight)), width_(width), eps_(eps), out_(out), quantised_(quantised) {}
  const char* kind() const override { return "rms_norm"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value x_;
  std::vector<float> weight_;
  std::int64_t width_;
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

// x with the rows of those tokens changed whose sequences have edits of this name. out may be x. `chosen` has a width
// where x are the weights of chosen experts.
class EditRows final : public Instruction {
 public:
  EditRows(std::string name, Value x, Value chosen, Value out)
      : name_(std::move(name)), x_(x), chosen_(chosen), out_(out) {}
  const char* kind() const override { return "edit"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::string name_;
  Value x_, chosen_, out_;
};

// How gate and up become one value.
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
  std::string name = {};    // of a weight that adapters may add to
  Value sum = {};           // then, if it accumulates: where product and additions are made before they are added
};

// Several products of one input, which is floats (`code_bytes` is 0) or whole numbers of 1 or 2 bytes. With `gated`
// there are two products of int8, gate and up, and the output of the first becomes their gated product. `floats` is the
// input in floats, for what adapters add.
class Linear final : public Instruction {
 public:
  Linear(Value x, Value floats, std::int64_t code_bytes, std::vector<Product> products, bool gated, Gate gate)
      : x_(x), floats_(floats), code_bytes_(code_bytes), products_(std::move(products)), gated_(gated), gate_(gate) {
    row_step_.resize(products_.size());
  }
  const char* kind() const override;
  std::int64_t adapt(const std::vector<AdaptedRows>& adapted) override;
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  void multiply(Program& p, std::size_t product, const Piece& piece) noexcept;
  void multiply(Program& p, const Product& product, Value to, bool accumulate, const Piece& piece) const noexcept;
  void multiply_adapted(Program& p, std::size_t product, const Piece& piece) noexcept;

  Value x_, floats_;
  std::int64_t code_bytes_;
  std::vector<Product> products_;
  Additions additions_;
  bool gated_;
  Gate gate_;
  std::vector<std::int64_t> row_step_;
  std::int64_t token_step_ = 0, pieces_per_token_step_ = 0;
};

// Rotary embedding: rotates the heads of x by the angles of their tokens.
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

// Appends keys and values to the caches of one layer.
class Append final : public Instruction {
 public:
  Append(std::int64_t layer, Value k, Value v) : layer_(layer), k_(k), v_(v) {}
  // The same, but rotates first: the keys on their way into the cache, the queries q in place.
  Append(std::int64_t layer, Value k, Value v, Value q, Value angles)
      : layer_(layer), k_(k), v_(v), rotates_(true), q_(q), angles_(angles) {}
  const char* kind() const override { return rotates_ ? "rotate, append" : "append"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  static void prefetch_slot(Program& p, const LayerMemory& layer, const std::uint8_t* block, std::int64_t slot);
  void rotate_queries(Program& p, const LayerMemory& layer, std::int64_t token) const;
  // A token's key of one head as it goes into the cache: where it is, or rotated, in `to`.
  const float* key(Program& p, const LayerMemory& layer, std::int64_t token, std::int64_t head, float* to) const;

  std::int64_t layer_;
  Value k_, v_;
  bool rotates_ = false;
  Value q_, angles_;
};

// The causal convolution of a layer with a state, and silu: weight is [taps][channels]. Writes the last inputs into the
// layer's state. Channels do not depend on one another: a piece is some channels of one sequence.
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

// What a selective scan reads of each token. Names as in the Mamba paper; dt is before its softplus.
struct ScanInputs {
  Value x, dt, B, C;
};

// The selective scan of a layer: reads the layer's state, and writes the one after the step. A is [states][channels].
// Pieces are as in Convolve. If `norms` has a width, it gets the norm of each channel's state after each token.
class SelectiveScan final : public Instruction {
 public:
  SelectiveScan(std::int64_t layer, ScanInputs inputs, std::vector<float> A, std::vector<float> D, Value out,
                Value norms);
  const char* kind() const override { return "selective_scan"; }
  std::int64_t scratch_floats() const override { return kChannels * states(); }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::int64_t states() const { return static_cast<std::int64_t>(A_.size() / D_.size()); }

  std::int64_t layer_;
  ScanInputs in_;
  std::vector<float> A_;  // times log2 e
  std::vector<float> D_;
  Value out_, norms_;
};

// What the scan of Mamba-2 (Dao and Gu, arXiv:2405.21060) is made with.
struct SsdSizes {
  std::int64_t states, head_dim, groups;
  float low, high;  // bounds of softplus(dt)
};

// The scan of Mamba-2 of a layer: reads the layer's state, which is [heads][states][head_dim], and writes the one after
// the step. A and D have one number a head. Heads do not depend on one another: a piece is a head of one sequence.
// If `norms` has a width, it gets the norm of each head's state after each token, and tokens are taken one by one.
class SsdScan final : public Instruction {
 public:
  SsdScan(std::int64_t layer, Value xBC, Value dt, std::vector<float> A, std::vector<float> D, SsdSizes sizes,
          Value out, Value norms);
  const char* kind() const override { return "ssd_scan"; }
  std::int64_t scratch_floats() const override;
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::int64_t heads() const { return static_cast<std::int64_t>(A_.size()); }
  std::int64_t state_floats() const { return sizes_.states * sizes_.head_dim; }

  std::int64_t layer_;
  Value xBC_, dt_;
  std::vector<float> A_;  // times log2 e
  std::vector<float> D_;
  SsdSizes sizes_;
  Value out_, norms_;
};

// Appends latents to the cache of one layer.
class AppendLatent final : public Instruction {
 public:
  AppendLatent(std::int64_t layer, Value x) : layer_(layer), x_(x) {}
  const char* kind() const override { return "append latent"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  std::int64_t layer_;
  Value x_;
};

// For each head: its columns of a, then its columns of b. Of several heads, tokens in the expanded form are left out,
// for nobody looks at their queries, but if it is asked for those `of_all`.
class JoinColumns final : public Instruction {
 public:
  JoinColumns(Value a, Value b, std::int64_t heads, bool of_all, Value out)
      : a_(a), b_(b), heads_(heads), of_all_(of_all || heads == 1), out_(out) {}
  const char* kind() const override { return "join columns"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value a_, b_;
  std::int64_t heads_;
  bool of_all_;
  Value out_;
};

// How the attention of a step is cut into tiles; the same for all layers of one shape. `value_dim` is head_dim, or for
// latents how much of one is the value.
class AttentionPlan {
 public:
  AttentionPlan(std::int64_t group, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t window,
                std::int64_t value_dim)
      : group(group), kv_heads(kv_heads), head_dim(head_dim), window(window), value_dim(value_dim) {}

  struct Item {
    std::int32_t part;
    std::int32_t token, tokens;  // within the part
    std::int32_t segment;        // -1: all segments, straight to the result
    std::int64_t state;          // where the state of this segment and the first head is, in floats from `states`
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

class AttentionRows;

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
  friend class MergeSegments;
  friend class AttentionRows;
  AttentionTile tile(Program& p, std::int32_t part, std::int32_t token, std::int32_t tokens, std::int64_t head) const;
  float* out(Program& p, std::int32_t part, std::int32_t token, std::int64_t head) const;

  std::shared_ptr<AttentionPlan> plan_;
  std::int64_t layer_;
  Value q_;
  std::vector<float> sinks_;  // one per query head, or empty
  float scale_;
  Value out_;
  const AttentionRows* rows_ = nullptr;  // keeps the weights; null where nobody looks
};

// Merges the segments that Attend computed one by one: few tokens with a long past.
class MergeSegments final : public Instruction {
 public:
  explicit MergeSegments(const Attend& attend) : attend_(attend) {}
  const char* kind() const override { return "merge segments"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  const Attend& attend_;  // the instruction before this one
};

// Per row the indices (int32) of the top_k largest scores, largest first, the lower index first among equals, and their
// softmax; if not `normalised`, their parts of the softmax over the whole row. Both outputs are top_k wide.
class RouteTopK final : public Instruction {
 public:
  RouteTopK(Value scores, std::int64_t top_k, bool normalised, Value chosen, Value expert_weights)
      : scores_(scores), top_k_(top_k), normalised_(normalised), chosen_(chosen), expert_weights_(expert_weights) {}
  const char* kind() const override { return "route_top_k"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value scores_;
  std::int64_t top_k_;
  bool normalised_;
  Value chosen_, expert_weights_;
};

// How DeepSeek-V3 routes (arXiv:2412.19437): the top_groups best groups (by the sum of their two best experts) stay,
// and of their experts the top_k best, by sigmoid(score) + correction.
struct GroupRouting {
  std::vector<float> correction;  // one per expert
  std::int64_t top_k, groups, top_groups;
  bool normalised;  // weights are divided by their sum
  float factor;     // and then multiplied by this
};

// RouteTopK within groups of experts. Weights are sigmoids, without the correction. The lower index wins among equals.
class RouteTopKOfGroups final : public Instruction {
 public:
  RouteTopKOfGroups(Value scores, GroupRouting how, Value chosen, Value expert_weights)
      : scores_(scores), how_(std::move(how)), chosen_(chosen), expert_weights_(expert_weights) {}
  const char* kind() const override { return "route_top_k"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  // The top_k of one row by `corrected`. scratch: 2 x groups floats.
  void choose(const float* corrected, float* scratch, std::int32_t* chosen) const;

  Value scores_;
  GroupRouting how_;
  Value chosen_, expert_weights_;
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

// The columns of each head of x times a matrix of its own, in floats. `of_all` as in JoinColumns.
class LinearHeads final : public Instruction {
 public:
  LinearHeads(Value x, ExpertProduct product, bool of_all, Value out)
      : x_(x), product_(std::move(product)), of_all_(of_all), out_(out) {}
  const char* kind() const override { return "linear of heads"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  Value x_;
  ExpertProduct product_;
  bool of_all_;
  Value out_;
};

// Most tokens whose attention is computed together in the expanded form: each head's keys and values are made once for
// so many.
inline constexpr std::int64_t kExpandedTokens = 512;

// Work space of AttendExpanded. All layers use the same one, one after the other.
struct ExpandedBuffers {
  ExpandedBuffers() = default;
  ExpandedBuffers(const ExpandedBuffers&) = delete;
  ExpandedBuffers& operator=(const ExpandedBuffers&) = delete;

  std::vector<std::unique_ptr<Buffer>> of_threads;
};

// Attention over latents of which keys and values are made, for those of a step's tokens that are computed so: their
// rows of `out` are overwritten. A piece is one head of up to kExpandedTokens tokens of one sequence. Stands after
// AppendLatent of the same layer.
class AttendExpanded final : public Instruction {
 public:
  AttendExpanded(std::shared_ptr<ExpandedBuffers> buffers, std::int64_t layer, Value q_nope, Value q_rope,
                 ExpertProduct key, ExpertProduct value, float scale, Value out)
      : buffers_(std::move(buffers)), layer_(layer), q_nope_(q_nope), q_rope_(q_rope), key_(std::move(key)),
        value_(std::move(value)), scale_(scale), out_(out),
        rows_(static_cast<std::size_t>(std::max(key_.weights.rows, value_.weights.rows))) {
    std::iota(rows_.begin(), rows_.end(), 0);
  }
  const char* kind() const override { return "attend expanded"; }
  void prepare(Program& p, std::int64_t tokens) override;
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  ExpandedTile shape(std::int64_t tokens) const;
  void make_weights(std::int64_t head, float* weights, float* decoded) const noexcept;

  std::shared_ptr<ExpandedBuffers> buffers_;
  std::int64_t layer_;
  Value q_nope_, q_rope_;
  ExpertProduct key_, value_;  // (latent x nope) and (value_dim x latent) of each head
  float scale_;
  Value out_;
  std::vector<std::int32_t> rows_;  // 0, 1, 2 ...
};

// Work space of the experts. All layers' mixtures use the same one, one after the other.
struct ExpertBuffers {
  Buffer codes, gate, up, inner_codes, outputs;
};

// The experts of one layer. With a `cache` their matrices stay in a file, and lie in its slots when they are needed.
struct ExpertMatrices {
  std::int64_t count;
  ExpertProduct gate, up, down;
  Gate how;
  std::shared_ptr<ExpertCache> cache = nullptr;
  std::int64_t layer = 0;  // its number in the cache
  ExpertNames names = {};  // of weights that adapters may add to
};

// A mixture of experts, in five instructions. Tokens are gathered by expert, so that the weights of each expert are
// read once. The outputs of a token's experts are added in ascending order of experts. `exact`: products take floats.
// If `each` has a width, it gets what each of a token's experts adds, in the order of `chosen`.
//
// Experts of a file are computed in rounds, each of which fits into half of the slots: while one is computed, the next
// one is read. All of a step is one round if it fits. In which order experts are computed changes no number.
class Experts {
 public:
  Experts(Value x, Value chosen, Value expert_weights, Value out, Value each, std::int64_t top_k,
          ExpertMatrices matrices, bool exact, std::shared_ptr<ExpertBuffers> buffers)
      : x(x), chosen(chosen), expert_weights(expert_weights), out(out), each(each), top_k(top_k),
        matrices(std::move(matrices)), exact(exact), buffers(std::move(buffers)) {}

  // The pairs of a token and this expert: [first, first + count), and where their activations begin, in tokens.
  struct Batch {
    std::int64_t expert, first, count, padded_first;
    std::int64_t slot = -1;  // of the cache
  };
  // Rows and pairs (within a batch) of one piece of a product.
  struct Unit {
    std::int32_t batch, row_begin, row_end, token_begin, token_end;
  };

  void prepare(Program& p, std::int64_t tokens);
  std::int64_t adapt(const std::vector<AdaptedRows>& adapted) {
    return additions.adapt(matrices.names, x.rows == Rows::tokens, adapted, matrices.count, top_k);
  }
  void gather(Program& p) noexcept;
  // The next round's batches are [round_begin, round_end); those before have let go of their slots.
  void next_round() noexcept;
  bool more() const { return round_end < batches.size(); }
  // No round is left: every slot is let go.
  void end_rounds() noexcept;
  std::uint32_t round_batches() const { return static_cast<std::uint32_t>(round_end - round_begin); }
  void cut(Program& p, const Matrix& weights, std::int64_t together) noexcept;
  void multiply(Program& p, const ExpertProduct& product, const Buffer& codes, const float* x, std::int64_t x_stride,
                const std::int32_t* from_rows, float* to, const Unit& unit) noexcept;
  // What adapters add to the products of this round: gate and up, or down.
  void begin_additions(bool down) noexcept;
  void prefetch_additions(const Unit& unit, bool down) const noexcept;
  bool int8(const ExpertProduct& product) const { return !exact && takes_int8(product.weights.layout); }
  bool alone(Program& p) const { return p.rows_of(x) == 1; }  // one token: all its experts read the same activations
  static Activations view(const Buffer& codes, std::int64_t columns, const Batch& batch, bool shared);

  const Value x, chosen, expert_weights, out, each;
  const std::int64_t top_k;
  const ExpertMatrices matrices;
  const bool exact;
  const std::shared_ptr<ExpertBuffers> buffers;

  std::vector<Batch> batches;
  std::vector<std::int32_t> token_of;  // by pair
  std::vector<std::int32_t> pair_of;   // [token][n-th of its experts in ascending order]
  std::vector<float> weight_of;        // the same
  std::vector<Unit> units;
  ExpertAdditions additions;
  std::size_t round_begin = 0, round_end = 0;

 private:
  void begin_rounds(Program& p) noexcept;
  void acquire_until(std::size_t end) noexcept;
  int which(const ExpertProduct& product) const {
    return &product == &matrices.gate ? 0 : &product == &matrices.up ? 1 : 2;
  }
  Matrix matrix(const ExpertProduct& product, const Batch& batch) const noexcept;

  std::vector<std::int64_t> next_;  // by expert, while gathering
  std::vector<Batch> turned_;       // while a round is put in order
  std::size_t most_ = 0;            // batches of a round
  std::size_t acquired_ = 0;        // batches before this one have, or had, their slots
};

// The five instructions, in this order.
class GatherTokens final : public Instruction {
 public:
  explicit GatherTokens(std::shared_ptr<Experts> e) : e_(std::move(e)) {}
  const char* kind() const override { return "experts: gather"; }
  void prepare(Program& p, std::int64_t tokens) override { e_->prepare(p, tokens); }
  std::int64_t adapt(const std::vector<AdaptedRows>& adapted) override { return e_->adapt(adapted); }
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
  std::uint32_t back() noexcept override { return e_->more() ? 2 : 0; }  // to GateExperts

 private:
  std::shared_ptr<Experts> e_;
};

class MixOutputs final : public Instruction {
 public:
  explicit MixOutputs(std::shared_ptr<Experts> e) : e_(std::move(e)) {}
  const char* kind() const override { return "experts: mix"; }
  std::uint32_t pieces(Program& p) noexcept override;
  void run(Program& p, std::uint32_t piece, int thread) noexcept override;

 private:
  void show_each(Program& p, std::int64_t token) noexcept;

  std::shared_ptr<Experts> e_;
};

}  // namespace ouvert
