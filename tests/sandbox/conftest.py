"""Boxes at each level that this machine can make. Root's boxes are nobody's, so these tests run as root too."""

import sys
from pathlib import Path

import pytest
from tests.sandbox.ways import LEVELS, WAYS

from ouvert.sandbox import Box, Found, Level, prepare

BUILT = Path(__file__).parents[2] / "build" / "box"  # kept from one run to the next


@pytest.fixture(scope="session")
def component():
    """Python for WebAssembly: built by the first test that wants it in a new checkout, which takes half a minute."""
    return prepare(BUILT)


@pytest.fixture(scope="session")
def wasm(component):
    """What `probe` says where there is nothing but Python in WebAssembly."""
    return Found(Level.WASM, (), "Install bubblewrap.", component=component.path)


@pytest.fixture(params=LEVELS or ["none"])
def opened(request, tmp_path):
    """`opened(memory=...)` is a box at this level on a folder of its own."""
    boxes = []

    def make(folder="folder", **settings):
        if request.param == "wasm":
            here, python = request.getfixturevalue("wasm"), sys.executable
        elif LEVELS:
            here, python, _ = WAYS[request.param]
        else:
            pytest.fail(f"no way to isolate a program holds on this machine: {WAYS}")
        boxes.append(made := Box(tmp_path / folder, **{"found": here, "python": python} | settings))
        return made

    yield make
    for each in boxes:
        each.close()


@pytest.fixture
def box(opened):
    return opened()


@pytest.fixture
def cell(box):
    return box.cell()


@pytest.fixture
def drawing():
    """`drawing(box)`: whether the Python of that box has matplotlib: that of these tests has it, another may not."""
    return lambda box: box.python == sys.executable
