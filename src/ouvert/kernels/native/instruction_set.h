// Which instructions this machine has: decided when the library is loaded, not where it was built.

#pragma once

namespace ouvert {

enum class InstructionSet {
  plain,   // standard C++, for any machine: the others must compute the same bits
  avx2,    // AVX2, FMA, F16C
  avx512,  // AVX-512 F, BW, VL, DQ and VNNI
};

static inline const char* name(InstructionSet set) {
  return set == InstructionSet::avx512 ? "avx512" : set == InstructionSet::avx2 ? "avx2" : "plain";
}

// The widest set that this machine and this build both have.
static inline InstructionSet best_instruction_set() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
    return InstructionSet::avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
    return InstructionSet::avx2;
#endif
  return InstructionSet::plain;
}

}  // namespace ouvert
