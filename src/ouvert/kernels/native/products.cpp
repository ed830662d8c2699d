#include "products.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "pieces.h"

namespace ouvert {
namespace {

// Tokens that use an unpacked panel of weights.
constexpr std::int64_t kTokensTogether = 512;
// Most blocks of columns that read a panel's gradients after one another: these are too many for the second-level cache.
constexpr std::int64_t kBlocksTogether = 4;

// Memory of one call, aligned to 64.
class Room {
 public:
  explicit Room(std::int64_t bytes) : data_(std::aligned_alloc(64, static_cast<std::size_t>(std::max<std::int64_t>(64, bytes)))) {
    if (!data_) throw std::bad_alloc();
  }
  ~Room() { std::free(data_); }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
};

}  // namespace

Products::Products(int threads, InstructionSet set)
    : kernels_(linear_kernels(set)),
      transposed_(transposed_kernels(set)),
      attention_(attention_gradient_kernels(set)),
      rows_(row_kernels(set)),
      row_gradients_(row_gradient_kernels(set)),
      pool_(threads > 1 ? std::make_unique<Pool>(threads) : nullptr) {}

void Products::linear(const Matrix& weights, const FloatTokens& x, std::int64_t code_bytes, float* out,
                      std::int64_t stride, const Epilogue& epilogue) {
  const Room room(code_bytes ? activation_bytes(x.count, weights.columns, code_bytes) : 0);
  const Activations activations{x.count, weights.columns, room.as<std::uint8_t>()};
  if (code_bytes)
    each(row_pieces(x.count), [&](std::int64_t n, int) {
      const Range tokens = rows_of_piece(static_cast<std::uint32_t>(n), x.count);
      if (code_bytes == 1)
        kernels_.quantise(x.data, x.stride, x.rows, activations, tokens.begin, tokens.end);
      else
        kernels_.quantise_wide(x.data, x.stride, activations, tokens.begin, tokens.end);
    });
  const std::int64_t token_step = std::min(x.count, kTokensPerPiece), times = parts(x.count, kTokensPerPiece);
  const std::int64_t bytes = packed_bytes(weights.layout, weights.rows, weights.columns);
  const std::int64_t step = row_step(weights, bytes, std::max<std::int64_t>(1, token_step), times, threads());
  const std::int64_t row_parts = parts(weights.rows, step);
  each(row_parts * times, [&](std::int64_t n, int) {
    const std::int64_t row = n % row_parts * step, token = n / row_parts * token_step;
    const Piece piece{row, std::min(weights.rows, row + step), token, std::min(x.count, token + token_step)};
    if (code_bytes)
      (code_bytes == 1 ? kernels_.matmul : kernels_.matmul_wide)(weights, activations, out, stride, piece, epilogue);
    else
      kernels_.matmul_f32(weights, x.data, x.stride, x.rows, out, stride, piece, epilogue);
  });
}

void Products::transposed(const Matrix& weights, const FloatTokens& dy, std::int64_t code_bytes, float* out, std::int64_t stride,
                          const Epilogue& epilogue) {
  const bool rounded = code_bytes > 0;
  const auto multiply = code_bytes == 1 ? transposed_.multiply_coarse : transposed_.multiply;
  const Room room(rounded ? gradient_bytes(dy.count, weights.rows) : strips_bytes(dy.count, weights.rows));
  const Strips strips{dy.count, weights.rows, room.as<float>()};
  const Gradients gradients{dy.count, weights.rows, room.as<std::uint8_t>()};
  each(parts(dy.count, kStrip), [&](std::int64_t n, int) {
    const std::int64_t begin = n * kStrip, end = std::min(dy.count, begin + kStrip);
    if (rounded)
      transposed_.quantise(dy.data, dy.stride, dy.rows, gradients, begin, end);
    else
      transposed_.gather(dy.data, dy.stride, dy.rows, strips, begin, end);
  });
  const std::int64_t tokens = std::min(dy.count, kTokensTogether), times = parts(dy.count, kTokensTogether);
  const std::int64_t columns =
      kBlock * std::clamp<std::int64_t>(weights.columns / kBlock * times / (kPiecesPerThread * threads()), 1,
                                        kBlocksTogether);
  const std::int64_t column_parts = parts(weights.columns, columns), scratch = transposed_scratch(tokens, columns);
  const Room sums(4 * scratch * threads());
  each(column_parts * times, [&](std::int64_t n, int thread) {
    const std::int64_t column = n % column_parts * columns, token = n / column_parts * kTokensTogether;
    const ColumnPiece piece{column, std::min(weights.columns, column + columns), token,
                            std::min(dy.count, token + kTokensTogether)};
    float* work = sums.as<float>() + thread * scratch;
    if (rounded)
      multiply(weights, gradients, out, stride, piece, epilogue, work);
    else
      transposed_.multiply_f32(weights, strips, out, stride, piece, epilogue, work);
  });
}

void Products::attend(const AttentionShape& shape, const AttentionForward& of) {
  const std::int64_t floats = attention_scratch(shape);
  const Room room(4 * floats * threads());
  each(shape.kv_heads, [&](std::int64_t head, int thread) {
    attention_.forward(shape, of, head, room.as<float>() + thread * floats);
  });
}

void Products::attend_back(const AttentionShape& shape, const AttentionBackward& of) {
  const std::int64_t floats = attention_scratch(shape);
  const Room room(4 * floats * threads());
  each(shape.kv_heads, [&](std::int64_t head, int thread) {
    attention_.backward(shape, of, head, room.as<float>() + thread * floats);
  });
}

}  // namespace ouvert
