"""The energy that processors say they use: Linux's powercap, which has Intel's and AMD's counters (RAPL).

Kernel documentation, power/powercap/powercap.rst. Most systems let only root read them: then nothing is reported.
"""

import os
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """The counters of all processor packages of this machine, whatever runs on them. None where nothing can be read."""

    def __init__(self, root: Path) -> None:
        self._packages: list[tuple[int, int]] = []  # (descriptor, value at which the counter begins again)
        for zone in sorted(root.glob("intel-rapl:*")):
            try:
                if not (zone / "name").read_text().startswith("package"):
                    continue  # a part of a package
                largest = int((zone / "max_energy_range_uj").read_text())
                descriptor = os.open(zone / "energy_uj", os.O_RDONLY | os.O_CLOEXEC)
            except (OSError, ValueError):
                self.close()  # a sum without one of them would be wrong
                return
            self._packages.append((descriptor, largest))

    def read(self) -> tuple[int, ...] | None:
        """Microjoules since some time, of each package; None if the machine does not say."""
        try:
            values = tuple(int(os.pread(descriptor, 32, 0)) for descriptor, _ in self._packages)
        except (OSError, ValueError):
            self.close()
            return None
        return values or None

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """What was used between two readings less than a round of the counters apart, which takes many minutes."""
        used = 0
        for (_, largest), one, other in zip(self._packages, before, after, strict=True):
            used += other - one if other >= one else other - one + largest + 1
        return used / 1e6

    def close(self) -> None:
        for descriptor, _ in self._packages:
            os.close(descriptor)
        self._packages = []
