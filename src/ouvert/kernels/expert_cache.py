"""Experts that stay in a file and are read when a router chooses them: native/expert_cache.h says how."""

import os
from dataclasses import dataclass

import numpy as np

import ouvert.kernels._native as _native
from ouvert.kernels.expert_reads import ExpertReads
from ouvert.kernels.packing import aligned_bytes, packed_bytes

# Reads in flight: one already reaches what a virtual disk gives, several what an SSD can.
READERS = 4


class ExpertCache:
    """The experts of one file: so many bytes of them are kept in memory, the busiest.

    A token counts half as much after every 64 tokens; what goes is the expert whose tokens are the fewest. At least
    two experts are kept, however small `bytes_kept`. One program at a time may compute with it.
    """

    def __init__(self, descriptor: int, bytes_kept: int, readers: int = READERS) -> None:
        """Opens the file of `descriptor` anew, so that reads can go past the system's page cache.

        Raises OSError where the file cannot be opened again or another one has its name, and on systems without pread.
        """
        if not hasattr(os, "pread"):
            raise OSError("reading experts from a file: this system has no pread. Use Linux or macOS.")
        own, direct = reopened(descriptor)
        self.bytes_kept = bytes_kept
        self.native = _native.ExpertCache(own, direct, bytes_kept, readers)

    def read(self, offset: int, size: int) -> np.ndarray:
        """Bytes of the file, copied into memory (uint8, aligned). Raises OSError where the file has fewer or cannot be
        read."""
        out = aligned_bytes(size)
        if not self.native.read(offset, out):
            raise OSError(f"reading a file of weights: bytes {offset} to {offset + size} cannot be read.")
        return out

    @property
    def lost(self) -> bool:
        """Whether an expert could not be read since it was opened. What was computed since is worth nothing.

        Raises nothing.
        """
        return bool(self.native.lost)

    def reads(self) -> ExpertReads:
        """What was read so far. To be asked between two steps. Raises nothing."""
        return ExpertReads(*self.native.statistics[:3])

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of its slots; 0 before the first step. Raises nothing."""
        _, _, _, slots, slot_bytes, _ = self.native.statistics
        return int(slots * slot_bytes)


@dataclass(frozen=True, slots=True)
class StoredExperts:
    """A matrix of every expert of a layer that lies in a cache's file: what `Packed` is to experts in memory.

    Expert e begins at byte `offset` + e × (its bytes), a multiple of 64.
    """

    layout: str
    rows: int
    columns: int
    experts: int
    cache: ExpertCache
    offset: int

    @property
    def expert_bytes(self) -> int:
        """Bytes of one expert's matrix. Raises nothing."""
        return packed_bytes(self.layout, self.rows, self.columns)


def reopened(descriptor: int) -> tuple[int, bool]:
    """Another descriptor of the same open file, and whether its reads go past the page cache. Raises OSError."""
    path = f"/proc/self/fd/{descriptor}" if os.path.exists("/proc/self/fd") else f"/dev/fd/{descriptor}"
    flags = os.O_RDONLY | os.O_CLOEXEC
    if hasattr(os, "O_DIRECT"):
        try:
            own = os.open(path, flags | os.O_DIRECT)
        except OSError:
            pass  # a file system without it, such as tmpfs: what was read is let go of afterwards
        else:
            return own, True
    return os.open(path, flags), False
