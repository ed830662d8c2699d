// What happens to each token by itself: norms, gates, rotation, sums. All pure; outputs may be inputs unless it says
// otherwise. Held to ouvert.arithmetic's functions of the same name; all instruction sets give the same bits.

#pragma once

#include <cstdint>

#include "instruction_set.h"

namespace ouvert {

struct RowKernels {
  // y = x / sqrt(mean of squares + eps) * weight. Squares add up in 32 lanes, joined at the end.
  void (*rms_norm)(const float* x, const float* weight, float* y, std::int64_t width, float eps);

  void (*add)(const float* a, const float* b, float* y, std::int64_t count);

  // y = sum over i, in order, fused, of share[i] * parts[part[i] * stride ..]; count parts, at least one.
  void (*mix)(const float* parts, std::int64_t stride, const std::int32_t* part, const float* share, std::int64_t count,
              float* y, std::int64_t width);

  // silu(gate) * up
  void (*swiglu)(const float* gate, const float* up, float* y, std::int64_t count);

  // gate at most limit, up within +-limit; gate * sigmoid(alpha * gate) * (up + 1)
  void (*clamped_swiglu)(const float* gate, const float* up, float* y, std::int64_t count, float alpha, float limit);

  // y = silu(bias + sum over taps, in order, fused, of rows[tap][i] * weight[tap * stride + i]); y is none of the rows.
  void (*convolve)(const float* const* rows, std::int64_t taps, const float* weight, std::int64_t stride,
                   const float* bias, float* y, std::int64_t count);

  // One token of a selective scan over `count` channels. decay (log2 e of it) and state are [states][stride]; step is
  // taken before its softplus, d = softplus(step):
  //   state = fma(2^(d * decay), state, d * x * b)    y = skip * x + sum over states, in order, fused, of state * c
  // y may be x or step.
  void (*scan)(const float* x, const float* step, const float* decay, std::int64_t decay_stride, const float* b,
               const float* c, const float* skip, float* state, std::int64_t state_stride, std::int64_t states, float* y,
               std::int64_t count);

  // One head: element i < half pairs with i + half and turns by the angle whose cosine and sine are given, `half` of
  // each; what lies beyond 2 * half is copied.
  void (*rotate)(const float* x, const float* cosines, const float* sines, float* y, std::int64_t head_dim,
                 std::int64_t half);
};

// The set must be one this machine has.
const RowKernels& row_kernels(InstructionSet set);

extern const RowKernels rows_plain;
extern const RowKernels rows_avx2;
extern const RowKernels rows_avx512;

}  // namespace ouvert
