// Causal attention of one sequence in float32, and its gradients: what training computes. Nothing is rounded or kept in
// a cache; scores never leave a core's cache, and are computed again on the way back. Held to tuning.attention in
// float64. All instruction sets give the same bits: every sum is one chain of fused operations, in order.

#pragma once

#include <cstdint>

#include "instruction_set.h"

namespace ouvert {

// The queries are the last `tokens` of `length` tokens, each of which sees itself and those before it, `window` at most
// (0: all). Query heads h * heads / kv_heads .. share key head h.
struct AttentionShape {
  std::int64_t tokens, length, heads, kv_heads, head_dim, value_dim, window;
  float scale;
};

struct AttentionForward {
  const float *q, *keys, *values;  // [tokens][heads][head_dim], [length][kv_heads][head_dim], [..][value_dim]
  const float* sinks;              // [heads]: a score that takes its share and gives nothing; or null
  float* out;                      // [tokens][heads][value_dim]
  float* shares;                   // [heads][2][tokens]: largest score times log2 e, and 1 / total: what turns scores
                                   // into shares on the way back
};

struct AttentionBackward {
  AttentionForward forward;  // as it was; out and shares are read
  const float* dy;           // as out
  float *dq, *dkeys, *dvalues, *dsinks;  // as what they are gradients by; dsinks may be null
};

struct AttentionGradientKernels {
  // One key head, with all query heads that share it. `scratch` has attention_scratch floats, aligned to 64.
  void (*forward)(const AttentionShape& shape, const AttentionForward& of, std::int64_t kv_head, float* scratch);
  void (*backward)(const AttentionShape& shape, const AttentionBackward& of, std::int64_t kv_head, float* scratch);
};

std::int64_t attention_scratch(const AttentionShape& shape);

// The set must be one this machine has.
const AttentionGradientKernels& attention_gradient_kernels(InstructionSet set);

}  // namespace ouvert
