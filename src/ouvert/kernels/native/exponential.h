// Powers of two and what is made of them, over the Lanes of whichever file includes this after them.

#pragma once

namespace {

// 2^x within 1e-7 of its size; exactly 1 at 0 and exactly 0 at and below -127; at most 2^127 or so.
// 2^r on [-1/2, 1/2] is 1 + r * polynomial, fitted at Chebyshev nodes.
inline Lanes two_to_the(Lanes x) {
  x = smaller(larger(x, Lanes::all(-127.0f)), Lanes::all(127.0f));
  const Lanes whole = nearest(x);
  const Lanes r = x - whole;
  Lanes p = Lanes::all(0.000154614478f);
  p = fma(p, r, Lanes::all(0.00133908668f));
  p = fma(p, r, Lanes::all(0.00961805694f));
  p = fma(p, r, Lanes::all(0.0555035695f));
  p = fma(p, r, Lanes::all(0.240226507f));
  p = fma(p, r, Lanes::all(0.693147182f));
  p = fma(p, r, Lanes::all(1.0f));
  return p * power_of_two(whole);
}

constexpr float kLog2OfE = 1.44269504088896340736f;

// 1 / (1 + e^-x)
inline Lanes sigmoid(Lanes x) {
  return Lanes::all(1.0f) / (Lanes::all(1.0f) + two_to_the(x * Lanes::all(-kLog2OfE)));
}

}  // namespace
