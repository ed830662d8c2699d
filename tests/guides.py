"""The blocks of code in documents, and what is to become of each.

A line before a block that starts with `<!-- not run: ` or `<!-- run by make test-clients: ` says why `make test` does
not run it. Readers of the rendered document do not see it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md")))
ADDRESS = "http://127.0.0.1:11435"  # what the documents call a server that was just started
MARKER = re.compile(r"<!-- (not run|run by make test-clients): (.+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """`line` is that of its first line of code. `run`: "here", "clients" or "never"; `because`: why not here."""

    document: Path
    line: int
    language: str
    code: str
    run: str
    because: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks_of(document: Path) -> Iterator[Block]:
    """Every fenced block of a document, in order."""
    lines = document.read_text(encoding="utf-8").splitlines()
    begin: int | None = None
    for n, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if begin is None:
            begin = n
            continue
        marker = MARKER.fullmatch(lines[begin - 1]) if begin else None
        kind, because = marker.groups() if marker else ("here", "")
        run = {"here": "here", "not run": "never"}.get(kind, "clients")
        code = "\n".join(lines[begin + 1 : n]) + "\n"
        yield Block(document, begin + 2, lines[begin].removeprefix("```"), code, run, because)
        begin = None
    assert begin is None, f"{document}: a block is not closed"


def all_blocks() -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks_of(document)]
