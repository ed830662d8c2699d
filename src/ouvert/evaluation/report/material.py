"""What a report is made of: what was found, and the questions and answers that it was found in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from ouvert.evaluation.comparison import Comparison, Pair, Row
from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Answered, Outcome, Score
from ouvert.evaluation.published import Published
from ouvert.evaluation.report.document import Link, Who
from ouvert.evaluation.suites.licences import SuiteLicence
from ouvert.evaluation.suites.suite import Card
from ouvert.evaluation.wording import Wording


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One contestant's first answer to an item, and what the suite's present scorer says of it."""

    outcome: Outcome
    score: Score
    seconds: float | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """`items`: by row, in the order in which they were asked. `given`: by contestant, row and item. `answered`: every
    answer with its score. `withheld`: suites
    whose words stay with their owner. `published`: figures of others. `chain`: digest of the last receipt."""

    comparison: Comparison
    cards: Mapping[str, Card]
    items: Mapping[str, Sequence[Item]] = field(default_factory=dict)
    given: Mapping[tuple[str, str, str], Given] = field(default_factory=dict)
    answered: Sequence[tuple[Answered, Score | None]] = ()
    withheld: frozenset[str] = frozenset()
    published: Sequence[Published] = ()
    licences: Sequence[SuiteLicence] = ()
    chain: str = ""
    plan_digest: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(each["label"] for each in self.comparison.contestants)

    @property
    def seed(self) -> int:
        return int(self.comparison.plan.get("seed", 0))

    def where(self, label: str) -> str:
        """ "here", "local" or "remote"."""
        return next(str(each["where"]) for each in self.comparison.contestants if each["label"] == label)

    def who(self, words: Wording, label: str) -> Who:
        leaves = words("word.leaves") if self.where(label) == "remote" else ""
        return Who(label, self.labels.index(label), leaves)

    def title(self, words: Wording, row: Row) -> str:
        """What a row is called: its suite's title, its language, its form."""
        card = self.cards.get(row.suite)
        name = card.title[words.language] if card else row.suite
        return " · ".join([name, *self.parts(words, row)])

    def parts(self, words: Wording, row: Row) -> list[str]:
        language = [words(f"language.{row.language}")] if row.language else []
        return language + ([words(f"form.{row.form}")] if row.form in FORMS else [row.form] if row.form else [])

    def row(self, name: str) -> Row:
        return next(each for each in self.comparison.rows if each.row == name)

    def ordered_rows(self) -> list[Row]:
        """Primaries first, then the rest; each in the plan's order."""
        return sorted(self.comparison.rows, key=lambda each: not each.primary)

    def to_row(self, words: Wording, row: Row) -> Link:
        return Link(self.title(words, row), anchor("score", row.row))

    def drawn(self, row: str, count: int) -> list[Item]:
        """Items of a row by lot: the seed decides, and nothing else does. In the order in which they were asked."""
        items = list(self.items.get(row, ()))
        lot = {each.id: sha256(f"{self.seed}/{row}/{each.id}".encode()).digest() for each in items}
        chosen = sorted(items, key=lambda each: lot[each.id])[:count]
        return [each for each in items if each in chosen]


FORMS = ("letter", "likelihood", "free", "schema", "text")


def anchor(kind: str, *names: str) -> str:
    """The name of a place in the page: of what it is about, in letters that any browser takes in an address."""
    plain = "-".join("".join(each if each.isascii() and each.isalnum() else "-" for each in name) for name in names)
    digest = sha256("\0".join(names).encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{kind}-{plain[:40]}-{digest}"


def pair_anchor(pair: Pair) -> str:
    return anchor("pair", pair.row, pair.first, pair.second)
