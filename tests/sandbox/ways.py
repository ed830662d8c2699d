"""The ways to a box that hold on this machine, each tried by itself."""

import os
import sys
from pathlib import Path

import pytest

from ouvert.sandbox import Found, Level
from ouvert.sandbox.landlock import landlock_version
from ouvert.sandbox.mounts import open_to_everybody
from ouvert.sandbox.probe import bwraps, try_way

# At level two a root's box needs a Python that the user `nobody` can read. Where root's Python is root's alone, and the
# system has none, there is no such one.
THERE = dict.fromkeys((sys.executable, sys._base_executable, "/usr/bin/python3"))
PYTHONS = [each for each in THERE if Path(each).exists() and (os.geteuid() or open_to_everybody(each))]
LANDLOCK, WHY_NO_LANDLOCK = landlock_version() if sys.platform == "linux" else (0, "not Linux")


def found(way: str) -> tuple[Found, str, str]:
    """(what `probe` would say if there were that way alone, the Python of its boxes, why it does not hold here)."""
    if way == "landlock":
        python = next((each for each in PYTHONS if Path(each).exists()), sys.executable)
        why = WHY_NO_LANDLOCK or try_way(Level.LANDLOCK, None, LANDLOCK, python)
        return Found(None if why else Level.LANDLOCK, (), why, None, LANDLOCK), python, why
    _, program, missing = dict(zip(("system", "package"), bwraps(), strict=True))[way]
    why = missing or try_way(Level.NAMESPACES, program, LANDLOCK)
    return Found(None if why else Level.NAMESPACES, (), why, program, LANDLOCK), sys.executable, why


WAYS = {way: found(way) for way in ("system", "package", "landlock")}
HOLDING = [way for way, (_, _, why) in WAYS.items() if not why]
# One way of each level: the two ways to namespaces differ in who starts them alone.
LEVELS = list({WAYS[way][0].level: way for way in HOLDING}.values())
# For tests of cells: Python in WebAssembly needs nothing of the machine, so it is there on every one.
at_every_level = pytest.mark.parametrize("opened", [*LEVELS, "wasm"], indirect=True)
in_wasm = pytest.mark.parametrize("opened", ["wasm"], indirect=True)
