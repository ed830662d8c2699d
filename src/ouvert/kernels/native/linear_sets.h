// The tables of functions that the files of the instruction sets provide.

#pragma once

#include "linear.h"

namespace ouvert {

extern const LinearKernels kLinearPlain;
#if defined(__x86_64__)
extern const LinearKernels kLinearAvx2;
extern const LinearKernels kLinearAvx512;
#endif

}  // namespace ouvert
