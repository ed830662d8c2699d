// Sizes of packed matrices and activations, and the choice of an instruction set.

#include "linear.h"

#include "linear_layout.h"
#include "linear_sets.h"

namespace ouvert {

std::int64_t columns_multiple(Layout layout) {
  const Geometry g = geometry(layout);
  return takes_int8(layout) ? g.scales_columns : 1;
}

std::int64_t packed_group_bytes(Layout layout, std::int64_t columns) { return group_bytes(layout, columns); }

std::int64_t packed_bytes(Layout layout, std::int64_t rows, std::int64_t columns) {
  return up_to_64((rows + kRowGroup - 1) / kRowGroup * group_bytes(layout, columns));
}

const char* name(Layout layout) {
  constexpr const char* names[] = {"MXFP4", "Q4_0", "IQ4_NL", "Q4_1", "Q5_1", "Q4_K",
                                   "Q5_K",  "Q6_K", "Q8_0",   "BF16", "F16",  "F32",  "MXINT8"};
  return names[static_cast<int>(layout)];
}

std::int64_t activation_bytes(std::int64_t tokens, std::int64_t columns, std::int64_t code_bytes) {
  return up_to_64(tokens * (columns / kBlock) * activation_block_bytes(code_bytes));
}

const LinearKernels& linear_kernels(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::avx512) return kLinearAvx512;
  if (set == InstructionSet::avx2) return kLinearAvx2;
#endif
  (void)set;
  return kLinearPlain;
}

}  // namespace ouvert
