// attention.h for the instruction set plain.

#include "lanes_plain.h"

#include "attention_body.h"
#include "attention_weights_body.h"

namespace ouvert {

const AttentionKernels attention_plain = {append, append_latent, attend, attend_segment, merge_segments,
                                              attend_expanded, weigh};

}  // namespace ouvert
