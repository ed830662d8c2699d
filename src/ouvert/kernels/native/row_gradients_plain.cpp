// row_gradients.h for the instruction set plain.

#include "lanes_plain.h"

#include "row_gradients_body.h"

namespace ouvert {

extern const RowGradientKernels row_gradients_plain;
const RowGradientKernels row_gradients_plain = {rms_norm_back, swiglu_back, log_probability_back};

}  // namespace ouvert
