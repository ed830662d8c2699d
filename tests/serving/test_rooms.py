"""The rooms of serving: each dialect, looking inside and the page import what all share, and never each other."""

import ast
from pathlib import Path

SERVING = Path(__file__).parents[2] / "src" / "ouvert" / "serving"
ROOMS = {folder.name for folder in SERVING.iterdir() if (folder / "__init__.py").exists()}


def rooms_imported_by(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ouvert.serving"):
            inside = node.module.removeprefix("ouvert.serving").strip(".")
            for name in [inside.partition(".")[0]] if inside else [each.name for each in node.names]:
                if name in ROOMS:
                    yield name


def test_only_the_application_imports_rooms_and_no_room_imports_another():
    assert {
        "agents", "anthropic", "causes", "comparisons", "mcp", "ollama", "openai", "token_ids", "traces",
        "tunings", "web",
    } == ROOMS  # fmt: skip
    for file in SERVING.rglob("*.py"):
        place = file.relative_to(SERVING).parts
        own = {place[0]} if len(place) > 1 else set()
        others = set(rooms_imported_by(file)) - own
        # What the part lists of batches that need no server is in the room of the dialect they are written in; what a
        # comparison is opened with, in its own.
        allowed = {("app.py",): ROOMS, ("__init__.py",): {"openai", "comparisons", "tunings"}}
        assert others == allowed.get(place, set()), file
