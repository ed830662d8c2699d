// transposed.h for the instruction set plain.

#include "words_plain.h"

#include "transposed_body.h"

namespace ouvert {

extern const TransposedKernels transposed_plain;
const TransposedKernels transposed_plain = {gather, quantise, multiply_f32, multiply, multiply_coarse};

}  // namespace ouvert
