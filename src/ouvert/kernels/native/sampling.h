// Choosing tokens from rows of logits. What each step means is said in ouvert.arithmetic.sampling, which this is held to,
// token for token.
//
// A word's share is e^((logit - largest) / temperature) in units of 2^-44, rounded to a whole number. Shares come from
// float64 operations that every machine rounds alike, none of them fused; all that follows (totals, nuclei, draws) is
// integer arithmetic. So neither the instruction set nor the order of summation changes a choice.

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
  std::int64_t logprobs;  // so many of the likeliest are reported; below 0: nothing is
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
  std::int64_t token;   // -1 for ids that are no words of the row, or if none is allowed
  std::int64_t broken;  // logits that are NaN or infinite; if there are any, nothing else is set
  std::uint64_t total;  // shares of the unchanged logits at temperature 1, if logprobs were asked for
  double largest;       // of the unchanged logits
};

// How a share follows from a logit.
struct Curve {
  double largest, scale;
};

// The last word that may be chosen, where the likeliest comes first and the lower id among equals, and the smallest share
// that may be. As it stands here it lets everything through.
struct Bar {
  float logit = -std::numeric_limits<float>::infinity();
  std::int64_t id = 0;
  std::int64_t least = 0;
};

inline constexpr std::int64_t kWordBlock = 64;  // words that are looked at, or passed over, together
inline constexpr int kShareBits = 44;           // a share of 1 is 2^kShareBits
inline constexpr int kShareSteps = 16 * 64 + 1;

// What differs between instruction sets: the passes over whole rows. A row is cut into blocks of kWordBlock words, the last
// of which may be shorter; `words` of a row are at least 1.
struct SamplingKernels {
  // Each block's largest logit. False if a logit is NaN or infinite: then nothing else may be asked of the row.
  bool (*look)(const float* logits, std::int64_t words, float* tops);

  // Each block's sum of shares. Only of those that the bar lets through.
  void (*sum)(const float* logits, std::int64_t words, const float* tops, const Curve& curve, const Bar& bar,
              std::uint64_t* sums);

  // The kWordBlock shares of one block, 0 for those that the bar does not let through or that are not there.
  void (*shares)(const float* logits, std::int64_t words, std::int64_t block, const Curve& curve, const Bar& bar,
                 std::int64_t* out);

  // Shares of one block, and on which step each word stands: 0 for shares above 2^(-1/16), the next for those above
  // 2^(-2/16) and so on; the last holds all the rest.
  void (*steps)(const float* logits, std::int64_t words, std::int64_t block, const Curve& curve, std::int32_t* steps,
                std::int64_t* shares);
};

extern const SamplingKernels sampling_plain;
extern const SamplingKernels sampling_avx2;

// The set must be one this machine has.
const SamplingKernels& sampling_kernels(InstructionSet set);

// `allowed` are `allowed_count` ids, ascending, or null for all. `likeliest` takes ask.logprobs ids. Shares of `words` words
// must add up in 63 bits.
void choose(const SamplingKernels& kernels, const float* logits, std::int64_t words, const Ask& ask,
            const Changes& changes, const std::int64_t* allowed, std::int64_t allowed_count, Outcome& outcome,
            std::int64_t* likeliest);

// What choose() reports beside the token for ask.logprobs = top.
void report(const SamplingKernels& kernels, const float* logits, std::int64_t words, std::int64_t top, Outcome& outcome,
            std::int64_t* likeliest);

}  // namespace ouvert
