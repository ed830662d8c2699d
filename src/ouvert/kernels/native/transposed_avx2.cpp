// transposed.h for the instruction set avx2.

#if defined(__x86_64__)

#include "words_avx2.h"

#include "transposed_body.h"

namespace ouvert {

extern const TransposedKernels transposed_avx2;
const TransposedKernels transposed_avx2 = {gather, quantise, multiply_f32, multiply, multiply_coarse};

}  // namespace ouvert

#endif
