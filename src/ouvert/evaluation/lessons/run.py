"""The comparison that lessons are filled from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ouvert.evaluation.analysis import analyse
from ouvert.evaluation.comparison import Comparison, Pair, Row, RowScore
from ouvert.evaluation.evidence import Evidence
from ouvert.evaluation.lessons.filled import MissingError
from ouvert.evaluation.suites.catalog import cards
from ouvert.evaluation.wording import Language, Wording


@dataclass(frozen=True, slots=True)
class Run:
    """What was found, and the folder where it stands."""

    comparison: Comparison
    evidence: Evidence

    @classmethod
    def of(cls, evidence: Evidence) -> "Run":
        """Raises what `analyse` raises."""
        return cls(analyse(evidence), evidence)

    @property
    def folder(self) -> str:
        """As it is typed in the folder beside it. Raises nothing."""
        return Path(self.evidence.folder).resolve().name

    @property
    def labels(self) -> tuple[str, ...]:
        """The contestants, in the order of the plan. Raises nothing."""
        return tuple(str(facts["label"]) for facts in self.comparison.contestants)

    def place(self, label: str) -> int:
        """A contestant's place in the comparison, which decides its colour. Raises nothing for one of `labels`."""
        return self.labels.index(label)

    def row(self, name: str) -> Row:
        """The row of that name. Raises KeyError for one that there is not."""
        return {row.row: row for row in self.comparison.rows}[name]

    def title(self, row: Row, language: Language) -> str:
        """What people call a row: the suite's title, and how it was asked. Raises nothing."""
        card = cards().get(row.suite)
        named = row.suite if card is None else card.title[language]
        form = Wording("report", language)(f"form.{row.form}") if row.form else ""
        told = ", ".join(part for part in (row.language if row.language != language else "", form) if part)
        return f"{named} ({told})" if told else named

    def pair_to_tell(self) -> Pair:
        """The pair that lessons about luck tell of: right or wrong, a primary one before others, the one with most
        items. Raises MissingError where there is none."""
        graded = {row.row for row in self.comparison.rows if row.graded}
        primary = {row.row for row in self.comparison.rows if row.primary}
        fit = [pair for pair in self.comparison.pairs if pair.row not in graded and pair.n >= 5]
        if not fit:
            raise MissingError("pair")
        return max(fit, key=lambda pair: (pair.verdict != "floor", pair.row in primary, pair.n))

    def rights(self, row: str, label: str) -> list[bool]:
        """Right or wrong, in the order of asking, for the first answer to each item. Raises what `Evidence` raises."""
        scores = self.evidence.scores()
        found = {key.item: score.right for key, score in scores.items()
                 if key.row == row and key.contestant == label and key.sample == 0}  # fmt: skip
        return [found[item.id] for item in self.evidence.items(row) if item.id in found]

    def scores_of(self, row: Row) -> Mapping[str, RowScore]:
        """By contestant. Raises nothing."""
        return {score.contestant: score for score in row.scores}

    def pairs_of_languages(self) -> Iterator[tuple[str, str]]:
        """(contestant, reference) of every damage that was measured in both English and French. Raises nothing."""
        seen = {(damage.contestant, damage.reference, damage.language) for damage in self.comparison.damages}
        for one, other in combinations(sorted(seen), 2):
            if one[:2] == other[:2] and {one[2], other[2]} == {"en", "fr"}:
                yield one[0], one[1]
