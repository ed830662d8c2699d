// Single products outside a program, on threads of their own: what training computes with packed weights, and attention.
//
// Any thread may call any function at any time. With one thread the calls run side by side; with more they take turns,
// each on all threads. The numbers do not depend on any of that.

#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "attention_gradient.h"
#include "instruction_set.h"
#include "linear.h"
#include "pieces.h"
#include "pool.h"
#include "row_gradients.h"
#include "rows.h"
#include "transposed.h"

namespace ouvert {

// The tokens that a product reads: token t is row rows[t] of data, or row t; rows are `stride` floats apart.
struct FloatTokens {
  const float* data;
  std::int64_t stride;
  std::int64_t count;
  const std::int32_t* rows = nullptr;
};

class Products {
 public:
  Products(int threads, InstructionSet set);

  // out[token][row], as a program's linear computes it: from whole numbers of code_bytes bytes (2: without x.rows), or
  // 0: from floats, as matmul_f32 (which layouts that do not take int8 need).
  void linear(const Matrix& weights, const FloatTokens& x, std::int64_t code_bytes, float* out, std::int64_t stride,
              const Epilogue& epilogue);

  // out[token][column]: see transposed.h. From whole numbers of code_bytes bytes (1: where has_coarse), or 0: in float32
  // (which layouts that do not take int8 need).
  void transposed(const Matrix& weights, const FloatTokens& dy, std::int64_t code_bytes, float* out, std::int64_t stride,
                  const Epilogue& epilogue);

  // Attention and its gradients: see attention_gradient.h.
  void attend(const AttentionShape& shape, const AttentionForward& of);
  void attend_back(const AttentionShape& shape, const AttentionBackward& of);

  // f(row, row kernels, gradients of these) for all rows.
  template <typename F>
  void each_row(std::int64_t rows, F&& f) {
    each(parts(rows, kRowsTogether), [&](std::int64_t n, int) {
      const std::int64_t end = std::min(rows, (n + 1) * kRowsTogether);
      for (std::int64_t row = n * kRowsTogether; row < end; ++row) f(row, rows_, row_gradients_);
    });
  }

  int threads() const { return pool_ ? pool_->threads() : 1; }

 private:
  static constexpr std::int64_t kRowsTogether = 8;

  // f(piece, thread) for all of them.
  template <typename F>
  void each(std::int64_t pieces, F&& f) {
    if (pool_) return pool_->for_each(static_cast<std::uint32_t>(pieces), f);
    for (std::int64_t n = 0; n < pieces; ++n) f(n, 0);
  }

  const LinearKernels& kernels_;
  const TransposedKernels& transposed_;
  const AttentionGradientKernels& attention_;
  const RowKernels& rows_;
  const RowGradientKernels& row_gradients_;
  std::unique_ptr<Pool> pool_;  // none for one thread
};

}  // namespace ouvert
