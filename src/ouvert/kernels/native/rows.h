// Operations on single rows (one token each): norms, gates, rotation, sums. All are pure. An output may be an input
// unless a comment says otherwise. Tests compare them with the functions of the same names in ouvert.arithmetic. All
// instruction sets give the same bits.

#pragma once

#include <cstdint>

#include "instruction_set.h"

namespace ouvert {

// Parameters of a selective scan (Gu and Dao, Mamba, arXiv:2312.00752), from its first channel on.
struct ScanParameters {
  const float* A;       // [states][stride], times log2 e
  std::int64_t stride;  // floats from state to state
  const float* D;       // [channels]
  std::int64_t states;
};

// One token's inputs of a selective scan. dt is before its softplus.
struct ScanToken {
  const float *x, *dt;  // [channels]
  const float *B, *C;   // [states]
};

// Some tokens of one head in the scan of Mamba-2 (Dao and Gu, arXiv:2405.21060), side by side in memory.
struct SsdTokens {
  const float *x, *B, *C;       // [tokens][head_dim], [tokens][states], [tokens][states]
  const float *delta, *decay;   // [tokens]: see ssd_steps
  std::int64_t tokens, states, head_dim;
  float D;
};

struct RowKernels {
  // y = x / sqrt(mean of squares + eps) * weight. Squares are added in 32 lanes, which are added at the end.
  void (*rms_norm)(const float* x, const float* weight, float* y, std::int64_t width, float eps);

  void (*add)(const float* a, const float* b, float* y, std::int64_t count);

  // y = sum over i, in order, fused, of weight[i] * parts[part[i] * stride ..]; `count` parts, at least one.
  void (*mix)(const float* parts, std::int64_t stride, const std::int32_t* part, const float* weight,
              std::int64_t count, float* y, std::int64_t width);

  // silu(gate) * up
  void (*swiglu)(const float* gate, const float* up, float* y, std::int64_t count);

  // gate at most limit, up within +-limit; gate * sigmoid(alpha * gate) * (up + 1)
  void (*clamped_swiglu)(const float* gate, const float* up, float* y, std::int64_t count, float alpha, float limit);

  // y = silu(bias + sum over taps, in order, fused, of rows[tap][i] * weight[tap * stride + i]); y is none of the rows.
  void (*convolve)(const float* const* rows, std::int64_t taps, const float* weight, std::int64_t stride,
                   const float* bias, float* y, std::int64_t count);

  // One token of a selective scan over `count` channels, at most state_stride. state is [states][state_stride]:
  //   step = softplus(dt)    state = fma(2^(step * A), state, step * x * B)
  //   y = D * x + sum over states, in order, fused, of state * C
  // y may be x or dt.
  void (*selective_scan)(const ScanParameters& parameters, const ScanToken& token, float* state,
                         std::int64_t state_stride, float* y, std::int64_t count);

  // Of `count` tokens: delta = softplus(dt), at least `low` and at most `high`; decay = 2^(delta * A).
  void (*ssd_steps)(const float* dt, float A, float low, float high, float* delta, float* decay, std::int64_t count);

  // Some tokens of one head, from one state to another, [states][head_dim] each; `from` is null for noughts, and may be
  // `to`. The state stays in registers from token to token, some rows of it at a time.
  //   state = fma(decay, state, delta * x * B)
  //   y = D * x + sum over states, in order, fused, of state * C
  void (*ssd_scan)(const SsdTokens& tokens, const float* from, float* to, float* y);

  // Rotary embedding of one head: elements i and i + half are rotated by the i-th angle, given as its cosine and sine
  // (`half` of each). Elements from 2 * half on are copied.
  void (*rotate)(const float* x, const float* cosines, const float* sines, float* y, std::int64_t head_dim,
                 std::int64_t half);
};

// The set must be one this machine has.
const RowKernels& row_kernels(InstructionSet set);

extern const RowKernels rows_plain;
extern const RowKernels rows_avx2;
extern const RowKernels rows_avx512;

}  // namespace ouvert
