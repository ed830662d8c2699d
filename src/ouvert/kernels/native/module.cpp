// The Python module ouvert.kernels._native: thin bindings, no arithmetic of their own.

#include <nanobind/nanobind.h>

namespace nb = nanobind;

NB_MODULE(_native, m) { m.doc() = "CPU kernels. Use them through ouvert.kernels, which checks shapes."; }
