// row_gradients.h for the instruction set avx512.

#if defined(__x86_64__)

#include "lanes_avx512.h"

#include "row_gradients_body.h"

namespace ouvert {

extern const RowGradientKernels row_gradients_avx512;
const RowGradientKernels row_gradients_avx512 = {rms_norm_back, swiglu_back, log_probability_back};

}  // namespace ouvert

#endif
