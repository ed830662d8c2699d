"""Comparisons of scripted contestants, in memory: `compared(rows, contestants)` is what `analyse` finds in them."""

from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

from tests.evaluation.made_up import card

from ouvert.evaluation import Answered, Chat, ContestantFacts, Cost, Item, Likelihood, Outcome, Plan, PlannedRow, Score
from ouvert.evaluation import Text as TextToRead
from ouvert.evaluation.analysis import analyse
from ouvert.evaluation.evidence import Key

ASKS = {
    "chat": Chat(messages=({"role": "user", "content": "?"},), max_tokens=4),
    "likelihood": Likelihood(context="?", choices=(" a", " b", " c", " d")),
    "text": TextToRead(text="été"),
}


@dataclass
class OneRow:
    """A row, and the suite that it is of: right where the text of an outcome is "right"."""

    name: str = "task/en"
    n: int = 60
    kind: str = "chat"
    facts: dict[str, Any] = field(default_factory=dict)  # of every item: a value, or a function of its number
    planned: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    guesses_right: dict[str, Any] = field(default_factory=dict)  # strategy -> whether it is right, by item

    def items(self):
        suite, language, form = [*self.name.split("/"), ""][:3]
        for number in range(self.n):
            facts = {name: each(number) if callable(each) else each for name, each in self.facts.items()}
            facts = {"ask": ASKS[self.kind], "expected": {} if self.kind == "text" else {"text": "right"}, **facts}
            yield Item(suite=suite, id=f"{number:04}", language=language, form=form, **facts)

    def plan(self):
        _suite, language, form = [*self.name.split("/"), ""][:3]
        facts = {"primary": True, "purposes": ("chat",), **self.planned}
        return PlannedRow(
            row=self.name, suite=self.name, language=language, form=form, kind=self.kind, count=self.n, seed=1,
            items="", **facts,
        )  # fmt: skip


class OneSuite:
    def __init__(self, row):
        self.row, self.card = row, card(row.name.split("/")[0], **{"chance": {}, **row.card})

    def score(self, item, outcome):
        return scored(outcome.text == "right")

    def guesses(self, items):
        return {
            name: lambda item, right=right: Outcome(text="right" if right(item) else "wrong")
            for name, right in self.row.guesses_right.items()
        }


class InMemory:
    """What `analyse` needs of Evidence."""

    def __init__(self, rows, contestants, folder):
        self.folder, self.rows, self._answers, self._scores = folder, {row.name: row for row in rows}, [], {}
        facts = [facts_of(label) for label in contestants]
        self.plan = Plan(
            ouvert="0", written="2026-11-30T12:00:00Z", seed=1, contestants=tuple(facts), suites=(),
            rows=tuple(row.plan() for row in rows),
        )  # fmt: skip
        for row in rows:
            for item in row.items():
                for label, contestant in contestants.items():
                    for sample in range(row.planned.get("samples", 1)):
                        self._take(label, item, sample, contestant(item, sample))

    def _take(self, label, item, sample, given):
        if given is None:
            return
        given = given if isinstance(given, tuple) else (given,)
        score = next((each for each in given if isinstance(each, Score)), None)
        outcome = next((each for each in given if isinstance(each, Outcome)), Outcome(reason="stop"))
        cost = next((each for each in given if isinstance(each, Cost)), Cost(whole=1.0))
        receipt = {"connections": {"attempted": 1, "allowed": 0, "denied": 1}}
        self._answers.append(Answered(
            contestant=label, row=item.row, item=item.id, sample=sample, outcome=outcome, cost=cost, receipt=receipt
        ))  # fmt: skip
        if score is not None:
            self._scores[Key(label, item.row, item.id, sample)] = score

    def answers(self):
        return tuple(self._answers)

    def scores(self):
        return self._scores

    def suite(self, name):
        return OneSuite(self.rows[name])

    def items(self, name):
        return tuple(self.rows[name].items())

    def receipts(self):
        return (each.receipt for each in self._answers)

    def lines(self, measure):
        return []


def facts_of(label):
    """Of a label that may be "model:effort", or "elsewhere"."""
    name, _, effort = label.partition(":")
    identity = {"of": label, **({"effort": effort} if effort else {})}
    return ContestantFacts(
        label=label, name=name, where="remote" if label == "elsewhere" else "here", identity=identity
    )


def scored(right, **more):
    return Score(value=float(right), right=bool(right), **more)


def compared(rows, contestants, folder=Path("nowhere")):
    """`contestants`: label -> function of item and sample that gives a Score, and an Outcome and a Cost if they matter;
    None where it has not answered."""
    return analyse(InMemory(rows, contestants, folder))


def drawn(*what):
    """A number from 0 to 1 that these decide."""
    return int.from_bytes(blake2b(repr(what).encode(), digest_size=6).digest()) / 2**48


@cache
def ease(share, row, item):
    return Random(f"{row} {item}").betavariate(4 * share, 4 * (1 - share))


def by_luck(share, seed):
    """A contestant whose answers are drawn: each item has its own chance of being answered right, the same for every
    such contestant, around `share`; `seed` decides what comes of it. Items of a cluster mostly come out alike."""

    def answers(item, sample):
        part = item.cluster if item.cluster and drawn(item.id) < 0.8 else item.id
        return scored(drawn(seed, item.row, part, sample) < ease(share, item.row, item.id))

    return answers


def always(right):
    return lambda item, sample: scored(right(item) if callable(right) else right)


def the_first(count):
    """Right in the first so many items."""
    return always(lambda item: int(item.id) < count)
