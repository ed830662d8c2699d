// rows.h for the instruction set avx2.

#if defined(__x86_64__)

#include "lanes_avx2.h"

#include "rows_body.h"

namespace ouvert {

const RowKernels rows_avx2 = {rms_norm, add, mix, swiglu, clamped_swiglu, convolve, selective_scan,
                              ssd_steps, ssd_scan, rotate};

}  // namespace ouvert

#endif
