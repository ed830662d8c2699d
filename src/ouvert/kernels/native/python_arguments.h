// What the bindings take from Python: arrays, and names of enumerators. Shapes and types are checked by ouvert.kernels.

#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <string>
#include <vector>

#include "attention.h"
#include "instruction_set.h"
#include "linear.h"
#include "pack.h"

namespace ouvert {

template <typename T, typename... Shape>
using Array = nanobind::ndarray<T, nanobind::c_contig, nanobind::device::cpu, Shape...>;

using Floats = Array<const float>;
using FloatsOut = Array<float>;
using FloatRows = Array<const float, nanobind::ndim<2>>;
using FloatRowsOut = Array<float, nanobind::ndim<2>>;
using Bytes = Array<const std::uint8_t, nanobind::ndim<1>>;
using BytesOut = Array<std::uint8_t, nanobind::ndim<1>>;
using Ids = Array<const std::int32_t, nanobind::ndim<1>>;

// The numbers of a float32 array; none for None.
std::vector<float> copied(const nanobind::object& array);

// Each throws std::invalid_argument (ValueError) for a name that is not known. instruction_set_named also throws it for
// a set that this machine lacks.
InstructionSet instruction_set_named(const std::string& wanted);
Layout layout_named(const std::string& wanted);
Encoding encoding_named(const std::string& wanted);
CacheType cache_type_named(const std::string& wanted);

}  // namespace ouvert
