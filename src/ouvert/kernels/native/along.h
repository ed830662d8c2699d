// Along rows of floats, sixteen Lanes at a time. Included after the Lanes it is to use.

#pragma once

#include <cstdint>

namespace {

// f(index, lanes to do): sixteen at a time, then what is left.
template <typename F>
inline void along(std::int64_t count, F f) {
  std::int64_t i = 0;
  for (; i + 16 <= count; i += 16) f(i, 16);
  if (i < count) f(i, static_cast<int>(count - i));
}

inline Lanes get(const float* from, int count) {
  return count == 16 ? Lanes::load(from) : Lanes::load_some(from, count);
}
inline void put(const Lanes& value, float* to, int count) {
  if (count == 16)
    value.store(to);
  else
    value.store_some(to, count);
}

}  // namespace
