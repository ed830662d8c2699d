"""Suites from files that the owner fetched: a folder is named, its files are read, their digest is held or noted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.language import language_of
from ouvert.evaluation.suites.pinned_files import read_pinned
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.turns import in_turns, wording_at

WORDINGS = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One question as its file has it."""

    id: str
    group: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a suite's files lie, and what is made of them.

    `folders`: in which folders below the named one the files may lie, best first. `pattern`: their names. `read`: name
    and bytes to entries; raises ValueError, KeyError or TypeError for what is of another form. `make`: the item, in
    one of three wordings.
    """

    folders: tuple[str, ...]
    pattern: str
    read: Callable[[str, bytes], list[Entry]]
    make: Callable[[Card, Entry, int], Item]
    scorer: Callable[[Item, Outcome], Score]
    guess: Callable[[Sequence[Item]], Mapping[str, Guess]]


@dataclass(frozen=True)
class FolderSuite:
    """A suite (`Suite`) of such files; groups take turns."""

    card: Card
    path: Path
    source: Source

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        language_of(self.card, language)
        entries = in_turns(self._entries(), seed, lambda entry: entry.id, lambda entry: entry.group)
        groups = len({entry.group for entry in entries})
        return tuple(
            self.source.make(self.card, entry, wording_at(position, WORDINGS, groups))
            for position, entry in enumerate(entries[: max(count, 0)])
        )

    def score(self, item: Item, outcome: Outcome) -> Score:
        if outcome.refused:
            return Score(value=0.0, right=False, note="could not be asked")
        return self.source.scorer(item, outcome)

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        return self.source.guess(items)

    def describe(self) -> Mapping[str, Any]:
        try:
            contents = self._contents()
        except EvaluationError:
            return {"path": str(self.path), "digest": self.card.digest}
        return {"path": str(self.path), "digest": digest_of(contents), "files": len(contents)}

    def _contents(self) -> dict[str, bytes]:
        """The files by name. Raises EvaluationError where there are none, or one is of another digest."""
        places = [self.path] if self.path.is_file() else []
        for folder in self.source.folders:
            places = places or sorted(
                place for place in (self.path / folder).glob(self.source.pattern) if not place.name.startswith(".")
            )
        if not places:
            raise EvaluationError(
                f"reading the suite {self.card.name!r} from {self.path}: there is no {self.source.pattern} in it. "
                f"Get it from {self.card.source}."
            )
        if self.card.digest:
            return {place.name: read_pinned(place, self.card.digest, self.card.source) for place in places[:1]}
        try:
            return {place.name: place.read_bytes() for place in places}
        except OSError as problem:
            raise EvaluationError(f"reading the suite {self.card.name!r} from {self.path}: {problem}") from problem

    def _entries(self) -> list[Entry]:
        entries: list[Entry] = []
        for name, content in self._contents().items():
            try:
                entries += self.source.read(name, content)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
                raise EvaluationError(
                    f"reading {name} of the suite {self.card.name!r} in {self.path}: it is not of the form of "
                    f"{self.card.source} ({type(problem).__name__}: {problem})."
                ) from problem
        return entries


def digest_of(contents: Mapping[str, bytes]) -> str:
    """Of one file its own; of several that of their names and digests. Raises nothing."""
    digests = {name: sha256(content).hexdigest() for name, content in sorted(contents.items())}
    single = next(iter(digests.values())) if len(digests) == 1 else sha256(canonical_json(digests)).hexdigest()
    return "sha256:" + single
