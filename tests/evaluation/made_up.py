"""Made-up suites, contestants and comparisons, for tests of whatever reads a comparison.

with made_up_suites(monkeypatch): ...          # "sums" and "choices" are in the catalogue
evidence = made_up_comparison(folder)          # answered and scored, open to be read
"""

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from ouvert.evaluation import (
    Answered,
    Card,
    Chat,
    ContestantFacts,
    Cost,
    Entrant,
    Evidence,
    Item,
    Likelihood,
    Outcome,
    Plan,
    PlannedRow,
    PlannedSuite,
    Score,
    Scored,
)
from ouvert.evaluation.evidence import digest_of_items, items_of_row
from ouvert.evaluation.speed import Machine
from ouvert.evaluation.suites import catalog

TEXT = {"en": "made up", "fr": "inventé"}
LETTERS = "ABCD"


def card(name, **changes):
    facts = Card(
        name=name, module=f"made_up_{name}", kind="generated", title=TEXT, what=TEXT, source="tests",
        licence="Apache-2.0", languages=("en", "fr"), forms=("",), asks=("chat",), chance={"": None},
        scorer=f"{name}-1", cluster=TEXT, contamination=TEXT, small_models=TEXT,
    )  # fmt: skip
    return replace(facts, **changes)


class Sums:
    """What is a + b? Two steps, "easy" and "hard"; two items of each make a cluster; three wordings."""

    def __init__(self, own_card: Card | None = None) -> None:
        self.card = own_card or card("sums")

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        return tuple(self._item(language, n, seed) for n in range(count))

    def _item(self, language: str, n: int, seed: int) -> Item:
        drawn = sha256(f"{seed} {n}".encode()).digest()
        group = ("easy", "hard")[n % 2]
        a, b = drawn[0] % 9 + 1, drawn[1] % 9 + 1
        words = ("What is {} + {}?", "{} + {} =", "Add {} and {}.")[n % 3]
        ask = Chat(messages=({"role": "user", "content": words.format(a, b)},), max_tokens=8)
        return Item(
            suite=self.card.name, id=f"{n:04}", language=language, ask=ask, expected={"sum": a + b}, group=group,
            cluster=f"pair {n // 2}", wording=n % 3,
        )  # fmt: skip

    def score(self, item: Item, outcome: Outcome) -> Score:
        right = outcome.text.strip() == str(item.expected["sum"])
        return Score(value=float(right), right=right, malformed=not outcome.text.strip().isdigit())

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Callable[[Item], Outcome]]:
        return {"always 10": lambda item: Outcome(text="10", reason="stop")}

    def describe(self):
        return {"version": 1}


class Choices:
    """One of four, as a letter and by likelihood."""

    def __init__(self, own_card: Card | None = None) -> None:
        own = {"forms": ("letter", "likelihood"), "asks": ("chat", "likelihood"), "languages": ("en",)}
        self.card = own_card or card("choices", chance={"letter": 0.25, "likelihood": 0.25}, **own)

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        return tuple(item for n in range(count) for item in self._forms(language, n, seed))

    def _forms(self, language: str, n: int, seed: int):
        at = sha256(f"{seed} {n}".encode()).digest()[0] % 4
        common = {
            "suite": "choices",
            "id": f"{n:04}",
            "language": language,
            "expected": {"index": at, "letter": LETTERS[at]},
        }
        asked = ({"role": "user", "content": f"Question {n}. A, B, C or D?"},)
        yield Item(ask=Chat(messages=asked, max_tokens=4), form="letter", **common)
        choices = tuple(f" choice {letter}" for letter in LETTERS)
        yield Item(ask=Likelihood(context=f"Question {n}.", choices=choices), form="likelihood", **common)

    def score(self, item: Item, outcome: Outcome) -> Score:
        if item.form == "letter":
            chosen = LETTERS.find(outcome.text.strip()[:1]) if outcome.text.strip() else -1
        else:
            chosen = max(range(4), key=lambda n: outcome.logprobs[n]) if len(outcome.logprobs) == 4 else -1
        right = chosen == item.expected["index"]
        taken = LETTERS[chosen] if chosen >= 0 else ""
        return Score(value=float(right), right=right, malformed=chosen < 0, chosen=taken)

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Callable[[Item], Outcome]]:
        def always(letter: int) -> Callable[[Item], Outcome]:
            likely = tuple(0.0 if n == letter else -1.0 for n in range(4))
            return lambda item: Outcome(text=LETTERS[letter], logprobs=likely, reason="stop")

        return {f"always {letter}": always(n) for n, letter in enumerate(LETTERS)}

    def describe(self):
        return {"version": 1}


SUITES = {"sums": Sums, "choices": Choices}


def made_up_suites(monkeypatch, **more: Callable[[], object]) -> None:
    """The catalogue has these suites and no others: "sums", "choices", and `more` (name -> what makes it)."""
    made = {**SUITES, **more}
    for name, suite in made.items():
        module = types.ModuleType(f"ouvert.evaluation.suites.made_up_{name}")
        module.suite = lambda own_card, suite=suite: suite()
        monkeypatch.setitem(sys.modules, module.__name__, module)
    all_cards = {name: replace(suite().card, name=name, module=f"made_up_{name}") for name, suite in made.items()}
    monkeypatch.setattr(catalog, "cards", lambda: types.MappingProxyType(all_cards))


class Scripted:
    """A contestant that gets an item right where `knows(item, sample)` says so; no model behind it.

    `seconds`: what each answer is said to have taken. `letter`: what it says where it does not know.
    """

    def __init__(
        self, label: str, knows: Callable[[Item, int], bool], seconds: float = 1.0, letter: str = "A", **facts: object
    ) -> None:
        self.facts = ContestantFacts(
            label=label, name=label, where="here", identity={"made_up": label}, tokenizer="sha256:made-up", **facts
        )
        self.knows, self.seconds, self.letter = knows, seconds, letter
        self.asked: list[tuple[str, str, int]] = []
        self.closed = False

    def ask(self, item: Item, sample: int, seed: int) -> Answered:
        self.asked.append((item.row, item.id, sample))
        return Answered(
            contestant=self.facts.label,
            row=item.row,
            item=item.id,
            sample=sample,
            outcome=self.outcome(item, self.knows(item, sample)),
            cost=Cost(
                whole=self.seconds, first=self.seconds / 4, visible=self.seconds / 2, prompt_tokens=20, output_tokens=4
            ),
            receipt={"connections": {"attempted": 0, "allowed": 0, "denied": 0}},
        )

    def outcome(self, item: Item, right: bool) -> Outcome:
        if isinstance(item.ask, Likelihood):
            best = item.expected["index"] if right else (item.expected["index"] + 1) % 4
            return Outcome(logprobs=tuple(-1.0 if n == best else -2.0 for n in range(len(item.ask.choices))))
        if "index" in item.expected:
            text = LETTERS[item.expected["index"]] if right else self.letter
        else:
            text = str(item.expected["sum"] + (0 if right else 1))
        return Outcome(text=text, reason="stop", ids=tuple(text.encode()))

    def close(self) -> None:
        self.closed = True


def entrants(*contestants: Scripted) -> list[Entrant]:
    """Who can be given to `run`."""
    return [Entrant(facts=each.facts, open=lambda each=each: each) for each in contestants]


def still_machine() -> Machine:
    """A machine on which nothing happens, looked at in no time."""
    return Machine(look=lambda: 100.0, ticks=lambda: (0, 0))


def luck(label: str, share: float) -> Callable[[Item, int], bool]:
    """Right in about that share of the items, the same ones every time."""

    def knows(item: Item, sample: int) -> bool:
        drawn = sha256(f"{label} {item.row} {item.id} {sample}".encode()).digest()
        return int.from_bytes(drawn[:4]) < share * 2**32

    return knows


def made_up_plan(contestants: Sequence[Scripted], counts: Mapping[str, int], seed: int = 1, samples: int = 1) -> Plan:
    """`counts`: items by row, "sums/en" or "choices/en/letter"."""
    rows = []
    for row, count in counts.items():
        name, language, form = [*row.split("/"), ""][:3]
        suite = SUITES[name]()
        kind = "likelihood" if form == "likelihood" else "chat"
        planned = PlannedRow(
            row=row, suite=name, language=language, form=form, kind=kind, count=count, seed=seed, items="",
            samples=samples, primary=row == next(iter(counts)),
            purposes=("maths",) if name == "sums" else ("knowledge",),
        )  # fmt: skip
        rows.append(replace(planned, items=digest_of_items(items_of_row(suite, planned))))
    suites = [
        PlannedSuite(name=name, scorer=f"{name}-1", licence="Apache-2.0", source="tests", made={"version": 1})
        for name in dict.fromkeys(row.suite for row in rows)
    ]
    return Plan(
        ouvert="0", written="2026-11-30T12:00:00Z", seed=seed, contestants=tuple(each.facts for each in contestants),
        suites=tuple(suites), rows=tuple(rows), languages=("en",), purposes=("maths", "knowledge"),
    )  # fmt: skip


COUNTS = {"sums/en": 40, "choices/en/letter": 40, "choices/en/likelihood": 40}


def made_up_comparison(
    folder: Path,
    contestants: Sequence[Scripted] | None = None,
    counts: Mapping[str, int] = COUNTS,
    seed: int = 1,
    samples: int = 1,
) -> Evidence:
    """A comparison of two contestants (right in 80 and in 40 of 100), every item answered and scored, open to be read.
    The catalogue has to have the made-up suites."""
    both = contestants or (Scripted("strong", luck("strong", 0.8)), Scripted("weak", luck("weak", 0.4), seconds=0.5))
    with Evidence.create(folder, made_up_plan(both, counts, seed, samples)) as evidence:
        for planned in evidence.plan.rows:
            suite = evidence.suite(planned.suite)
            for item in evidence.items(planned.row):
                for each in both:
                    for sample in range(samples):
                        answered = each.ask(item, sample, seed)
                        evidence.append_answer(answered)
                        score = suite.score(item, answered.outcome)
                        evidence.append_score(Scored(
                            contestant=each.facts.label, row=item.row, item=item.id, sample=sample,
                            scorer=suite.card.scorer, score=score,
                        ))  # fmt: skip
        evidence.seal()
    return Evidence.open(folder)
