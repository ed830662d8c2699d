// The passes over rows of sampling.h, in the compiler's own vectors. Included by one file per instruction set; the
// files differ in their flags only. Use nothing of the standard library here that may not be inlined: the linker keeps
// one copy of such a function, compiled for any of the instruction sets.

#pragma once

// Vectors wider than the machine's registers: none is passed to a function outside this file.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

#ifdef __AVX__
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>
#include <limits>

#include "sampling.h"

namespace {

using ouvert::Bar;
using ouvert::Curve;
using ouvert::kTokenBlock;

typedef double Doubles __attribute__((vector_size(32)));
typedef std::int64_t Integers __attribute__((vector_size(32)));
typedef float FourFloats __attribute__((vector_size(16)));
typedef std::int32_t FourInts __attribute__((vector_size(16)));
typedef float Floats __attribute__((vector_size(32)));
typedef std::int32_t Bits __attribute__((vector_size(32)));

constexpr float kNever = -std::numeric_limits<float>::infinity();  // its share is 0

// 2^r on [-1/2, 1/2] is 1 + r * polynomial, fitted at Chebyshev nodes: within 1.2e-10 of its size.
constexpr int kPowers = 7;
constexpr double kPower[kPowers] = {0.6931471805599453,   0.24022650922288757,   0.055504108839096185, 0.009618056678524637,
                                    0.001333350238616277, 0.0001546144469856913, 1.5297323760701075e-05};

template <typename V, typename T>
inline V load(const T* from) {
  V value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <typename V>
inline void store(const V& value, void* to) {
  std::memcpy(to, &value, sizeof value);
}
template <typename To, typename From>
inline To as(const From& value) {
  static_assert(sizeof(To) == sizeof(From));
  return load<To>(&value);
}
inline Doubles all(double value) { return Doubles{} + value; }

// Two operations that GCC 12 translates into several instructions.
inline Doubles widened(const float* logits) {
#ifdef __AVX__
  return _mm256_cvtps_pd(_mm_loadu_ps(logits));
#else
  return __builtin_convertvector(load<FourFloats>(logits), Doubles);
#endif
}
inline Doubles larger(const Doubles& a, const Doubles& b) {
#ifdef __AVX__
  return _mm256_max_pd(a, b);
#else
  return a > b ? a : b;
#endif
}

// Binary logarithms of four shares, as parts of 1; at least -64, where shares are 0.
inline Doubles logarithms(const float* logits, const Curve& curve) {
  return larger((widened(logits) - curve.largest) * curve.scale, all(-64.0));
}

// 2^52: adding it to a number >= 0 rounds to a whole number, ties to even, and leaves that number in the lowest bits.
constexpr double kWhole = 4503599627370496.0;

// Four vectors side by side: one alone would mostly wait for the result of its last operation.
struct Side {
  Doubles a, b, c, d;

  // Keeps compilers from finishing one vector before they begin the next.
  void meet() {
#ifdef __AVX__
    asm("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d));
#endif
  }
};
inline Side operator+(const Side& x, const Side& y) { return {x.a + y.a, x.b + y.b, x.c + y.c, x.d + y.d}; }
inline Side operator-(const Side& x, const Side& y) { return {x.a - y.a, x.b - y.b, x.c - y.c, x.d - y.d}; }
inline Side operator*(const Side& x, const Side& y) { return {x.a * y.a, x.b * y.b, x.c * y.c, x.d * y.d}; }
inline Side operator+(const Side& x, double y) { return {x.a + y, x.b + y, x.c + y, x.d + y}; }
inline Side operator-(const Side& x, double y) { return {x.a - y, x.b - y, x.c - y, x.d - y}; }
inline Side operator*(const Side& x, double y) { return {x.a * y, x.b * y, x.c * y, x.d * y}; }

// Shares of sixteen tokens, with kWhole added.
inline void shares_above(const float* logits, const Curve& curve, Integers (&shares)[4]) {
  // As kWhole, for numbers that may be negative; the number in the lowest bits is kShareBits larger.
  constexpr double kShifted = 1.5 * kWhole + ouvert::kShareBits;
  Side r = {logarithms(logits, curve), logarithms(logits + 4, curve), logarithms(logits + 8, curve),
            logarithms(logits + 12, curve)};
  r.meet();
  Side moved = r + kShifted;
  moved.meet();
  r = r - (moved - kShifted);
  r.meet();
  Side p = r * kPower[kPowers - 1] + kPower[kPowers - 2];
  p.meet();
  for (int i = kPowers - 3; i >= 0; --i) {
    p = p * r + kPower[i];
    p.meet();
  }
  p = p * r + 1.0;
  p.meet();
  const auto scaled = [](const Doubles& power, const Doubles& by) {
    return as<Integers>(as<Doubles>(as<Integers>(power) + (as<Integers>(by) << 52)) + kWhole);
  };
  shares[0] = scaled(p.a, moved.a);
  shares[1] = scaled(p.b, moved.b);
  shares[2] = scaled(p.c, moved.c);
  shares[3] = scaled(p.d, moved.d);
}

inline void shares_of(const float* logits, const Curve& curve, std::int64_t* out) {
  for (int i = 0; i < kTokenBlock; i += 16) {
    Integers shares[4];
    shares_above(logits + i, curve, shares);
    for (int j = 0; j < 4; ++j) store(shares[j] - as<Integers>(all(kWhole)), out + i + 4 * j);
  }
}

inline std::int64_t blocks_of(std::int64_t tokens) { return (tokens + kTokenBlock - 1) / kTokenBlock; }
inline int length_of(std::int64_t tokens, std::int64_t block) {
  const std::int64_t left = tokens - block * kTokenBlock;
  return static_cast<int>(left < kTokenBlock ? left : kTokenBlock);
}

// A block's logits: where they are, or copied and filled up with kNever.
struct Block {
  Block(const float* logits, std::int64_t tokens, std::int64_t block)
      : length(length_of(tokens, block)), at(logits + block * kTokenBlock) {
    if (length == kTokenBlock) return;
    for (int i = 0; i < kTokenBlock; ++i) copy[i] = i < length ? at[i] : kNever;
    at = copy;
  }
  Block(const Block&) = delete;

  const int length;
  const float* at;

 private:
  float copy[kTokenBlock];
};

inline bool finite(float value) { return (__builtin_bit_cast(std::uint32_t, value) & 0x7fffffffu) < 0x7f800000u; }

bool block_maxima(const float* logits, std::int64_t tokens, float* tops) {
  Bits strange = {};
  const std::int64_t whole = tokens / kTokenBlock;
  for (std::int64_t b = 0; b < whole; ++b, logits += kTokenBlock) {
    Floats top = load<Floats>(logits);
    for (int i = 0; i < kTokenBlock; i += 8) {
      const Floats part = load<Floats>(logits + i);
      top = part > top ? part : top;
      strange |= (as<Bits>(part) & 0x7fffffff) > 0x7f7fffff;
    }
    float best = top[0];
    for (int i = 1; i < 8; ++i) best = top[i] > best ? top[i] : best;
    tops[b] = best;
  }
  std::int32_t any = 0;
  for (int i = 0; i < 8; ++i) any |= strange[i];
  if (whole * kTokenBlock < tokens) {
    float best = kNever;
    for (std::int64_t i = 0; i < tokens - whole * kTokenBlock; ++i) {
      best = logits[i] > best ? logits[i] : best;
      any |= !finite(logits[i]);
    }
    tops[whole] = best;
  }
  return any == 0;
}

inline void kept_shares(const Block& block, std::int64_t first, const Curve& curve, const Bar& bar, std::int64_t* out) {
  shares_of(block.at, curve, out);
  if (bar.logit != kNever) {
    const std::int64_t level = bar.id - first;  // tokens up to here may equal the bar
    for (int i = 0; i < kTokenBlock; ++i) {
      const bool kept = block.at[i] > bar.logit || (block.at[i] == bar.logit && i <= level);
      out[i] = kept ? out[i] : 0;
    }
  }
  if (bar.least > 0)
    for (int i = 0; i < kTokenBlock; ++i) out[i] = out[i] >= bar.least ? out[i] : 0;
}

void block_sums(const float* logits, std::int64_t tokens, const float* tops, const Curve& curve, const Bar& bar,
                std::uint64_t* sums) {
  for (std::int64_t b = 0; b < blocks_of(tokens); ++b) {
    sums[b] = 0;
    if (tops[b] < bar.logit) continue;
    const Block block(logits, tokens, b);
    Integers total = {};
    if (bar.logit == kNever && bar.least == 0) {
      for (int i = 0; i < kTokenBlock; i += 16) {
        Integers shares[4];
        shares_above(block.at + i, curve, shares);
        total += (shares[0] + shares[1]) + (shares[2] + shares[3]);
      }
      total -= as<Integers>(all(kWhole)) * (kTokenBlock / 4);
    } else {
      std::int64_t shares[kTokenBlock];
      kept_shares(block, b * kTokenBlock, curve, bar, shares);
      for (int i = 0; i < kTokenBlock; i += 4) total += load<Integers>(shares + i);
    }
    for (int i = 0; i < 4; ++i) sums[b] += static_cast<std::uint64_t>(total[i]);
  }
}

void shares(const float* logits, std::int64_t tokens, std::int64_t block, const Curve& curve, const Bar& bar,
            std::int64_t* out) {
  kept_shares(Block(logits, tokens, block), block * kTokenBlock, curve, bar, out);
}

ouvert::Spread spread(const float* logits, std::int64_t tokens, const Curve& curve, float level) {
  Doubles sums[4] = {};
  Bits above = {};
  for (std::int64_t b = 0; b < blocks_of(tokens); ++b) {
    const Block block(logits, tokens, b);
    for (int i = 0; i < kTokenBlock; i += 16) {
      Integers shares[4];
      shares_above(block.at + i, curve, shares);
      // -1e4: a share of 0 times infinity would be NaN.
      for (int j = 0; j < 4; ++j)
        sums[j] += (as<Doubles>(shares[j]) - kWhole) * larger(widened(block.at + i + 4 * j) - curve.largest, all(-1e4));
    }
    for (int i = 0; i < kTokenBlock; i += 8) above -= load<Floats>(block.at + i) > level;
  }
  const Doubles sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  std::int64_t count = 0;
  for (int i = 0; i < 8; ++i) count += above[i];
  return {(sum[0] + sum[1]) + (sum[2] + sum[3]), count};
}

void steps(const float* logits, std::int64_t tokens, std::int64_t block, const Curve& curve, std::int32_t* steps,
           std::int64_t* shares) {
  const Block here(logits, tokens, block);
  for (int i = 0; i < kTokenBlock; i += 4)
    store(__builtin_convertvector(logarithms(here.at + i, curve) * -16.0, FourInts), steps + i);
  shares_of(here.at, curve, shares);
}

}  // namespace
