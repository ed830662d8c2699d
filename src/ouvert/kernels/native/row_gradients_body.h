// row_gradients.h over Lanes. Included by one file per instruction set, after the Lanes it is to use.

#pragma once

#include <cmath>

#include "along.h"
#include "exponential.h"
#include "row_gradients.h"

namespace {

void rms_norm_back(const float* x, const float* weight, const float* dy, float* dx, std::int64_t width, float eps) {
  Lanes squares[2] = {Lanes::all(0.0f), Lanes::all(0.0f)}, along_x[2] = {Lanes::all(0.0f), Lanes::all(0.0f)};
  along(width, [&](std::int64_t i, int count) {
    const Lanes part = get(x + i, count);
    Lanes &square = squares[i / 16 % 2], &product = along_x[i / 16 % 2];
    square = fma(part, part, square);
    product = fma(part, get(dy + i, count) * get(weight + i, count), product);
  });
  const float mean = sum(squares[0] + squares[1]) / static_cast<float>(width) + eps;
  const float share = sum(along_x[0] + along_x[1]) / static_cast<float>(width) / mean;
  const Lanes factor = Lanes::all(1.0f / std::sqrt(mean)), less = Lanes::all(-share);
  along(width, [&](std::int64_t i, int count) {
    put(factor * fma(get(x + i, count), less, get(dy + i, count) * get(weight + i, count)), dx + i, count);
  });
}

void swiglu_back(const float* gate, const float* up, const float* dy, float* dgate, float* dup, std::int64_t count) {
  const Lanes one = Lanes::all(1.0f);
  along(count, [&](std::int64_t i, int lanes) {
    const Lanes g = get(gate + i, lanes), open = sigmoid(g), d = get(dy + i, lanes);
    const Lanes slope = open * fma(g, one - open, one);  // of g * sigmoid(g)
    const Lanes of_gate = d * get(up + i, lanes) * slope;
    put(d * (g * open), dup + i, lanes);
    put(of_gate, dgate + i, lanes);
  });
}

void log_probability_back(float* logits, std::int64_t count, float log_total, std::int64_t id) {
  const Lanes less = Lanes::all(log_total), unit = Lanes::all(kLog2OfE), zero = Lanes::all(0.0f);
  along(count, [&](std::int64_t i, int lanes) {
    put(zero - two_to_the((get(logits + i, lanes) - less) * unit), logits + i, lanes);
  });
  logits[id] += 1.0f;
}

}  // namespace
