#include "attention_gradient.h"

#include "attention_gradient_room.h"

namespace ouvert {

extern const AttentionGradientKernels attention_gradient_plain;
#if defined(__x86_64__)
extern const AttentionGradientKernels attention_gradient_avx2;
extern const AttentionGradientKernels attention_gradient_avx512;
#endif

std::int64_t attention_scratch(const AttentionShape& shape) {
  return AttentionRoom(shape, nullptr).floats;
}

const AttentionGradientKernels& attention_gradient_kernels(InstructionSet set) {
#if defined(__x86_64__)
  if (set == InstructionSet::avx512) return attention_gradient_avx512;
  if (set == InstructionSet::avx2) return attention_gradient_avx2;
#endif
  (void)set;
  return attention_gradient_plain;
}

}  // namespace ouvert
