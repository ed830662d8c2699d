"""Numbers in JSON that a model cannot go on writing for ever: as many digits as the readers of JSON can take.

JSON bounds no number, and a model that has begun one may add digits until its limit of tokens. Readers hold whole
numbers in 64 bits and others in a double; more digits would be lost or refused by them.
"""

from collections.abc import Sequence

import numpy as np

LARGEST = 2**63 - 1
MOST_WHOLE = 19  # digits before the point: those of LARGEST
MOST_FRACTION = 17  # tell every double from its neighbours
MOST_EXPONENT = 2  # with MOST_WHOLE digits before it, no number beyond a double's
DIGITS = frozenset(b"0123456789")


class NumberLength:
    """Follows a JSON text byte by byte, and knows how many digits may still be added to the number it is in."""

    def __init__(self) -> None:
        self._string = self._escaped = False
        self._most = 0  # digits of this part of a number; 0 outside of numbers
        self._count = 0
        self._whole = 0  # the digits before the point, as a number

    def push(self, data: bytes) -> None:
        for byte in data:
            if self._string:
                self._string = self._escaped or byte != ord('"')
                self._escaped = not self._escaped and byte == ord("\\")
            elif byte in DIGITS:
                self._push_digit(byte)
            elif byte == ord(".") and self._most:
                self._most, self._count = MOST_FRACTION, 0
            elif byte in b"eE" and self._most:
                self._most, self._count = MOST_EXPONENT, 0
            elif not (byte in b"+-" and self._most == MOST_EXPONENT):
                self._most = 0
                self._string = byte == ord('"')

    def _push_digit(self, byte: int) -> None:
        if not self._most:
            self._most, self._count, self._whole = MOST_WHOLE, 0, 0
        self._count += 1
        if self._most == MOST_WHOLE:
            self._whole = self._whole * 10 + byte - ord("0")

    @property
    def room(self) -> int | None:
        """Digits that may be added to the number; None outside of numbers."""
        if not self._most:
            return None
        room = max(0, self._most - self._count)
        if self._most == MOST_WHOLE:
            while room and (self._whole + 1) * 10**room - 1 > LARGEST:
                room -= 1
        return room


class DigitRuns:
    """How many digits each token of a vocabulary begins with."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        runs = (len(spelled) - len(spelled.lstrip(b"0123456789")) for spelled in tokens)
        self._runs = np.fromiter(runs, np.int16, len(tokens))
        self.longest = int(self._runs.max(initial=0))

    def within(self, ids: np.ndarray, room: int) -> np.ndarray:
        """The ids whose tokens have at most `room` digits."""
        kept: np.ndarray = ids[self._runs[ids] <= room]
        return kept
