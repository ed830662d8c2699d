#include "attention.h"

#include <cstring>

namespace ouvert {

void clear_slots(std::uint8_t* stretch, std::int64_t head_dim, CacheType type, std::int64_t first) {
  const std::int64_t bytes = element_bytes(type), padded = padded_dim(head_dim);
  std::uint8_t* values = stretch + head_dim * kBlockKeys * bytes;
  for (; stretch < values; stretch += kBlockKeys * bytes)
    std::memset(stretch + first * bytes, 0, static_cast<std::size_t>((kBlockKeys - first) * bytes));
  std::memset(values + first * padded * bytes, 0, static_cast<std::size_t>((kBlockKeys - first) * padded * bytes));
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
