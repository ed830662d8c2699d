// sampling.h for the instruction set avx2.

#if defined(__x86_64__)

#include "sampling_body.h"

namespace ouvert {

const SamplingKernels sampling_avx2 = {block_maxima, block_sums, shares, spread, steps};

}  // namespace ouvert

#endif
