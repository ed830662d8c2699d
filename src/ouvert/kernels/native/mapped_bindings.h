#pragma once

#include <nanobind/nanobind.h>

namespace ouvert {

void bind_mapped(nanobind::module_& m);

}  // namespace ouvert
