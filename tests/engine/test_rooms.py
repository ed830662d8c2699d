"""The rooms of the engine import downwards only: never the loop and what it is made of."""

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "src" / "ouvert" / "engine"
# Beside its own files, each room knows these of the engine.
MAY_IMPORT = {
    "constraints": {"interface"},
    "runners": {"interface", "machine", "variant"},
    "prefixes": {"interface", "limits", "variant", "runners.interface"},
    "remote": {"asked", "constraints.grammar", "identity", "interface", "mailbox", "request", "sampler", "variant"},
    "pool": {"asked", "interface", "mailbox", "remote.connection", "remote.member", "variant"},
}


def imported_by(room):
    for file in sorted((ENGINE / room).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ouvert.engine"):
                yield file.name, node.module.removeprefix("ouvert.engine").removeprefix(".")


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(room):
    found = list(imported_by(room))
    assert found
    assert [each for each in found if each[1] not in MAY_IMPORT[room] and not each[1].startswith(room)] == []


def test_every_room_is_in_the_table():
    assert {folder.parent.name for folder in ENGINE.glob("*/__init__.py")} == set(MAY_IMPORT)
