#include "row_gradients.h"

namespace ouvert {

extern const RowGradientKernels row_gradients_plain;
#if defined(__x86_64__)
extern const RowGradientKernels row_gradients_avx2;
extern const RowGradientKernels row_gradients_avx512;
#endif

const RowGradientKernels& row_gradient_kernels(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::avx512) return row_gradients_avx512;
  if (set == InstructionSet::avx2) return row_gradients_avx2;
#endif
  (void)set;
  return row_gradients_plain;
}

}  // namespace ouvert
