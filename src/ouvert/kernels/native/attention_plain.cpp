// attention.h for the instruction set plain.

#include "lanes_plain.h"

#include "attention_body.h"
#include "attention_shown_body.h"

namespace ouvert {

const AttentionKernels attention_plain = {append, append_latent, attend, attend_segment, merge_segments,
                                              attend_expanded, attend_shown, attend_segment_shown, finish_row};

}  // namespace ouvert
