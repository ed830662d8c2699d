// sampling.h for the instruction set plain.

#include "sampling_body.h"

namespace ouvert {

const SamplingKernels sampling_plain = {look, sum, shares, steps};

}  // namespace ouvert
