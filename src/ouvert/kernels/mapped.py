"""Mapped files that may be cut shorter while they are read: an answer instead of the end of the process.

`native/mapped.h` says how: in a guarded range, what is no longer there reads as zeros, and `lost` says that it did.
"""

import weakref

import numpy as np

import ouvert.kernels._native as _native


class Guarded:
    """A guard over the memory of an array that lies in a mapped file. The array is held, and so stays mapped.

    Raises OSError where too many ranges are guarded already.
    """

    def __init__(self, data: np.ndarray) -> None:
        self._data: np.ndarray | None = data
        number: int = _native.guard(data.ctypes.data, data.nbytes)
        if number < 0:
            raise OSError("guarding a mapped file: more files are mapped than can be guarded. Close some models.")
        self._number = number
        self._close = weakref.finalize(self, _native.unguard, number)

    @property
    def lost(self) -> bool:
        """Whether somebody looked where the file is no longer. What was computed since is worth nothing.

        Raises nothing.
        """
        return self._data is not None and bool(_native.lost(self._number))

    def close(self) -> None:
        """End the guard and let go of the array. May be called twice. Raises nothing."""
        self._close()
        self._data = None
