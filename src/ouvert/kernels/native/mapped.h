// Memory-mapped files that another process may truncate while they are read.
//
// A read beyond the new end of a mapped file (or from a disk with an error) raises SIGBUS, which ends the process. The
// file can be truncated between any check of its size and the read, so checks do not help. Instead, for addresses
// within a guarded range, the signal's handler maps pages of zeros from the address to the end of the range, and marks
// the range as lost. The computation continues with zeros. Afterwards its caller must ask lost(), and discard the
// result if it is. Other addresses are left to the handler that was there before.
//
// Where there is no SIGBUS (Windows, where a mapped file cannot be truncated) nothing is ever lost.

#pragma once

#include <cstddef>

namespace ouvert {

inline constexpr int kMostGuarded = 4096;

// Guards `size` bytes from `begin`, which must stay mapped until unguard(). Returns the range's number, or -1 if
// kMostGuarded ranges are guarded already. All three functions may be called from any thread.
int guard(const void* begin, std::size_t size);

// Whether a read in this range found that the file is no longer there.
bool lost(int number);

// Ends the guard. Must be called before the range is unmapped, because other memory may be mapped there later.
void unguard(int number);

}  // namespace ouvert
