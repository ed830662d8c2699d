// rows.h for the instruction set plain.

#include "lanes_plain.h"

#include "rows_body.h"

namespace ouvert {

const RowKernels rows_plain = {rms_norm, add, mix, swiglu, clamped_swiglu, convolve, selective_scan,
                               ssd_steps, ssd_scan, rotate};

}  // namespace ouvert
