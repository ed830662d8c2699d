"""The one error of this part, and how names out of files are shown in it."""

LONGEST_SHOWN = 80


class CheckpointError(Exception):
    """A checkpoint cannot be used. The message names the file or tensor, the fault, what is right, and the remedy."""


def shown(value: object) -> str:
    """A value out of a file as an error may print it: escaped, and not longer than a line."""
    text = repr(value[: 2 * LONGEST_SHOWN] if isinstance(value, str | bytes) else value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
