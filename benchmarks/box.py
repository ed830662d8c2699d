"""How soon a box is ready, and what it costs, at each level that holds on this machine.

    python benchmarks/box.py                  # in quiet; writes docs/figures/sandbox.md

Each level by itself, in turns. "ready": from nothing to a Python cell that has answered. The memory watch's error is by
how much a program was over its limit when it was ended.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ouvert.sandbox import Box, Found, Level, prepare
from ouvert.sandbox.landlock import landlock_version
from ouvert.sandbox.probe import bwraps, probe, try_way

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs/figures/sandbox.md"
REPEATS = 21
PYTHON_LOOP = "total = 0\nfor n in range(300_000): total += n\n"


def levels() -> list[tuple[str, Found, str]]:
    """(name, what `probe` would say if there were that alone, the Python inside) of every level that holds here."""
    version, _ = landlock_version()
    python = sys.executable if os.geteuid() else "/usr/bin/python3"  # at level two nobody must be able to read it
    found = []
    for way, bwrap, missing in bwraps():
        if not missing and not try_way(Level.NAMESPACES, bwrap, version):
            found.append((way, Found(Level.NAMESPACES, (), None, bwrap, version), sys.executable))
    if version and not try_way(Level.LANDLOCK, None, version, python):
        found.append(("Landlock", Found(Level.LANDLOCK, (), None, None, version), python))
    component = prepare(ROOT / "build/box").path
    if not try_way(Level.WASM, None, version, component=component):
        found.append(("Python in WebAssembly", Found(Level.WASM, (), None, component=component), sys.executable))
    return found


def seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def measured(found: Found, python: str, folder: Path) -> dict[str, float]:
    """One turn of one level."""
    with Box(folder, found=found, python=python) as box:
        cell = box.cell()
        facts = {
            "ready": seconds(lambda: cell.run("1")),
            "next": seconds(lambda: cell.run("2")),
            "loop": seconds(lambda: cell.run(PYTHON_LOOP)),
        }
        if box.level is not Level.WASM:  # which runs no programs
            facts["true"] = seconds(lambda: box.run(["/bin/true"]))
            facts["python"] = seconds(lambda: box.run([box.python, "-S", "-c", "1"]))
        facts["close"] = seconds(box.close)
    return facts


def bare() -> dict[str, float]:
    """The same without a box, for comparison."""
    return {
        "true": seconds(lambda: subprocess.run(["/bin/true"], check=True)),
        "python": seconds(lambda: subprocess.run([sys.executable, "-S", "-c", "1"], check=True)),
        "loop": seconds(lambda: exec(PYTHON_LOOP, {})),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", action="store_true", help="print the figures, and write nothing")
    args = arguments.parse_args()
    runs: dict[str, list[dict[str, float]]] = {"without a box": []}
    ways = levels()
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(REPEATS):
            runs["without a box"].append(bare())
            for name, found, python in ways:
                runs.setdefault(name, []).append(measured(found, python, Path(folder) / f"{turn}-{len(name)}"))
    probing = statistics.median(seconds(probe.__wrapped__) for _ in range(5))
    medians = {
        name: {each: statistics.median(run[each] for run in taken) for each in taken[0]} for name, taken in runs.items()
    }
    worst = {name: max(run["ready"] for run in taken) for name, taken in runs.items() if "ready" in taken[0]}
    if args.json:
        print(json.dumps({"medians": medians, "worst": worst, "probe": probing}))
    else:
        TARGET.write_text(page(medians, worst, probing), encoding="utf-8")
        print(TARGET.read_text(encoding="utf-8"))


def page(medians: dict[str, dict[str, float]], worst: dict[str, float], probing: float) -> str:
    rows = []
    for name, facts in medians.items():
        cells = [f"{facts[each] * 1000:.1f}" if each in facts else "–" for each in COLUMNS]
        slowest = f"{worst[name] * 1000:.0f}" if name in worst else "–"
        rows.append(f"| {name} | {' | '.join(cells)} | {slowest} |")
    return (
        "# How soon a box is ready\n\n"
        f"Written by `python benchmarks/box.py`: medians of {REPEATS} turns, each way after the other in a turn, in "
        f"milliseconds. Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, "
        f"{os.cpu_count()} processors, nothing else running. The goal is a ready cell in under 100 ms.\n\n"
        f"| | {' | '.join(COLUMNS.values())} | slowest ready |\n|---|{'--:|' * (len(COLUMNS) + 1)}\n"
        + "\n".join(rows)
        + f"\n\nFinding out what holds (`probe()`, once in a process): {probing * 1000:.0f} ms here.\n\n"
        "`ready`: from nothing to the first answer of a Python cell; `next`: the next one; `loop`: 300,000 additions "
        "in the cell (system calls pay for the filter, computing does not); `true`: `Box.run` of /bin/true; `python`: "
        "`Box.run` of a Python that does nothing; `close`: until nothing of it is left. In WebAssembly there are no "
        "programs to run; its Python is CPython 3.14, its component was built before.\n"
    )


COLUMNS = {
    "ready": "ready",
    "next": "next",
    "loop": "loop",
    "true": "true",
    "python": "python",
    "close": "close",
}

if __name__ == "__main__":
    main()
