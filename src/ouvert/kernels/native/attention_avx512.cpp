// attention.h for the instruction set avx512.

#if defined(__x86_64__)

#include "lanes_avx512.h"

#include "attention_body.h"
#include "attention_shown_body.h"

namespace ouvert {

const AttentionKernels attention_avx512 = {append, append_latent, attend, attend_segment, merge_segments,
                                              attend_expanded, attend_shown, attend_segment_shown, finish_row};

}  // namespace ouvert

#endif
