#pragma once

#include <nanobind/nanobind.h>

namespace ouvert {

void bind_sampling(nanobind::module_& m);

}  // namespace ouvert
