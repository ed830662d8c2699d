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
