"""Every benchmark and example finds what it imports from us. A script that measures for minutes is not run by tests, so
a name that moved would be noticed only by the person who needs the figure."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [*sorted((ROOT / "benchmarks").rglob("*.py")), *sorted((ROOT / "examples").glob("*.py"))]


def imported_from_us(text):
    """(module, name) of every `from ouvert... import name` in a script."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ouvert":
            yield from ((node.module, each.name) for each in node.names)


def lacking(text):
    return [f"{module}.{name}" for module, name in imported_from_us(text) if not found(module, name)]


def found(module, name):
    if hasattr(import_module(module), name):
        return True
    try:
        import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_script_finds_what_it_imports(script):
    assert not lacking(script.read_text(encoding="utf-8"))


def test_a_name_that_moved_is_noticed():
    assert lacking("from ouvert.engine import LAYOUT_VERSION, Sampling\nfrom ouvert import packed\n") == [
        "ouvert.engine.LAYOUT_VERSION"
    ]
