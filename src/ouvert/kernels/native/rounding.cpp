#include "rounding.h"

namespace ouvert {

Round* rounding(InstructionSet set) {
  switch (set) {
#if defined(__x86_64__)
    case InstructionSet::avx512: return round_avx512;
    case InstructionSet::avx2: return round_avx2;
#endif
    default: return round_plain;
  }
}

}  // namespace ouvert
