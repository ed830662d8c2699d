// rows.h over Lanes. Included by one file per instruction set, after the Lanes it is to use.

#pragma once

#include <cmath>

#include "along.h"
#include "exponential.h"
#include "rows.h"

namespace {

using ouvert::ScanParameters;
using ouvert::ScanToken;
using ouvert::SsdTokens;

void rms_norm(const float* x, const float* weight, float* y, std::int64_t width, float eps) {
  Lanes squares[2] = {Lanes::all(0.0f), Lanes::all(0.0f)};
  along(width, [&](std::int64_t i, int count) {
    const Lanes part = get(x + i, count);
    Lanes& into = squares[i / 16 % 2];
    into = fma(part, part, into);
  });
  const float mean = sum(squares[0] + squares[1]) / static_cast<float>(width);
  const Lanes factor = Lanes::all(1.0f / std::sqrt(mean + eps));
  along(width, [&](std::int64_t i, int count) {
    put(get(x + i, count) * factor * get(weight + i, count), y + i, count);
  });
}

void add(const float* a, const float* b, float* y, std::int64_t count) {
  along(count, [&](std::int64_t i, int lanes) { put(get(a + i, lanes) + get(b + i, lanes), y + i, lanes); });
}

void mix(const float* parts, std::int64_t stride, const std::int32_t* part, const float* weight, std::int64_t count,
         float* y, std::int64_t width) {
  along(width, [&](std::int64_t i, int lanes) {
    Lanes total = get(parts + part[0] * stride + i, lanes) * Lanes::all(weight[0]);
    for (std::int64_t n = 1; n < count; ++n)
      total = fma(get(parts + part[n] * stride + i, lanes), Lanes::all(weight[n]), total);
    put(total, y + i, lanes);
  });
}

void swiglu(const float* gate, const float* up, float* y, std::int64_t count) {
  along(count, [&](std::int64_t i, int lanes) {
    const Lanes g = get(gate + i, lanes);
    put(g * sigmoid(g) * get(up + i, lanes), y + i, lanes);
  });
}

void clamped_swiglu(const float* gate, const float* up, float* y, std::int64_t count, float alpha, float limit) {
  const Lanes most = Lanes::all(limit), least = Lanes::all(-limit), one = Lanes::all(1.0f);
  along(count, [&](std::int64_t i, int lanes) {
    const Lanes g = smaller(most, get(gate + i, lanes));  // not a number stays not a number
    const Lanes u = larger(least, smaller(most, get(up + i, lanes)));
    put(g * sigmoid(Lanes::all(alpha) * g) * (u + one), y + i, lanes);
  });
}

void convolve(const float* const* rows, std::int64_t taps, const float* weight, std::int64_t stride, const float* bias,
              float* y, std::int64_t count) {
  along(count, [&](std::int64_t i, int lanes) {
    Lanes total = get(bias + i, lanes);
    for (std::int64_t tap = 0; tap < taps; ++tap)
      total = fma(get(rows[tap] + i, lanes), get(weight + tap * stride + i, lanes), total);
    put(total * sigmoid(total), y + i, lanes);
  });
}

void selective_scan(const ScanParameters& parameters, const ScanToken& token, float* state, std::int64_t state_stride,
                    float* y, std::int64_t count) {
  const ScanParameters of = parameters;  // copies, which no store can change
  const ScanToken in = token;
  along(count, [&](std::int64_t i, int lanes) {
    const Lanes x = get(in.x + i, lanes), step = softplus(get(in.dt + i, lanes)), scaled = step * x;
    Lanes total = get(of.D + i, lanes) * x;
    for (std::int64_t s = 0; s < of.states; ++s) {
      float* at = state + s * state_stride + i;
      const Lanes decay = two_to_the(step * get(of.A + s * of.stride + i, lanes));
      const Lanes now = fma(decay, get(at, lanes), scaled * Lanes::all(in.B[s]));
      put(now, at, lanes);
      total = fma(now, Lanes::all(in.C[s]), total);
    }
    put(total, y + i, lanes);
  });
}

void ssd_steps(const float* dt, float A, float low, float high, float* delta, float* decay, std::int64_t count) {
  along(count, [&](std::int64_t i, int lanes) {
    const Lanes step = smaller(Lanes::all(high), larger(Lanes::all(low), softplus(get(dt + i, lanes))));
    put(step, delta + i, lanes);
    put(two_to_the(step * Lanes::all(A)), decay + i, lanes);
  });
}

// All tokens for rows n .. n + kStates - 1 of the state, and the numbers of a head from i on: kWide times sixteen, or
// `lanes` of sixteen. y already has what the rows before n gave.
template <int kStates, int kWide>
inline void ssd_tile(const SsdTokens& of, std::int64_t n, std::int64_t i, int lanes, const float* from, float* to,
                     float* y) {
  Lanes state[kStates][kWide];
  for (int s = 0; s < kStates; ++s)
    for (int w = 0; w < kWide; ++w)
      state[s][w] = from == nullptr ? Lanes::all(0.0f) : get(from + (n + s) * of.head_dim + i + 16 * w, lanes);
  const float *x = of.x + i, *B = of.B + n, *C = of.C + n;
  float* to_y = y + i;
  for (std::int64_t t = 0; t < of.tokens; ++t, x += of.head_dim, to_y += of.head_dim, B += of.states, C += of.states) {
    const Lanes decay = Lanes::all(of.decay[t]), delta = Lanes::all(of.delta[t]);
    Lanes scaled[kWide], total[kWide];
    for (int w = 0; w < kWide; ++w) {
      const Lanes now = get(x + 16 * w, lanes);
      scaled[w] = delta * now;
      total[w] = n == 0 ? Lanes::all(of.D) * now : get(to_y + 16 * w, lanes);
    }
    for (int s = 0; s < kStates; ++s) {
      const Lanes in = Lanes::all(B[s]), out = Lanes::all(C[s]);
      for (int w = 0; w < kWide; ++w) {
        state[s][w] = fma(decay, state[s][w], scaled[w] * in);
        total[w] = fma(state[s][w], out, total[w]);
      }
    }
    for (int w = 0; w < kWide; ++w) put(total[w], to_y + 16 * w, lanes);
  }
  for (int s = 0; s < kStates; ++s)
    for (int w = 0; w < kWide; ++w) put(state[s][w], to + (n + s) * of.head_dim + i + 16 * w, lanes);
}

void ssd_scan(const SsdTokens& tokens, const float* from, float* to, float* y) {
  const SsdTokens of = tokens;  // a copy, which no store can change
  constexpr int kTogether = 4;
  std::int64_t n = 0;
  for (; n + kTogether <= of.states; n += kTogether) {
    std::int64_t i = 0;
    for (; i + 16 * Lanes::kWide <= of.head_dim; i += 16 * Lanes::kWide)
      ssd_tile<kTogether, Lanes::kWide>(of, n, i, 16, from, to, y);
    for (; i + 16 <= of.head_dim; i += 16) ssd_tile<kTogether, 1>(of, n, i, 16, from, to, y);
    if (i < of.head_dim) ssd_tile<kTogether, 1>(of, n, i, static_cast<int>(of.head_dim - i), from, to, y);
  }
  for (; n < of.states; ++n)
    along(of.head_dim, [&](std::int64_t i, int lanes) { ssd_tile<1, 1>(of, n, i, lanes, from, to, y); });
}

void rotate(const float* x, const float* cosines, const float* sines, float* y, std::int64_t head_dim,
            std::int64_t half) {
  along(half, [&](std::int64_t i, int lanes) {
    const Lanes first = get(x + i, lanes), second = get(x + half + i, lanes);
    const Lanes cosine = get(cosines + i, lanes), sine = get(sines + i, lanes);
    put(first * cosine - second * sine, y + i, lanes);
    put(second * cosine + first * sine, y + half + i, lanes);
  });
  along(head_dim - 2 * half, [&](std::int64_t i, int lanes) {
    put(get(x + 2 * half + i, lanes), y + 2 * half + i, lanes);
  });
}

}  // namespace
