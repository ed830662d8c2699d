// What each *_bindings.cpp adds to the module.

#pragma once

#include <nanobind/nanobind.h>

#include "products.h"
#include "program.h"

namespace ouvert {

void bind_kernels(nanobind::module_& m);
void bind_linear(nanobind::module_& m);
void bind_products(nanobind::module_& m);
void bind_row_gradients(nanobind::class_<Products>& products);
void bind_mapped(nanobind::module_& m);
void bind_program(nanobind::module_& m);
void bind_instructions(nanobind::module_& m, nanobind::class_<Program>& program);
void bind_edits(nanobind::module_& m, nanobind::class_<Program>& program, nanobind::class_<Sequence>& sequence);
void bind_adapters(nanobind::module_& m, nanobind::class_<Sequence>& sequence);
void bind_sampling(nanobind::module_& m);

}  // namespace ouvert
