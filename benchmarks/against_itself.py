"""How often a model is called better than itself: the same model, sampled with other seeds, in many comparisons.

    python benchmarks/against_itself.py MODEL [--comparisons 100] [--items 24] [--groups arithmetic-1,syllogisms-2]

Each comparison has its own answers, two to every item of the suite `ladder`, and goes the whole way: a plan, a folder,
`analyse`. A test at 5 % is wrong in about 5 of 100. Scores at the floor are not compared at all, so the tests are
counted with the floors set aside too.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import ouvert
from ouvert.assistant import TextDelta
from ouvert.evaluation import (
    Answered,
    Chat,
    Comparison,
    ContestantFacts,
    Cost,
    Evidence,
    Item,
    Outcome,
    Plan,
    PlannedRow,
    PlannedSuite,
    Scored,
    Suite,
    analyse,
    open_suite,
)
from ouvert.evaluation.evidence import digest_of_items

LABELS = ("one", "other")
SUITE, LANGUAGE, SEED = "ladder", "en", 1
ANSWER_TOKENS = 24


class Part:
    """Some groups of a suite."""

    def __init__(self, whole: Suite, groups: tuple[str, ...]) -> None:
        self.whole, self.groups, self.card = whole, groups, whole.card
        self.score, self.guesses, self.describe = whole.score, whole.guesses, whole.describe

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        many = self.whole.items(language, count * 14, seed)  # 14 steps take turns
        return tuple(item for item in many if item.group in self.groups)[:count]


def plan_of(items: tuple[Item, ...], suite: Part) -> Plan:
    row = PlannedRow(
        row=items[0].row, suite=SUITE, language=LANGUAGE, form="", kind="chat", count=len(items), seed=SEED,
        items=digest_of_items(items), primary=True, purposes=("chat",),
    )  # fmt: skip
    planned = PlannedSuite(
        name=SUITE, scorer=suite.card.scorer, licence=suite.card.licence, source=suite.card.source,
        made=suite.describe(),
    )  # fmt: skip
    facts = tuple(ContestantFacts(label=each, name=each, where="here", identity={"seed": each}) for each in LABELS)
    return Plan(ouvert=ouvert.__version__, written="", seed=SEED, contestants=facts, suites=(planned,), rows=(row,))


def answer(model: ouvert.Model, item: Item, number: int, label: str, temperature: float) -> Answered:
    assert isinstance(item.ask, Chat)
    seed = int.from_bytes(sha256(f"{number} {label} {item.id}".encode()).digest()[:4])
    began = time.perf_counter()
    events = model.chat(
        [dict(each) for each in item.ask.messages], temperature=temperature, seed=seed, max_tokens=ANSWER_TOKENS
    )
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    cost = Cost(whole=time.perf_counter() - began)
    return Answered(
        contestant=label, row=item.row, item=item.id, sample=0, outcome=Outcome(text=text), cost=cost, receipt={}
    )


def comparison_of(
    folder: Path, suite: Part, plan: Plan, answers: list[Answered], items: tuple[Item, ...]
) -> Comparison:
    by_id = {item.id: item for item in items}
    with Evidence.create(folder, plan) as evidence:
        evidence._suites[SUITE] = suite  # a part of a suite has no name in the catalogue
        for each in answers:
            evidence.append_answer(each)
            evidence.append_score(Scored(
                contestant=each.contestant, row=each.row, item=each.item, sample=0, scorer=suite.card.scorer,
                score=suite.score(by_id[each.item], each.outcome),
            ))  # fmt: skip
        return analyse(evidence)


def comparisons(asked: argparse.Namespace, suite: Part) -> Iterator[Comparison]:
    items = suite.items(LANGUAGE, asked.items, SEED)
    plan = plan_of(items, suite)
    questions = [(number, item, label) for number in range(asked.comparisons) for item in items for label in LABELS]
    with ouvert.load(asked.model) as model, ThreadPoolExecutor(16) as pool, tempfile.TemporaryDirectory() as place:
        answers = pool.map(lambda each: answer(model, each[1], each[0], each[2], asked.temperature), questions)
        for number in range(asked.comparisons):
            some = [next(answers) for _ in range(2 * len(items))]
            yield comparison_of(Path(place) / str(number), suite, plan, some, items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--comparisons", type=int, default=100)
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--groups", default="arithmetic-1,syllogisms-2")
    parser.add_argument("--temperature", type=float, default=0.7)
    asked = parser.parse_args()
    suite = Part(open_suite(SUITE), tuple(asked.groups.split(",")))
    found = []
    for number, comparison in enumerate(comparisons(asked, suite), 1):
        [pair] = comparison.pairs
        found.append(pair)
        shares = ", ".join(f"{score.share:.2f}" for score in comparison.rows[0].scores)
        print(f"{number:3} {shares}  {pair.only_first}:{pair.only_second}  p {pair.p:.3f}  {pair.verdict}", flush=True)
    better = sum(pair.verdict in ("first_better", "second_better") for pair in found)
    tests = sum(pair.p_adjusted is not None and pair.p_adjusted <= 0.05 for pair in found)
    print(f"better: {better} of {len(found)}; p at most 0.05, floors set aside: {tests} of {len(found)}")


if __name__ == "__main__":
    main()
