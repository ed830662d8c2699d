// attention_gradient.h for the instruction set avx2.

#if defined(__x86_64__)

#include "lanes_avx2.h"

#include "attention_gradient_body.h"

namespace ouvert {

extern const AttentionGradientKernels attention_gradient_avx2;
const AttentionGradientKernels attention_gradient_avx2 = {attention_forward, attention_backward};

}  // namespace ouvert

#endif
