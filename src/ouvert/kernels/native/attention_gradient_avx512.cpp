// attention_gradient.h for the instruction set avx512.

#if defined(__x86_64__)

#include "lanes_avx512.h"

#include "attention_gradient_body.h"

namespace ouvert {

extern const AttentionGradientKernels attention_gradient_avx512;
const AttentionGradientKernels attention_gradient_avx512 = {attention_forward, attention_backward};

}  // namespace ouvert

#endif
