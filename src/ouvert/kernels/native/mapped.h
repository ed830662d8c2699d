// Memory-mapped files that somebody may cut shorter while they are read.
//
// The system answers a look beyond the new end of a mapped file (and a disk that cannot be read) with SIGBUS, which ends
// the process. Between a check of the size and the look there is always time for the cut, so no check helps. Instead,
// for addresses within a guarded range, the handler puts pages of zeros where the file no longer is, from the place of
// the look to the end of the range, and marks the range as lost. Whatever was computing goes on with zeros, and whoever
// asks `lost` after it must throw its result away. Other addresses are left to the handler that was there before.
//
// Where there is no SIGBUS (Windows, where a mapped file cannot be cut) nothing is ever lost.

#pragma once

#include <cstddef>

namespace ouvert {

inline constexpr int kMostGuarded = 4096;

// Guards `size` bytes from `begin`, which must stay mapped until `unguard`. Returns a number for it, or -1 if so many
// are guarded already. Safe from any thread, as are the others.
int guard(const void* begin, std::size_t size);

// Whether a look into the range found that the file is no longer there.
bool lost(int number);

// Ends the guard. To be called before the range is unmapped: other memory may come to lie there.
void unguard(int number);

}  // namespace ouvert
