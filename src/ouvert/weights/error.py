"""The one error of this part, and how names out of files are shown in it."""

import reprlib

SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 80
SHORT.maxlevel = 2


class CheckpointError(Exception):
    """A checkpoint cannot be used. The message names the file or tensor, the fault, what is right, and the remedy."""


class PrecisionError(CheckpointError):
    """More bits were asked for than the weights have: the weights are well, and what was asked for is not there."""


def shown(value: object) -> str:
    """A value out of a file as an error may print it: escaped and cut short."""
    return SHORT.repr(value)


class BusyError(CheckpointError):
    """Another process is writing the same file. `weights.wait_for_writer` returns when it no longer does."""


class UnwritableError(CheckpointError):
    """A file cannot be written where it was to be: no room, no right, a failing disk. What was to be read is sound."""
