// attention_gradient.h for the instruction set plain.

#include "lanes_plain.h"

#include "attention_gradient_body.h"

namespace ouvert {

extern const AttentionGradientKernels attention_gradient_plain;
const AttentionGradientKernels attention_gradient_plain = {attention_forward, attention_backward};

}  // namespace ouvert
