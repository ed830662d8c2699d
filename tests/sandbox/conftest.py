"""Boxes at each level that this machine can make. Root's boxes are nobody's, so these tests run as root too."""

import sys

import pytest
from tests.sandbox.ways import LEVELS, WAYS

from ouvert.sandbox import Box


@pytest.fixture(params=LEVELS or ["none"])
def opened(request, tmp_path):
    """`opened(memory=...)` is a box at this level on a folder of its own."""
    boxes = []

    def make(folder="folder", **settings):
        if not LEVELS:
            pytest.fail(f"no way to isolate a program holds on this machine: {WAYS}")
        here, python, _ = WAYS[request.param]
        boxes.append(made := Box(tmp_path / folder, found=here, python=python, **settings))
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
