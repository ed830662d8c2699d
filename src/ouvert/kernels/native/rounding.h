// Floats rounded to the codes and scales of a layout: the search for scales under which little is lost.
//
// docs/formats/packed.md, "Rounding", says what is searched and by which measure. Sixteen rows are rounded at once, a row
// a lane, so that no sum runs across lanes: every instruction set finds the same bits.

#pragma once

#include <cstdint>

#include "half.h"
#include "instruction_set.h"
#include "linear.h"

namespace ouvert {

inline constexpr std::int64_t kMostColumns = 256;  // rounded at once

// What was found for `columns` columns of sixteen rows. Layouts with scales per 32 columns have their d (and m) by
// block; K layouts have one d (and dmin), and whole-number scales by block of 32, for Q6_K of 16.
struct Rounded {
  std::uint8_t codes[kMostColumns][kRowGroup];  // unsigned, as the layout has them
  Half scale[8][kRowGroup];                     // d
  Half minimum[8][kRowGroup];                   // m, dmin
  std::int8_t sub_scale[16][kRowGroup];         // s
  std::int8_t sub_minimum[8][kRowGroup];        // t
  float error[kRowGroup];                       // sum over the columns of (value - x)^2
  float squares[kRowGroup];                     // and of x^2
};

// Whether floats can be rounded to the layout.
static constexpr bool rounds_to(Layout layout) {
  return layout == Layout::Q4_1 || layout == Layout::Q5_1 || layout == Layout::Q4_K || layout == Layout::Q5_K ||
         layout == Layout::Q6_K;
}

// x is [column][row], finite. columns: 256 for K layouts, else a multiple of 32 up to that. Scales that are too large for
// a half become infinite.
using Round = void(Layout layout, const float* x, std::int64_t columns, Rounded& out);

// The set must be one this machine has.
Round* rounding(InstructionSet set);

Round round_plain, round_avx2, round_avx512;

}  // namespace ouvert
