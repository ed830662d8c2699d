// rounding.h for the instruction set avx512.

#if defined(__x86_64__)

#include "lanes_avx512.h"

#include "rounding_body.h"

namespace ouvert {

void round_avx512(Layout layout, const float* x, std::int64_t columns, Rounded& out) { round(layout, x, columns, out); }

}  // namespace ouvert

#endif
