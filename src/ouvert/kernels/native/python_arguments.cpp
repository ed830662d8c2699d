#include "python_arguments.h"

#include <stdexcept>

namespace ouvert {
namespace {

// The enumerator of this name among the first `count`.
template <typename T>
T named(const char* kind, const std::string& wanted, int count) {
  std::string known;
  for (int i = 0; i < count; ++i) {
    const std::string each = name(static_cast<T>(i));
    if (wanted == each) return static_cast<T>(i);
    known += (i == 0 ? "" : ", ") + each;
  }
  throw std::invalid_argument(std::string(kind) + " " + wanted + " is not known to the kernels; expected one of " +
                              known);
}

}  // namespace

std::vector<float> copied(const nanobind::object& array) {
  if (array.is_none()) return {};
  const auto floats = nanobind::cast<Floats>(array);
  return {floats.data(), floats.data() + floats.size()};
}

InstructionSet instruction_set_named(const std::string& wanted) {
  const auto set = named<InstructionSet>("instruction set", wanted, static_cast<int>(InstructionSet::avx512) + 1);
  if (set > best_instruction_set())
    throw std::invalid_argument("instruction set " + wanted + " is asked for, but this machine has " +
                                name(best_instruction_set()) + " at most");
  return set;
}

Layout layout_named(const std::string& wanted) {
  return named<Layout>("layout", wanted, static_cast<int>(Layout::MXINT8) + 1);
}

Encoding encoding_named(const std::string& wanted) {
  return named<Encoding>("encoding", wanted, static_cast<int>(Encoding::MXFP4) + 1);
}

CacheType cache_type_named(const std::string& wanted) {
  return named<CacheType>("cache type", wanted, static_cast<int>(CacheType::q8) + 1);
}

}  // namespace ouvert
