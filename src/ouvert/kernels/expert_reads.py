"""What was read of experts on disk. Needs no native part."""

from typing import NamedTuple


class ExpertReads(NamedTuple):
    """What was read of experts in a file: bytes, how often a step used an expert (`lookups`), and how many of these
    found it in memory (`hits`)."""

    bytes: int
    lookups: int
    hits: int

    def __sub__(self, before: "ExpertReads") -> "ExpertReads":
        return ExpertReads(*(now - then for now, then in zip(self, before, strict=True)))
