"""Functions and files stay short enough to be read in one go; what has to be long is divided by what it is about."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (ROOT / "src" / "ouvert", ROOT / "benchmarks")
NATIVE = sorted(
    each for pattern in ("*.cpp", "*.h") for each in (ROOT / "src" / "ouvert" / "kernels" / "native").glob(pattern)
)

LONGEST_FUNCTION, NINETIETH_PERCENTILE = 60, 23  # lines
LONGEST_FILE, LONGEST_NATIVE_FILE = 500, 700  # lines
MOST_PARAMETERS = 10
# People type these: each parameter is an option of its own, and nothing below them has as many.
TYPED_BY_PEOPLE = {
    "src/ouvert/assistant/model.py: chat",
    "src/ouvert/assistant/load_model.py: load",
    "src/ouvert/causes.py: patch",
    "src/ouvert/evaluation/comparing.py: compare",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions_of(folder):
    """(place, function) of every function in a folder, wherever it stands."""
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
            if isinstance(node, Function):
                yield f"{file.relative_to(ROOT)}: {node.name}", node


def lines_of(function):
    return function.end_lineno - function.lineno + 1


def parameters_of(function):
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


@pytest.mark.parametrize("folder", SOURCES, ids=lambda folder: folder.name)
def test_functions_are_short(folder):
    lengths = sorted((lines_of(function), place) for place, function in functions_of(folder))
    assert [each for each in lengths if each[0] > LONGEST_FUNCTION] == []
    assert lengths[len(lengths) * 9 // 10][0] <= NINETIETH_PERCENTILE


@pytest.mark.parametrize("folder", SOURCES, ids=lambda folder: folder.name)
def test_functions_take_few_parameters(folder):
    many = {place for place, function in functions_of(folder) if parameters_of(function) > MOST_PARAMETERS}
    assert many == (TYPED_BY_PEOPLE if folder.name == "ouvert" else set())


def test_files_are_short():
    python = [file for folder in SOURCES for file in folder.rglob("*.py")]
    limits = {**dict.fromkeys(python, LONGEST_FILE), **dict.fromkeys(NATIVE, LONGEST_NATIVE_FILE)}
    assert len(NATIVE) > 10
    too_long = {
        str(file.relative_to(ROOT)): lines
        for file, most in limits.items()
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > most
    }
    assert too_long == {}
