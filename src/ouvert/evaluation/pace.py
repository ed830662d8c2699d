"""How many seconds a question takes, found before the plan is locked: asked of other questions, or foreseen."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ouvert.evaluation.asking import Question, answers_to
from ouvert.evaluation.contestants.contestant import Contestant
from ouvert.evaluation.contestants.here import Here
from ouvert.evaluation.item import Chat, Item, Likelihood
from ouvert.evaluation.plan import Plan

TRIED = 4  # questions of a row that are asked of a contestant, all at once
SHARE_FOR_TRIALS = 0.15  # of the time that is given
UNKNOWN_SECONDS = 5.0  # for a question to a contestant of which nothing can be foreseen
BYTES_A_TOKEN = 3.5
SHARE_WRITTEN = 0.5  # of the tokens that an answer may have, where nothing was measured


@dataclass(slots=True)
class Pace:
    """Seconds a question, by contestant's label and row; `refused`: why, where all that was tried of a row was refused.
    `by`: how they were found, for the plan."""

    by: str
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)

    def of(self, label: str, row: str) -> float:
        """Of a row that was not measured: as the mean of those that were; of one that is refused: 0. Raises nothing."""
        if (label, row) in self.refused:
            return 0.0
        own = [seconds for (other, _), seconds in self.seconds.items() if other == label]
        return self.seconds.get((label, row), sum(own) / len(own) if own else UNKNOWN_SECONDS)


def tried(contestant: Contestant, plan: Plan, rows: Mapping[str, Sequence[Item]], seconds: float, pace: Pace) -> None:
    """Ask some questions of each row, until `seconds` have passed. They are not those of the plan, and no answer is
    kept. Raises what `Contestant.ask` raises."""
    until = time.monotonic() + seconds
    for row, items in rows.items():
        if time.monotonic() > until:
            break
        questions = [Question(item, 0) for item in items[:TRIED]]
        began = time.monotonic()
        refusals = [answered.outcome.refused for _, answered in answers_to(contestant, plan, questions, TRIED)]
        if refusals and all(refusals):
            pace.refused[contestant.facts.label, row] = refusals[0]
        elif refusals:
            pace.seconds[contestant.facts.label, row] = (time.monotonic() - began) / len(questions)


def foreseen(contestant: Contestant, rows: Mapping[str, Sequence[Item]], pace: Pace) -> None:
    """From a short read and a few tokens written, of a model of this machine; nothing is asked. Raises EngineError."""
    if not isinstance(contestant, Here):
        return
    reads, writes = contestant.token_speeds()
    for row, items in rows.items():
        each = [read / reads + written / writes for read, written in map(tokens_of, items)]
        if each:
            pace.seconds[contestant.facts.label, row] = sum(each) / len(each)


def tokens_of(item: Item) -> tuple[float, float]:
    """(tokens to read, tokens to write), about. Raises nothing."""
    match item.ask:
        case Chat(messages=messages, max_tokens=most):
            return sum(len(str(message)) for message in messages) / BYTES_A_TOKEN, most * SHARE_WRITTEN
        case Likelihood(context=context, choices=choices):
            return sum(len(context) + len(choice) for choice in choices) / BYTES_A_TOKEN, 0
        case _:
            return len(item.ask.text) / BYTES_A_TOKEN, 0
