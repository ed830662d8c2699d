"""What this machine can do to isolate a program, as found by trying."""

from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from ouvert.sandbox.error import BoxRefusedError


class Level(Enum):
    """How a box is closed, best first."""

    NAMESPACES = "namespaces"  # what is not in the box does not exist there; Landlock and the filter of calls within
    LANDLOCK = "landlock"  # the kernel refuses to open what is outside; names and sizes outside can be seen
    WASM = "wasm"  # Python in WebAssembly: its standard library and one folder; no other program


@dataclass(frozen=True, slots=True)
class Finding:
    """One way that was tried. `detail`: what it is where it works, why it does not where it does not."""

    way: str
    works: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Found:
    """What `probe` found. `level` is None where nothing works; `remedy` is then what a person can do, and also where
    something better than what works could be had."""

    level: Level | None
    findings: tuple[Finding, ...]
    remedy: str | None
    bwrap: str | None = None  # the program that makes the namespaces
    landlock: int = 0  # the version in this kernel
    component: Path | None = None  # Python for WebAssembly

    def require(self) -> Level:
        """The level. Raises BoxRefusedError, with every reason and the remedy, where there is none."""
        if self.level is None:
            tried = " ".join(f"{each.way}: {each.detail.rstrip('.')}." for each in self.findings)
            raise BoxRefusedError(
                f"opening a box: this machine gives no way to isolate a program. {tried} {self.remedy} Nothing was run."
            )
        return self.level

    def require_programs(self) -> Level:
        """The level, where it can run programs. Raises BoxRefusedError where there is none, and at level `wasm`, which
        has Python cells alone."""
        level = self.require()
        if level is Level.WASM:
            raise BoxRefusedError(
                "opening a box for a program: this machine has level wasm alone, which runs Python cells with their "
                f"standard library, and no programs or packages. {self.remedy} Nothing was run."
            )
        return level

    def facts(self) -> dict[str, Any]:
        """It as JSON values, for `ouvert doctor`. Raises nothing."""
        return {
            "level": self.level and self.level.value,
            "findings": [asdict(each) for each in self.findings],
            "remedy": self.remedy,
        }
