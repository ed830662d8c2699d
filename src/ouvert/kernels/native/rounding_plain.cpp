// rounding.h for the instruction set plain.

#include "lanes_plain.h"

#include "rounding_body.h"

namespace ouvert {

void round_plain(Layout layout, const float* x, std::int64_t columns, Rounded& out) { round(layout, x, columns, out); }

}  // namespace ouvert
