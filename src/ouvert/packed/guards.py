"""Guards over mapped files: a file that is cut shorter while it is read does not end the process."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ouvert import kernels
from ouvert.weights import MappedFile

if TYPE_CHECKING:
    from ouvert.kernels import Guarded


def guards_of(maps: Iterable[MappedFile]) -> "list[Guarded | None]":
    """A guard for each map; None where the native part was not built, and a file that is cut ends the process."""
    if not kernels.available():
        return [None for _ in maps]
    return [kernels.Guarded(np.frombuffer(mapped, np.uint8)) for mapped in maps]


@contextmanager
def guarded(maps: Sequence[MappedFile]) -> Iterator[Callable[[], bool]]:
    """Guards for as long as it lasts. What it gives says whether some file was lost meanwhile."""
    guards = guards_of(maps)
    try:
        yield lambda: any(each is not None and each.lost for each in guards)
    finally:
        for each in guards:
            if each is not None:
                each.close()
