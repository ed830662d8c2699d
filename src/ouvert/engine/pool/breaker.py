"""Whether a member of a pool may be asked: it is left out after some failures, and tried again after a while."""

from dataclasses import dataclass, replace

LONGEST_REST = 300.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """A member is out after so many `failures` in a row, for `rest` seconds; each time it fails again, for twice as
    long, LONGEST_REST at most."""

    failures: int = 3
    rest: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """How it went with one member of late. `until`: when it may be tried again, on time.monotonic's clock; None: it is
    in."""

    failures: int = 0
    rests: int = 0
    until: float | None = None
    why: str | None = None

    @property
    def open(self) -> bool:
        """Whether it may be asked. Raises nothing."""
        return self.until is None

    def due(self, now: float) -> bool:
        """Whether it is out, and may be tried again. Raises nothing."""
        return self.until is not None and now >= self.until

    def failed(self, why: str, now: float, patience: Patience) -> "Breaker":
        """It failed once more. Raises nothing."""
        failures = self.failures + 1
        if self.until is None and failures < patience.failures:
            return replace(self, failures=failures, why=why)
        rest = min(LONGEST_REST, patience.rest * 2.0**self.rests)
        return Breaker(failures=failures, rests=min(self.rests + 1, 16), until=now + rest, why=why)

    def refused(self, why: str, now: float, patience: Patience) -> "Breaker":
        """It is out at once, whatever was before: it is not there, or not what it should be. Raises nothing."""
        return replace(self, failures=patience.failures).failed(why, now, patience)
