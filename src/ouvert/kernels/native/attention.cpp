#include "attention.h"

namespace ouvert {

const AttentionKernels& attention_kernels(InstructionSet set) {
  switch (set) {
#if defined(__x86_64__)
    case InstructionSet::avx512: return attention_avx512;
    case InstructionSet::avx2: return attention_avx2;
#endif
    default: return attention_plain;
  }
}

}  // namespace ouvert
