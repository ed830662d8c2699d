#include "attention.h"

#include <cstring>

namespace ouvert {

namespace {

// Zeros in columns first .. kBlockKeys - 1 of a matrix of kBlockKeys columns.
void clear_columns(std::uint8_t* matrix, std::int64_t rows, std::int64_t bytes, std::int64_t first) {
  for (std::int64_t r = 0; r < rows; ++r)
    std::memset(matrix + (r * kBlockKeys + first) * bytes, 0, static_cast<std::size_t>((kBlockKeys - first) * bytes));
}

// The same in the rows of a matrix of kBlockKeys rows.
void clear_rows(std::uint8_t* matrix, std::int64_t row_bytes, std::int64_t first) {
  std::memset(matrix + first * row_bytes, 0, static_cast<std::size_t>((kBlockKeys - first) * row_bytes));
}

}  // namespace

const char* name(CacheType type) {
  constexpr const char* names[] = {"f16", "f32", "q8"};
  return names[static_cast<int>(type)];
}

void clear_slots(std::uint8_t* head_block, std::int64_t head_dim, CacheType type, std::int64_t first) {
  const std::int64_t bytes = element_bytes(type);
  clear_columns(head_block, head_dim, bytes, first);
  clear_rows(head_block + head_dim * kBlockKeys * bytes, padded_dim(head_dim) * bytes, first);
  if (type != CacheType::q8) return;
  const std::int64_t scales = scales_of(head_dim);
  head_block += element_block_bytes(head_dim, type);
  clear_columns(head_block, scales, 4, first);
  clear_rows(head_block + scales * kBlockKeys * 4, scales * 4, first);
}

void clear_latents(std::uint8_t* latents, std::int64_t width, CacheType type, std::int64_t first) {
  const std::int64_t row_bytes = padded_dim(width) * element_bytes(type);
  clear_rows(latents, row_bytes, first);
  if (type == CacheType::q8) clear_rows(latents + kBlockKeys * row_bytes, scales_of(width) * 4, first);
}

const AttentionKernels& attention_kernels(InstructionSet set) {
  switch (set) {
#if defined(__x86_64__)
    case InstructionSet::avx512: return attention_avx512;
    case InstructionSet::avx2: return attention_avx2;
#endif
    default: return attention_plain;
  }
}

}  // namespace ouvert
