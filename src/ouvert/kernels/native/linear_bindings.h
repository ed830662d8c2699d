#pragma once

#include <nanobind/nanobind.h>

namespace ouvert {

void bind_linear(nanobind::module_& m);

}  // namespace ouvert
