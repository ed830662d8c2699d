// The Python module ouvert.kernels._native: thin bindings, no arithmetic of their own.

#include <nanobind/nanobind.h>

#include "bindings.h"

namespace nb = nanobind;

NB_MODULE(_native, m) {
  m.doc() = "CPU kernels. Use them through ouvert.kernels, which checks shapes.";
  ouvert::bind_kernels(m);
  ouvert::bind_linear(m);
  ouvert::bind_products(m);
  ouvert::bind_mapped(m);
  ouvert::bind_program(m);
  ouvert::bind_sampling(m);
}
