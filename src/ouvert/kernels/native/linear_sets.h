// The tables of functions that the files of the instruction sets provide.

#pragma once

#include "linear.h"

namespace ouvert {

extern const LinearKernels kLinearPlain;
#if defined(__x86_64__)
extern const LinearKernels kLinearAvx2;
extern const LinearKernels kLinearAvx512;

// Parts of kLinearAvx2 that have files of their own. Activations are quantised to 16 bits for AVX-512 too.
void quantise_avx2(const float* x, std::int64_t stride, const std::int32_t* from_rows, const Activations& to,
                   std::int64_t token_begin, std::int64_t token_end);
void quantise_wide_avx2(const float* x, std::int64_t stride, const Activations& to, std::int64_t token_begin,
                        std::int64_t token_end);
void matmul_wide_avx2(const Matrix& weights, const Activations& x, float* out, std::int64_t stride, const Piece& piece,
                      const Epilogue& epilogue);
void matmul_f32_avx2(const Matrix& weights, const float* x, std::int64_t x_stride, const std::int32_t* from_rows,
                     float* out, std::int64_t stride, const Piece& piece, const Epilogue& epilogue);
#endif

}  // namespace ouvert
