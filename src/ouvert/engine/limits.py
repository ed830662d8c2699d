"""What an engine takes on at once."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`cache_bytes`: of the caches of all sequences, of which those that no sequence uses take `kept_bytes` at most.
    `most_running`: answers in progress; `most_waiting`: requests before them."""

    cache_bytes: int = sys.maxsize
    kept_bytes: int = sys.maxsize
    most_running: int = 64
    most_waiting: int = 1024
