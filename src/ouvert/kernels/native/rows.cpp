#include "rows.h"

namespace ouvert {

const RowKernels& row_kernels(InstructionSet set) {
  switch (set) {
#if defined(__x86_64__)
    case InstructionSet::avx512: return rows_avx512;
    case InstructionSet::avx2: return rows_avx2;
#endif
    default: return rows_plain;
  }
}

}  // namespace ouvert
