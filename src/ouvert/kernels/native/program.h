// A traced forward pass: a list of instructions over values, replayed for every step.
//
// A value is a matrix with one row per token (or per token whose logits are wanted). During a step it lives in the
// program's arena. An instruction says into how many pieces it falls for the current step, and computes a piece; the
// threads of the pool work through the list together. A step allocates memory only if it is larger than all before it.

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "attention.h"
#include "cache.h"
#include "instruction_set.h"
#include "linear.h"
#include "low_rank.h"
#include "pool.h"
#include "rows.h"

namespace ouvert {

class Program;

// Layers with a state: most taps of the convolution, and channels of one piece.
inline constexpr std::int64_t kMostTaps = 16;
inline constexpr std::int64_t kChannels = 64;
// Most experts that RouteTopKOfGroups can choose among.
inline constexpr std::int64_t kMostExperts = 1024;

enum class Rows : std::uint8_t { tokens, wanted };
enum class Wanted : std::uint8_t { none, last, all };

// A matrix in the arena: row-major floats (or int32), or Activations. Values that are not needed at the same time may
// share their place.
struct Value {
  Rows rows = Rows::tokens;
  std::int64_t width = 0;       // floats a row; columns for activations
  std::int64_t offset = -1;     // bytes per token of capacity before it in the arena; -1: the step's logits
};

// The part of a step that belongs to one sequence.
struct Part {
  Sequence* sequence;
  std::int64_t first;     // its first token's row
  std::int64_t tokens;
  std::int64_t position;  // of its first token
  std::int64_t expanded;  // how many of its tokens, from the first on, are computed in the expanded form
};

// Memory aligned to 64 that grows and never shrinks.
class Buffer {
 public:
  ~Buffer();
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  // Has at least so many bytes from now on. If it grows, its contents are lost. Throws std::bad_alloc.
  void grow(std::int64_t bytes);
  std::uint8_t* data() const { return data_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }

 private:
  std::uint8_t* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

class Instruction {
 public:
  virtual ~Instruction() = default;
  virtual const char* kind() const = 0;
  // Allocates what it needs besides the arena for steps of so many tokens. May throw std::bad_alloc.
  virtual void prepare(Program&, std::int64_t /*tokens*/) {}
  // What adapters add in the steps from now on. Returns the floats that it needs of Program::low_rank.
  virtual std::int64_t adapt(const std::vector<AdaptedRows>&) { return 0; }
  // Floats that it needs in every thread's scratch.
  virtual std::int64_t scratch_floats() const { return 0; }
  // See Job.
  virtual std::uint32_t pieces(Program&) noexcept = 0;
  virtual void run(Program&, std::uint32_t piece, int thread) noexcept = 0;
  // How many instructions to go back once it is done: 0 goes on with the next.
  virtual std::uint32_t back() noexcept { return 0; }

  double seconds = 0;
  std::int64_t runs = 0;
};

// What the programs of one model share: caches, threads, and the threads' work space. A sequence may be stepped by any
// of them, one program at a time.
struct Common {
  Common(int threads, InstructionSet set, std::vector<LayerMemory> layers, CacheType type,
         std::int64_t kept_before_window);

  InstructionSet set;
  Cache cache;
  std::vector<std::unique_ptr<Buffer>> scratch;  // by thread
  std::uint64_t step_number = 0;                 // of the last step of any of them
  Pool pool;  // last, so that its threads end before what they use is destroyed
};

class Program final : private Job {
 public:
  explicit Program(std::shared_ptr<Common> common);

  // --- tracing ---

  void add(std::unique_ptr<Instruction> instruction) { instructions_.push_back(std::move(instruction)); }
  // Bytes per token of all values together.
  void arena(std::int64_t bytes_per_token) { arena_per_token_ = bytes_per_token; }

  // --- steps ---

  // Appends counts[i] tokens to sequences[i], for all i, and computes. logits has one row per token whose logits are
  // wanted, sequence after sequence. No sequence may occur twice; ids must be below `vocabulary`. If it throws
  // std::bad_alloc, the sequences are as they were.
  void step(std::span<Sequence* const> sequences, std::span<const std::int64_t> counts, std::span<const Wanted> wanted,
            std::span<const std::int32_t> ids, float* logits);

  // A value after the last step.
  std::int64_t rows_of(const Value& value) const { return value.rows == Rows::tokens ? tokens_ : wanted_count(); }
  float* at(const Value& value) const {
    return value.offset < 0 ? logits_ : reinterpret_cast<float*>(arena_.data() + value.offset * capacity_);
  }
  Activations activations(const Value& value) const {
    return {rows_of(value), value.width, reinterpret_cast<std::uint8_t*>(at(value))};
  }

  // --- what instructions read ---

  std::int64_t tokens() const { return tokens_; }
  std::int64_t wanted_count() const { return static_cast<std::int64_t>(wanted_rows_.size()); }
  const std::int32_t* ids() const { return ids_; }
  const std::vector<std::int64_t>& positions() const { return positions_; }
  const std::vector<std::int32_t>& part_of() const { return part_of_; }
  const std::vector<std::int32_t>& wanted_rows() const { return wanted_rows_; }
  const std::vector<Part>& parts() const { return parts_; }
  bool expanded(std::int64_t token) const {
    const Part& part = parts_[static_cast<std::size_t>(part_of_[static_cast<std::size_t>(token)])];
    return token - part.first < part.expanded;
  }
  std::uint64_t step_number() const { return common_->step_number; }
  int threads() const { return common_->pool.threads(); }
  // Where an instruction keeps products of low rank.
  float* low_rank() const { return low_rank_.floats(); }
  float* scratch(int thread) const { return common_->scratch[static_cast<std::size_t>(thread)]->floats(); }

  const std::shared_ptr<Common>& common() const { return common_; }
  Cache& cache() { return common_->cache; }
  InstructionSet instruction_set() const { return common_->set; }
  const LinearKernels& linear;
  const RowKernels& row;
  const AttentionKernels& attention;

  // --- settings ---

  // Token ids are below this; set by whoever traces.
  std::int32_t vocabulary = 0;
  // Instructions are dispatched but compute nothing.
  bool empty = false;
  // Seconds and runs of each instruction are counted. With one thread they are CPU time: waiting for other processes
  // does not count.
  bool timed = false;
  const std::vector<std::unique_ptr<Instruction>>& instructions() const { return instructions_; }

 private:
  std::uint32_t pieces(std::uint32_t instruction) noexcept override;
  std::uint32_t after(std::uint32_t instruction) noexcept override;
  void run(std::uint32_t instruction, std::uint32_t piece, int thread) noexcept override;
  void make_room(std::int64_t tokens);
  void adapt(std::span<Sequence* const> sequences, std::span<const std::int64_t> counts,
             std::span<const Wanted> wanted);
  void note_time() noexcept;
  double seconds_now() const noexcept;

  std::shared_ptr<Common> common_;
  std::vector<std::unique_ptr<Instruction>> instructions_;
  std::int64_t arena_per_token_ = 0;
  Buffer arena_;
  std::int64_t capacity_ = 0;  // tokens

  std::int64_t tokens_ = 0;
  const std::int32_t* ids_ = nullptr;
  float* logits_ = nullptr;
  std::vector<std::int64_t> positions_;
  std::vector<std::int32_t> part_of_;  // which part a token belongs to
  std::vector<std::int32_t> wanted_rows_;
  std::vector<Part> parts_;
  std::vector<AdaptedRows> adapted_;  // of the last step
  bool planned_ = true;               // the instructions know them
  Buffer low_rank_;
  double since_ = 0;
  Instruction* under_way_ = nullptr;
};

}  // namespace ouvert
