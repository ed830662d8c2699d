// Choosing tokens from rows of logits. ouvert.arithmetic.sampling says what each step means; this must choose the same
// tokens.
//
// A token's share is its unnormalised probability: e^((logit - largest) / temperature) in units of 2^-44, rounded to a
// whole number. Shares are computed by float64 operations that every machine rounds alike, none of them fused. All that
// follows (totals, nuclei, draws) is integer arithmetic. So neither the instruction set nor the order of summation
// changes a choice.

#pragma once

#include <cstdint>
#include <limits>

#include "instruction_set.h"

namespace ouvert {

// How one token is to be chosen: ouvert.arithmetic.sampling.ASK.
struct Ask {
  double scale;  // log2(e) / temperature; below 0: the likeliest
  double top_p;
  double repetition, presence, frequency;
  std::uint64_t draw;     // uniform
  std::int64_t least;     // the smallest share that may be chosen
  std::int64_t top_k;     // 0: all
  std::int64_t logprobs;  // how many of the likeliest are reported; below 0: nothing is reported
};

// Ids and numbers that change logits before a choice.
struct Changes {
  const std::int64_t* biased;
  const double* bias;
  std::int64_t biased_count;
  const std::int64_t* seen;  // distinct
  const double* times;
  std::int64_t seen_count;
};

// ouvert.arithmetic.sampling.OUTCOME.
struct Outcome {
  std::int64_t token;   // -1 if an id is outside the row, or if no token is allowed
  std::int64_t broken;  // logits that are NaN or infinite; if there are any, nothing else is set
  std::uint64_t total;  // shares of the unchanged logits at temperature 1, if logprobs were asked for
  double largest;       // of the unchanged logits
};

// How a share follows from a logit.
struct Curve {
  double largest, scale;
};

// Which tokens may be chosen: those down to this one (the likeliest first, the lower id first among equals) whose share
// is at least `least`. The default lets every token through.
struct Bar {
  float logit = -std::numeric_limits<float>::infinity();
  std::int64_t id = 0;
  std::int64_t least = 0;
};

// What entropy and rank are made of.
struct Spread {
  double weighed;
  std::int64_t above;
};

inline constexpr std::int64_t kTokenBlock = 64;  // tokens that are computed, or skipped, together
inline constexpr int kShareBits = 44;            // a share of 1 is 2^kShareBits
inline constexpr int kShareSteps = 16 * 64 + 1;  // steps of a factor 2^(-1/16) that shares are counted by

// The passes over whole rows, one table per instruction set. A row has `tokens` logits, at least one. It is cut into
// blocks of kTokenBlock tokens, of which the last may be shorter.
struct SamplingKernels {
  // Each block's largest logit. False if a logit is NaN or infinite: then no other function may be called for the row.
  bool (*block_maxima)(const float* logits, std::int64_t tokens, float* tops);

  // Each block's sum of the shares that the bar lets through.
  void (*block_sums)(const float* logits, std::int64_t tokens, const float* tops, const Curve& curve, const Bar& bar,
                     std::uint64_t* sums);

  // The kTokenBlock shares of one block, 0 for those that the bar does not let through or that are not there.
  void (*shares)(const float* logits, std::int64_t tokens, std::int64_t block, const Curve& curve, const Bar& bar,
                 std::int64_t* out);

  // The sum over a row of share * (logit - largest), in units of 2^-kShareBits, added up in an order of its own: the same
  // bits for every instruction set. And how many logits are above `level`.
  Spread (*spread)(const float* logits, std::int64_t tokens, const Curve& curve, float level);

  // Shares of one block, and the step of each: 0 for shares above 2^(-1/16), 1 for those above 2^(-2/16) and so on. The
  // last step holds all smaller shares.
  void (*steps)(const float* logits, std::int64_t tokens, std::int64_t block, const Curve& curve, std::int32_t* steps,
                std::int64_t* shares);
};

extern const SamplingKernels sampling_plain;
extern const SamplingKernels sampling_avx2;

// The set must be one this machine has.
const SamplingKernels& sampling_kernels(InstructionSet set);

// Chooses one token. `allowed`: `allowed_count` ids, ascending, or null for all. `likeliest` has room for ask.logprobs
// ids. The sum of `tokens` shares must fit into 63 bits.
void choose(const SamplingKernels& kernels, const float* logits, std::int64_t tokens, const Ask& ask,
            const Changes& changes, const std::int64_t* allowed, std::int64_t allowed_count, Outcome& outcome,
            std::int64_t* likeliest);

// What choose() reports besides the token for ask.logprobs = top.
void report(const SamplingKernels& kernels, const float* logits, std::int64_t tokens, std::int64_t top,
            Outcome& outcome, std::int64_t* likeliest);

}  // namespace ouvert
