// What program_bindings.cpp adds to the module.

#pragma once

#include <nanobind/nanobind.h>

namespace ouvert {

void bind_program(nanobind::module_& m);

}  // namespace ouvert
