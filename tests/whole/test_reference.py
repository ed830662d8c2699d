"""docs/reference is what the docstrings say now, and every public function says what it raises."""

import runpy
from pathlib import Path

import pytest

import ouvert

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@pytest.fixture(scope="module")
def generator():
    return runpy.run_path(str(FOLDER / "generate.py"))


def test_the_reference_is_what_the_docstrings_say(generator):
    there = {str(page.relative_to(FOLDER)): page.read_text(encoding="utf-8") for page in FOLDER.rglob("*.md")}
    now = generator["written"]()
    different = sorted(file for file in there.keys() | now.keys() if there.get(file) != now.get(file))
    assert not different, f"docs/reference: {different} differ from the docstrings. `make reference` writes them anew."


def test_the_reference_describes_what_ouvert_lists_and_every_part(generator):
    described = [name for _, names in generator["SUBJECTS"].values() for name in names.split()]
    assert sorted(described) == ouvert.__all__
    parts = {each.parent.name for each in (FOLDER.parents[1] / "src" / "ouvert").glob("*/__init__.py")}
    assert set(generator["PARTS"]) == parts
