"""docs/reference is what the docstrings say now, and every public function says what it raises."""

import re
import runpy
from pathlib import Path

import pytest

import ouvert

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


@pytest.fixture(scope="module")
def generator():
    return runpy.run_path(str(FOLDER / "generate.py"))


@pytest.fixture(scope="module")
def pages(generator):
    return generator["pages"]()


def test_the_reference_is_what_the_docstrings_say(generator, pages):
    there = {str(page.relative_to(FOLDER)): page.read_text(encoding="utf-8") for page in FOLDER.rglob("*.md")}
    now = generator["Writer"](pages).written()
    different = sorted(file for file in there.keys() | now.keys() if there.get(file) != now.get(file))
    assert not different, f"docs/reference: {different} differ from the docstrings. `make reference` writes them anew."


def test_the_reference_describes_what_ouvert_lists_and_every_part(generator):
    described = [name for _, names in generator["SUBJECTS"].values() for name in names.split()]
    assert sorted(described) == ouvert.__all__
    parts = {each.parent.name for each in (FOLDER.parents[1] / "src" / "ouvert").glob("*/__init__.py")}
    assert set(generator["PARTS"]) == parts


# --- what is raised ---------------------------------------------------------------------------------------------------


def says_what_it_raises(text):
    return re.search(r"\braises?\b", text, re.IGNORECASE)


def silent_about_raising(generator, pages):
    """Public functions, methods and properties that do not say what they raise. A class, or a module that is listed as
    a whole, may say it once for all of its methods, properties or functions: "Its methods raise nothing"."""
    text = generator["text_of"]
    for page in pages:
        for _, it in page.items:
            if (it.is_function or is_made(it)) and not says_what_it_raises(
                text(it) + text(it.members.get("__init__", it))
            ):
                yield it.path
            for each in generator["members"](it):
                kind = "functions" if it.is_module else "properties" if each.is_attribute else "methods"
                for_all = re.search(rf"\b{kind}\b[^.]*\braise", re.sub("`.*?`", "", text(it)), re.IGNORECASE)
                if not for_all and not says_what_it_raises(text(each)):
                    yield each.path


def is_made(it):
    """Whether it is a class that does something with what it is made of; plain values only hold it."""
    return it.is_class and "__init__" in it.members and ("dataclass" not in it.labels or "__post_init__" in it.members)


def test_every_public_function_says_what_it_raises(generator, pages):
    silent = list(silent_about_raising(generator, pages))
    assert not silent, f"{silent}: their docstrings do not say what they raise, or that they raise nothing."
