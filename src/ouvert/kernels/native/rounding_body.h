// rounding.h over Lanes. Included by one file per instruction set, after the Lanes it is to use. Sums and products are
// never fused: where the set plain has to do without, that takes fifty times as long.

#pragma once

#include <limits>

#include "rounding.h"

namespace {

using ouvert::Half;
using ouvert::kRowGroup;
using ouvert::Layout;
using ouvert::Rounded;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// To the nearest whole number, ties to even, below 2^22.
inline Lanes whole(Lanes x) {
  const Lanes big = Lanes::all(0x1.8p23f);
  return (x + big) - big;
}
// NaN becomes the lowest.
inline Lanes within(Lanes x, Lanes low, Lanes high) { return smaller(larger(x, low), high); }
inline Lanes zero() { return Lanes::all(0.0f); }
inline Lanes one_over(Lanes x) { return Lanes::all(1.0f) / x; }
inline Lanes column(const float* x, int n) { return Lanes::load(x + n * kRowGroup); }
inline Lanes as_half(Lanes x) {
  Half halves[kRowGroup];
  x.store(halves);
  return Lanes::load(halves);
}

// ---- how much an error counts -----------------------------------------------------------------------------------

// Weights that are large beside their block's root mean square count more: what they are multiplied with is as large as
// for the others, and of their sign a product is surer.
struct Importance {
  float weight[256 * kRowGroup];

  void set(const float* x, int first, int count) {
    Lanes squares = zero();
    for (int n = first; n < first + count; ++n) squares = squares + column(x, n) * column(x, n);
    const Lanes mean = root(squares * Lanes::all(1.0f / static_cast<float>(count)));
    for (int n = first; n < first + count; ++n)
      (mean + larger(column(x, n), zero() - column(x, n))).store(weight + n * kRowGroup);
  }
};

// ---- code * scale + minimum -------------------------------------------------------------------------------------

struct Affine {
  Lanes scale, minimum, error;
};

// Sums over a block of weight * (1, x, x^2).
struct Moments {
  Lanes w = zero(), x = zero(), xx = zero();
};
inline Moments moments(const float* x, const float* weight, int count) {
  Moments m;
  for (int n = 0; n < count; ++n) {
    const Lanes w = column(weight, n), v = column(x, n), wv = w * v;
    m.w = m.w + w;
    m.x = m.x + wv;
    m.xx = m.xx + wv * v;
  }
  return m;
}

// Codes that are nearest under a scale and a minimum; the scale and the minimum that serve these codes best: weighted
// least squares. Where `negative`, minima above zero are not allowed.
inline Affine improved(const float* x, const float* weight, const Moments& m, Lanes inverse, Lanes lowest, float most,
                       bool negative) {
  Lanes q1 = zero(), q2 = zero(), xq = zero();
  const Lanes top = Lanes::all(most);
  for (int n = 0; n < 32; ++n) {
    const Lanes w = column(weight, n), v = column(x, n);
    const Lanes q = within(whole((v - lowest) * inverse), zero(), top), wq = w * q;
    q1 = q1 + wq;
    q2 = q2 + wq * q;
    xq = xq + wq * v;
  }
  const Lanes both = m.w * q2, spread = both - q1 * q1;
  Lanes scale = (m.w * xq - m.x * q1) / spread, minimum = (q2 * m.x - q1 * xq) / spread;
  // Codes that are all the same leave it open.
  const Lanes open = Lanes::all(1e-5f) * both, alone = xq / q2;
  if (negative) {
    scale = where_less(zero(), minimum, alone, scale);
    minimum = smaller(minimum, zero());
    scale = where_less(open, spread, scale, alone);
    minimum = where_less(open, spread, minimum, zero());
  } else {
    scale = where_less(open, spread, scale, zero());
    minimum = where_less(open, spread, minimum, m.x / m.w);
  }
  return {scale, minimum, (m.xx - scale * xq) - minimum * m.x};
}

inline void take_better(Affine& best, const Affine& other) {
  best.scale = where_less(other.error, best.error, other.scale, best.scale);
  best.minimum = where_less(other.error, best.error, other.minimum, best.minimum);
  best.error = where_less(other.error, best.error, other.error, best.error);
}

// The best found for 32 columns, codes 0 .. most: ranges of codes a little narrower and wider than the values' are
// tried, then the best is improved.
inline Affine affine(const float* x, const float* weight, float most, bool negative) {
  Lanes low = column(x, 0), high = low;
  for (int n = 1; n < 32; ++n) {
    low = smaller(column(x, n), low);
    high = larger(column(x, n), high);
  }
  if (negative) low = smaller(low, zero());
  const Moments m = moments(x, weight, 32);
  const Lanes range = high - low;
  Affine best{zero(), low, Lanes::all(kInfinity)};
  for (int step = 0; step < 20; ++step)
    take_better(best, improved(x, weight, m, Lanes::all(most - 0.9f + 0.1f * static_cast<float>(step)) / range, low,
                               most, negative));
  for (int again = 0; again < 3; ++again)
    take_better(best, improved(x, weight, m, one_over(best.scale), best.minimum, most, negative));
  return best;
}

// Weighted error of the nearest codes under a given scale and minimum.
inline Lanes error_under(const float* x, const float* weight, Lanes scale, Lanes minimum, Lanes top) {
  const Lanes inverse = one_over(scale);
  Lanes error = zero();
  for (int n = 0; n < 32; ++n) {
    const Lanes v = column(x, n) - minimum;
    const Lanes off = within(whole(v * inverse), zero(), top) * scale - v;
    error = error + column(weight, n) * (off * off);
  }
  return error;
}

// Writes the codes, and adds up what they lose.
inline void write_codes(const float* x, int first, int count, Lanes scale, Lanes minimum, float lowest, float most,
                        Rounded& out, Lanes& error, Lanes& squares) {
  const Lanes inverse = one_over(scale);
  for (int n = first; n < first + count; ++n) {
    const Lanes v = column(x, n);
    const Lanes q = within(whole((v - minimum) * inverse), Lanes::all(lowest), Lanes::all(most));
    (q - Lanes::all(lowest)).store(reinterpret_cast<std::int8_t*>(out.codes[n]));
    const Lanes off = (q * scale + minimum) - v;
    error = error + off * off;
    squares = squares + v * v;
  }
}

// Q4_1, Q5_1: a half scale and a half minimum for every 32 columns.
inline void round_blocks(const float* x, int columns, float most, Rounded& out) {
  static thread_local Importance importance;
  Lanes error = zero(), squares = zero();
  for (int first = 0; first < columns; first += 32) {
    const float* at = x + first * kRowGroup;
    importance.set(at, 0, 32);
    const Affine found = affine(at, importance.weight, most, false);
    found.scale.store(out.scale[first / 32]);
    found.minimum.store(out.minimum[first / 32]);
    write_codes(x, first, 32, as_half(found.scale), as_half(found.minimum), 0, most, out, error, squares);
  }
  error.store(out.error);
  squares.store(out.squares);
}

// ---- Q4_K, Q5_K: code * (d * s) - dmin * t ----------------------------------------------------------------------

struct SuperBlock {
  Lanes d, dmin;
  Lanes s[8], t[8];
};

// s and t of one block near those given, the best under d and dmin.
inline void choose_sub(const float* x, const float* weight, Lanes top, Lanes d, Lanes dmin, Lanes& s, Lanes& t) {
  const Lanes most = Lanes::all(63.0f), s0 = s, t0 = t;
  Lanes best = Lanes::all(kInfinity);
  for (int i = -1; i <= 1; ++i)
    for (int j = -1; j <= 1; ++j) {
      const Lanes s1 = within(s0 + Lanes::all(static_cast<float>(i)), zero(), most);
      const Lanes t1 = within(t0 + Lanes::all(static_cast<float>(j)), zero(), most);
      const Lanes error = error_under(x, weight, d * s1, zero() - dmin * t1, top);
      s = where_less(error, best, s1, s);
      t = where_less(error, best, t1, t);
      best = where_less(error, best, error, best);
    }
}

// d and dmin that serve the codes under s and t best: weighted least squares over the 256 columns.
inline void improve_super(const float* x, const float* weight, Lanes top, SuperBlock& at) {
  Lanes ss = zero(), st = zero(), tt = zero(), xs = zero(), xt = zero();
  for (int b = 0; b < 8; ++b) {
    const Lanes scale = at.d * at.s[b], minimum = at.dmin * at.t[b], inverse = one_over(scale);
    for (int n = 32 * b; n < 32 * b + 32; ++n) {
      const Lanes v = column(x, n), w = column(weight, n);
      const Lanes sq = at.s[b] * within(whole((v + minimum) * inverse), zero(), top), wsq = w * sq, wt = w * at.t[b];
      ss = ss + wsq * sq;
      st = st + wsq * at.t[b];
      tt = tt + wt * at.t[b];
      xs = xs + wsq * v;
      xt = xt + wt * v;
    }
  }
  const Lanes product = ss * tt, determinant = product - st * st, open = Lanes::all(1e-5f) * product;
  const Lanes d = where_less(open, determinant, (xs * tt - xt * st) / determinant, xs / ss);
  const Lanes dmin = where_less(open, determinant, (xs * st - xt * ss) / determinant, at.dmin);
  // Neither may become negative or leave the numbers.
  at.d = where_less(zero(), d, as_half(d), at.d);
  at.dmin = where_less(zero(), dmin, as_half(dmin), at.dmin);
}

inline void round_k(const float* x, float most, Rounded& out) {
  static thread_local Importance importance;
  const float* weight = importance.weight;
  const Lanes top = Lanes::all(most);
  SuperBlock found{zero(), zero(), {}, {}};
  Lanes scales[8], minima[8];
  for (int b = 0; b < 8; ++b) {
    importance.set(x, 32 * b, 32);
    const Affine best = affine(x + 32 * b * kRowGroup, weight + 32 * b * kRowGroup, most, true);
    scales[b] = best.scale;
    minima[b] = zero() - best.minimum;
    found.d = larger(found.d, scales[b]);
    found.dmin = larger(found.dmin, minima[b]);
  }
  found.d = as_half(found.d * Lanes::all(1.0f / 63.0f));
  found.dmin = as_half(found.dmin * Lanes::all(1.0f / 63.0f));
  for (int b = 0; b < 8; ++b) {
    found.s[b] = within(whole(scales[b] / found.d), zero(), Lanes::all(63.0f));
    found.t[b] = within(whole(minima[b] / found.dmin), zero(), Lanes::all(63.0f));
  }
  for (int round = 0; round < 3; ++round) {
    if (round > 0) improve_super(x, weight, top, found);
    for (int b = 0; b < 8; ++b)
      choose_sub(x + 32 * b * kRowGroup, weight + 32 * b * kRowGroup, top, found.d, found.dmin, found.s[b], found.t[b]);
  }
  found.d.store(out.scale[0]);
  found.dmin.store(out.minimum[0]);
  Lanes error = zero(), squares = zero();
  for (int b = 0; b < 8; ++b) {
    found.s[b].store(out.sub_scale[b]);
    found.t[b].store(out.sub_minimum[b]);
    write_codes(x, 32 * b, 32, found.d * found.s[b], zero() - found.dmin * found.t[b], 0, most, out, error, squares);
  }
  error.store(out.error);
  squares.store(out.squares);
}

// ---- Q6_K: (code - 32) * (d * s) --------------------------------------------------------------------------------

struct Symmetric {
  Lanes scale, error;
};

// Codes that are nearest under a scale, and the scale that serves these codes best.
inline Symmetric improved(const float* x, const float* weight, Lanes inverse) {
  Lanes q2 = zero(), xq = zero(), xx = zero();
  for (int n = 0; n < 16; ++n) {
    const Lanes w = column(weight, n), v = column(x, n);
    const Lanes q = within(whole(v * inverse), Lanes::all(-32.0f), Lanes::all(31.0f)), wq = w * q;
    q2 = q2 + wq * q;
    xq = xq + wq * v;
    xx = xx + (w * v) * v;
  }
  const Lanes scale = xq / q2;
  return {scale, xx - scale * xq};
}

// The best found for 16 columns. The largest value may get the code -32, so the scale may be negative.
inline Lanes symmetric(const float* x, const float* weight) {
  Lanes low = column(x, 0), high = low;
  for (int n = 1; n < 16; ++n) {
    low = smaller(column(x, n), low);
    high = larger(column(x, n), high);
  }
  const Lanes extreme = where_less(high, zero() - low, low, high);  // of the largest magnitude, with its sign
  Symmetric best{zero(), Lanes::all(kInfinity)};
  for (int step = -9; step <= 9; ++step) {
    const Symmetric other =
        improved(x, weight, Lanes::all(-32.0f + 0.1f * static_cast<float>(step)) / extreme);
    best.scale = where_less(other.error, best.error, other.scale, best.scale);
    best.error = where_less(other.error, best.error, other.error, best.error);
  }
  return best.scale;
}

inline Lanes error_under(const float* x, const float* weight, Lanes scale) {
  const Lanes inverse = one_over(scale);
  Lanes error = zero();
  for (int n = 0; n < 16; ++n) {
    const Lanes v = column(x, n);
    const Lanes off = within(whole(v * inverse), Lanes::all(-32.0f), Lanes::all(31.0f)) * scale - v;
    error = error + column(weight, n) * (off * off);
  }
  return error;
}

inline void round_q6_k(const float* x, Rounded& out) {
  static thread_local Importance importance;
  const float* weight = importance.weight;
  Lanes scales[16], most = zero();
  for (int b = 0; b < 16; ++b) {
    importance.set(x, 16 * b, 16);
    scales[b] = symmetric(x + 16 * b * kRowGroup, weight + 16 * b * kRowGroup);
    most = larger(most, larger(scales[b], zero() - scales[b]));
  }
  const Lanes d = as_half(most * Lanes::all(1.0f / 127.0f));
  d.store(out.scale[0]);
  Lanes error = zero(), squares = zero();
  for (int b = 0; b < 16; ++b) {
    const Lanes wanted = whole(scales[b] / d);
    Lanes s = zero(), best = Lanes::all(kInfinity);
    for (int i = -1; i <= 1; ++i) {
      const Lanes s1 = within(wanted + Lanes::all(static_cast<float>(i)), Lanes::all(-128.0f), Lanes::all(127.0f));
      const Lanes found = error_under(x + 16 * b * kRowGroup, weight + 16 * b * kRowGroup, d * s1);
      s = where_less(found, best, s1, s);
      best = where_less(found, best, found, best);
    }
    s.store(out.sub_scale[b]);
    write_codes(x, 16 * b, 16, d * s, zero(), -32, 31, out, error, squares);
  }
  error.store(out.error);
  squares.store(out.squares);
}

inline void round(Layout layout, const float* x, std::int64_t columns, Rounded& out) {
  switch (layout) {
    case Layout::Q4_1: return round_blocks(x, static_cast<int>(columns), 15, out);
    case Layout::Q5_1: return round_blocks(x, static_cast<int>(columns), 31, out);
    case Layout::Q4_K: return round_k(x, 15, out);
    case Layout::Q5_K: return round_k(x, 31, out);
    case Layout::Q6_K: return round_q6_k(x, out);
    default: return;
  }
}

}  // namespace
