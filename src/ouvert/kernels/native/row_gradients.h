// Gradients of the operations of rows.h on single rows, for training. All instruction sets give the same bits.

#pragma once

#include <cstdint>

#include "instruction_set.h"

namespace ouvert {

struct RowGradientKernels {
  // The gradient by x of rms_norm, given dy by its result: with r = 1 / sqrt(mean of squares + eps) and g = weight * dy,
  // dx = r * (g - x * r^2 * mean of x * g). dx may be dy. Sums are added in 32 lanes, which are added at the end.
  void (*rms_norm_back)(const float* x, const float* weight, const float* dy, float* dx, std::int64_t width, float eps);

  // Of swiglu, given dy by its result: the gradients by gate and up, which may be where gate and up are.
  void (*swiglu_back)(const float* gate, const float* up, const float* dy, float* dgate, float* dup, std::int64_t count);

  // The gradient by logits of the log-probability of one of them, in their place: -e^(logits - log_total), and 1 more
  // at `id`.
  void (*log_probability_back)(float* logits, std::int64_t count, float log_total, std::int64_t id);
};

// The set must be one this machine has.
const RowGradientKernels& row_gradient_kernels(InstructionSet set);

}  // namespace ouvert
