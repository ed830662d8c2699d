"""The lines of the graph that a view is of: what is shown is what is computed, down to its source."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import ouvert
from ouvert.models import Model


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines `first` to `last` (both included, from 1) of a file of this package, and their text."""

    file: str
    first: int
    last: int
    text: str


@dataclass(frozen=True, slots=True)
class How:
    """How a view is computed: in one sentence, and the lines of the family's graph that compute what it shows."""

    says: str
    lines: tuple[Lines, ...]


def lines_with(model: Model, *marks: str) -> tuple[Lines, ...]:
    """The statements of the model's graph in which one of these marks stands, neighbours together. Raises nothing."""
    graph = import_module(model.family.forward.__module__)
    file = Path(inspect.getsourcefile(graph) or "")
    source = file.read_text(encoding="utf-8").splitlines()
    name = next((file.relative_to(root).as_posix() for root in map(Path, ouvert.__path__) if root in file.parents), "")
    numbers = [n for n, line in enumerate(source, 1) if any(mark in line for mark in marks)]
    return tuple(
        Lines(f"ouvert/{name}", first, last, "\n".join(source[first - 1 : last])) for first, last in runs(numbers)
    )


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(first, last) of each run of neighbouring numbers."""
    start = 0
    for n in range(1, len(numbers) + 1):
        if n == len(numbers) or numbers[n] != numbers[n - 1] + 1:
            yield numbers[start], numbers[n - 1]
            start = n
