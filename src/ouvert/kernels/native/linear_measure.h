// How fast products and the machine are. For benchmarks/kernels.py.

#pragma once

#include <cstdint>

#include "linear.h"

namespace ouvert {

// Seconds, of the fastest repeat, to read `bytes` bytes once with `threads` threads.
double measure_read(const std::uint8_t* data, std::int64_t bytes, int threads, int repeats);

// Products of bytes (multiplied and added) a second, in registers, of all threads together: the fastest repeat.
double measure_integer_peak(InstructionSet set, int threads, int repeats);

// Seconds, of the fastest repeat, of one product cut into pieces as a model's step cuts it. `code_bytes` of each
// activation: 1 or 2, or 0 for floats.
double measure_matmul(const LinearKernels& kernels, const Matrix& weights, const float* x, std::int64_t tokens,
                      int threads, int repeats, std::int64_t code_bytes);

// One loop of kPeakProducts products, for measure_integer_peak; the result only keeps the compiler from dropping it.
inline constexpr double kPeakProducts = 1 << 24;
int integer_peak_plain();
#if defined(__x86_64__)
int integer_peak_avx2();
int integer_peak_avx512();
#endif

}  // namespace ouvert
