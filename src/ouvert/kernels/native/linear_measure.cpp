// How fast products and the machine are.

#include "linear_measure.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <vector>

#include "pool.h"

namespace ouvert {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename F>
double fastest(int repeats, F&& f) {
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const double start = seconds();
    f();
    best = std::min(best, seconds() - start);
  }
  return best;
}

}  // namespace

double measure_read(const std::uint8_t* data, std::int64_t bytes, int threads, int repeats) {
  constexpr std::int64_t kPiece = 1 << 18;
  constexpr std::int64_t kStreams = 4;  // places a thread reads from at a time: more of them than one are faster
  Pool pool(threads);
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(bytes / kPiece));
  const double time = fastest(repeats, [&] {
    pool.for_each(static_cast<std::uint32_t>(sums.size()), [&](std::uint32_t piece, int) {
      const auto* words = reinterpret_cast<const std::uint64_t*>(data + piece * kPiece);
      std::uint64_t lanes[8] = {};
      for (std::int64_t i = 0; i < kPiece / 8 / kStreams; i += 8)
        for (std::int64_t stream = 0; stream < kStreams; ++stream) {
          const std::uint64_t* from = words + stream * kPiece / 8 / kStreams + i;
          __builtin_prefetch(from + 128, 0, 2);
          for (int lane = 0; lane < 8; ++lane) lanes[lane] += from[lane];
        }
      for (std::uint64_t lane : lanes) sums[piece] += lane;
    });
  });
  return time;
}

int integer_peak_plain() {
  volatile std::int8_t start = 3;
  std::int32_t sums[64];
  std::int8_t a[64];
  for (int i = 0; i < 64; ++i) sums[i] = i, a[i] = static_cast<std::int8_t>(start + i);
  for (int n = 0; n < static_cast<int>(kPeakProducts) / 64; ++n)
    for (int i = 0; i < 64; ++i) sums[i] += a[i] * (n & 127);
  std::int32_t all = 0;
  for (std::int32_t sum : sums) all ^= sum;
  return all;
}

double measure_integer_peak(InstructionSet set, int threads, int repeats) {
  int (*loop)() = integer_peak_plain;
#if defined(__x86_64__)
  if (set == InstructionSet::avx512) loop = integer_peak_avx512;
  if (set == InstructionSet::avx2) loop = integer_peak_avx2;
#endif
  constexpr int kPieces = 64;
  Pool pool(threads);
  volatile int sink = 0;
  const double time = fastest(repeats, [&] {
    pool.for_each(kPieces, [&](std::uint32_t, int) { sink = loop(); });
  });
  return kPieces * kPeakProducts / time;
}

double measure_matmul(const LinearKernels& kernels, const Matrix& weights, const float* x, std::int64_t tokens,
                      int threads, int repeats, std::int64_t code_bytes) {
  if (!takes_int8(weights.layout)) code_bytes = 0;
  const auto bytes = static_cast<std::size_t>(activation_bytes(tokens, weights.columns + kBlock, 2));
  std::unique_ptr<std::uint8_t[], void (*)(std::uint8_t*)> memory(
      static_cast<std::uint8_t*>(std::aligned_alloc(64, bytes)), [](std::uint8_t* p) { std::free(p); });
  const Activations activations{tokens, weights.columns, memory.get()};
  if (code_bytes == 1) kernels.quantise(x, weights.columns, nullptr, activations, 0, tokens);
  if (code_bytes == 2) kernels.quantise_wide(x, weights.columns, activations, 0, tokens);
  std::vector<float> out(static_cast<std::size_t>(tokens * weights.rows));
  Pool pool(threads);
  // Pieces of 10 to 30 microseconds, whether memory or arithmetic is the limit.
  constexpr std::int64_t kPieceBytes = 192 << 10, kPieceProducts = 4 << 20, kTokens = 64;
  const std::int64_t token_step = std::min(tokens, kTokens), token_pieces = (tokens + token_step - 1) / token_step;
  const std::int64_t group = packed_group_bytes(weights.layout, weights.columns);
  const std::int64_t products = token_step * weights.columns * kRowGroup;
  const std::int64_t fitting = std::min(kPieceBytes / group, kPieceProducts / products);
  const std::int64_t groups = std::max<std::int64_t>(4, fitting / 4 * 4);
  const std::int64_t row_step = groups * kRowGroup, row_pieces = (weights.rows + row_step - 1) / row_step;
  return fastest(repeats, [&] {
    pool.for_each(static_cast<std::uint32_t>(token_pieces * row_pieces), [&](std::uint32_t n, int) {
      const std::int64_t row = n % row_pieces * row_step, token = n / row_pieces * token_step;
      const Piece piece{row, std::min(weights.rows, row + row_step), token, std::min(tokens, token + token_step)};
      float* to = out.data();
      if (code_bytes == 0)
        return kernels.matmul_f32(weights, x, weights.columns, nullptr, to, weights.rows, piece, {});
      (code_bytes == 1 ? kernels.matmul : kernels.matmul_wide)(weights, activations, to, weights.rows, piece, {});
    });
  });
}

}  // namespace ouvert
