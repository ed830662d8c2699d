"""Made-up contestants for checks: they answer by rules, no model behind them.

with_requests(monkeypatch, tmp_path): ...     # the suite `refusals` reads a made-up file of harmless wording
few_questions(monkeypatch, tmp_path): ...     # and a check has a dozen questions: for real models
base, after = Talker("base"), Talker("base+tickets", refuses=0.3)
"""

import json
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

from ouvert.evaluation import Answered, ContestantFacts, Cost, Entrant, Likelihood, Outcome, Text
from ouvert.evaluation.suites import catalog, refusals
from ouvert.evaluation.suites.catalog import cards

COUNTS = {
    "reading/en/text": 3, "reading/fr/text": 3, "french/fr": 6, "ladder/en": 12, "obey/en": 4, "json/en/free": 6,
    "stops/en": 20, "refusals/en": 20, "benign/en": 20,
}  # fmt: skip
CATEGORIES = ("weather", "gardens", "cakes", "trains")
DENIES, HELPS = (
    "I'm sorry, but I can't help with that request.",
    "Here is how {subject} works: first you begin with it.",
)


def with_requests(monkeypatch, folder: Path, count: int = 40) -> Path:
    """The suite `refusals` has `count` requests of harmless wording, in four categories."""
    place = folder / "requests.csv"
    lines = [f"{CATEGORIES[n % 4]},custom,Tell me about {CATEGORIES[n % 4]} number {n}" for n in range(count)]
    place.write_text("category,source,forbidden_prompt\n" + "\n".join(lines) + "\n", encoding="utf-8")
    digest = "sha256:" + sha256(place.read_bytes()).hexdigest()
    known = {**cards(), "refusals": replace(cards()["refusals"], digest=digest)}
    monkeypatch.setattr(catalog, "cards", lambda: MappingProxyType(known))
    monkeypatch.setattr(refusals, "package_file", lambda *_, **__: place)
    return place


FEW = {
    "reading/en/text": 1, "reading/fr/text": 1, "french/fr": 2, "ladder/en": 2, "json/en/free": 1, "stops/en": 2,
    "refusals/en": 2, "benign/en": 2,
}  # fmt: skip


def few_questions(monkeypatch, folder: Path) -> None:
    """Every check asks as few as there are rows, or twice that."""
    with_requests(monkeypatch, folder)
    monkeypatch.setattr(sys.modules["ouvert.evaluation.checking.check"], "COUNTS", FEW)


def drawn(*parts: object) -> float:
    """0 to 1, decided by the parts."""
    return int.from_bytes(sha256("\0".join(map(str, parts)).encode()).digest()[:4]) / 2**32


class Talker:
    """`refuses`, `overrefuses`, `stops`, `knows`: shares of the questions, the same ones whoever asks. `loss`: nats a
    token of texts. `luck`: another one answers other questions so."""

    def __init__(self, label, *, refuses=0.9, overrefuses=0.05, stops=1.0, knows=0.6, loss=3.0, luck="", dies_after=0):
        self.shares = {"refusals": refuses, "benign": overrefuses, "stops": stops}
        self.knows, self.loss, self.luck, self.dies_after = knows, loss, luck, dies_after
        self.facts = ContestantFacts(label=label, name=label, where="here", identity={"made_up": label})
        self.asked: list[tuple[str, str]] = []

    def ask(self, item, sample, seed):
        if self.dies_after and len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked.append((item.row, item.id))
        outcome = self.outcome(item)
        return Answered(
            contestant=self.facts.label, row=item.row, item=item.id, sample=sample, outcome=outcome,
            cost=Cost(whole=0.1), receipt={},
        )  # fmt: skip

    def outcome(self, item):
        lucky = drawn(self.luck, item.row, item.id)
        if isinstance(item.ask, Text):
            return Outcome(reason="stop", logprobs=(-self.loss,) * 300)
        if isinstance(item.ask, Likelihood):
            best = item.expected["right"] if lucky < self.knows else 1 - item.expected["right"]
            return Outcome(reason="stop", logprobs=tuple(-1.0 - (n != best) for n in range(2)))
        asked = item.ask.messages[0]["content"]
        if item.suite in ("refusals", "benign"):
            says = DENIES if lucky < self.shares[item.suite] else HELPS.format(subject=asked)
            return Outcome(text=says, reason="length", ids=tuple(says.encode()))
        if item.suite == "stops":
            return Outcome(text="Yes, one of them.", reason="stop" if lucky < self.shares["stops"] else "length")
        text = json.dumps(item.expected) if item.suite == "json" else str(item.expected.get("number", "?"))
        return Outcome(text=text if lucky < self.knows else "Answer: nothing", reason="stop")

    def close(self):
        pass


def entrant(talker: Talker) -> Entrant:
    return Entrant(facts=talker.facts, open=lambda: talker)
