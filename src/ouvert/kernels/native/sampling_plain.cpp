// sampling.h for the instruction set plain.

#include "sampling_body.h"

namespace ouvert {

const SamplingKernels sampling_plain = {block_maxima, block_sums, shares, spread, steps};

}  // namespace ouvert
