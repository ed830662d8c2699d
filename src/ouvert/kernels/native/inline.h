// For functions that must become part of the loop that calls them: their arguments are then registers and constants.

#pragma once

#define OUVERT_INLINE inline __attribute__((always_inline))
