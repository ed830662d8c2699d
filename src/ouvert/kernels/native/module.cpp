// The Python module ouvert.kernels._native: thin bindings, no arithmetic of their own.

#include <nanobind/nanobind.h>

#include "linear_bindings.h"
#include "mapped_bindings.h"
#include "program_bindings.h"
#include "sampling_bindings.h"

namespace nb = nanobind;

NB_MODULE(_native, m) {
  m.doc() = "CPU kernels. Use them through ouvert.kernels, which checks shapes.";
  ouvert::bind_linear(m);
  ouvert::bind_mapped(m);
  ouvert::bind_program(m);
  ouvert::bind_sampling(m);
}
