// 2^x, and sigmoid and softplus made of it, over Lanes. Include it after the Lanes that it is to use.

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

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), within 3e-7 of its size: log(1 + z) is 2 atanh(z / (2 + z)), whose series
// in at most 1/9 needs eight terms.
inline Lanes softplus(Lanes x) {
  const Lanes z = two_to_the(larger(x, Lanes::all(0.0f) - x) * Lanes::all(-kLog2OfE));
  const Lanes w = z / (Lanes::all(2.0f) + z), square = w * w;
  Lanes series = Lanes::all(1.0f / 15.0f);
  for (int odd = 13; odd > 0; odd -= 2) series = fma(series, square, Lanes::all(1.0f / static_cast<float>(odd)));
  return fma(w + w, series, larger(Lanes::all(0.0f), x));  // not a number stays not a number
}

// 1 / (1 + e^-x)
inline Lanes sigmoid(Lanes x) {
  return Lanes::all(1.0f) / (Lanes::all(1.0f) + two_to_the(x * Lanes::all(-kLog2OfE)));
}

}  // namespace
