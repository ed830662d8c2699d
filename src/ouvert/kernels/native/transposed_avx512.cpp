// transposed.h for the instruction set avx512.

#if defined(__x86_64__)

#include "words_avx512.h"

#include "transposed_body.h"

namespace ouvert {

extern const TransposedKernels transposed_avx512;
const TransposedKernels transposed_avx512 = {gather, quantise, multiply_f32, multiply, multiply_coarse};

}  // namespace ouvert

#endif
