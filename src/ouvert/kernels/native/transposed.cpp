// Sizes of gradients as transposed products read them, and the choice of an instruction set.

#include "transposed.h"

#include "linear_layout.h"

namespace ouvert {

extern const TransposedKernels transposed_plain;
#if defined(__x86_64__)
extern const TransposedKernels transposed_avx2;
extern const TransposedKernels transposed_avx512;
#endif

std::int64_t strips_bytes(std::int64_t tokens, std::int64_t rows) {
  return (tokens + kStrip - 1) / kStrip * ((rows + kPanelRows - 1) / kPanelRows) * kStrip * 4 * kPanelRows;
}

std::int64_t gradient_bytes(std::int64_t tokens, std::int64_t rows) {
  return (tokens + kStrip - 1) / kStrip * ((rows + kPanelRows - 1) / kPanelRows) * kStrip * (4 + 2 * kPanelRows);
}

std::int64_t transposed_scratch(std::int64_t tokens, std::int64_t columns) {
  return (tokens + kStrip - 1) / kStrip * kStrip * ((columns + kBlock - 1) / kBlock * kBlock);
}

const TransposedKernels& transposed_kernels(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::avx512) return transposed_avx512;
  if (set == InstructionSet::avx2) return transposed_avx2;
#endif
  (void)set;
  return transposed_plain;
}

}  // namespace ouvert
