"""What an engine takes on at once."""

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`cache_bytes`: of adapters and the caches of all sequences, of which those that no sequence uses take
    `kept_bytes` at most. Caches have `least_bytes` in any case. `most_running`: answers in progress; `most_waiting`:
    requests before them."""

    cache_bytes: int = sys.maxsize
    least_bytes: int = 0
    kept_bytes: int = sys.maxsize
    most_running: int = 64
    most_waiting: int = 1024

    def caches_beside(self, adapters: int) -> int:
        """What adapters of so many bytes leave to caches. Raises nothing."""
        return max(self.cache_bytes - adapters, min(self.cache_bytes, self.least_bytes))
