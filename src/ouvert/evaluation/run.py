"""The one runner of evaluations: asks what a plan says, keeps every answer at once, and goes on where it was stopped.

The comparison, the release gate and the check that follows tuning use it: `run(evidence, entrants)`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from ouvert.evaluation.analysis.speeds import blocks_of
from ouvert.evaluation.asking import Question, answers_to, seed_of
from ouvert.evaluation.contestants.contestant import Contestant
from ouvert.evaluation.contestants.entrants import Entrant, fit_together
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Evidence, Key, Scored, key_of_answer
from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Answered, Score
from ouvert.evaluation.plan import Plan, PlannedRow
from ouvert.evaluation.speed import Block, Machine, blocks

PARALLEL = 8  # questions asked of one contestant at a time
TURN = 16  # questions of one contestant before the next one's turn, so that a run that is stopped has both


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is. `doing`: "timing" (questions asked alone) or "asking". `seconds_left`: at the speed so far,
    weighed by what the plan foresaw for each row; None while nothing was answered in this session."""

    done: int
    of: int
    doing: str
    row: str
    contestant: str
    seconds_left: float | None


Told = Callable[[Progress], None]


def not_told(progress: Progress) -> None:
    """For whoever does not want to know. Raises nothing."""


def run(
    evidence: Evidence,
    entrants: Sequence[Entrant],
    *,
    progress: Told = not_told,
    known: Sequence[Evidence] = (),
    parallel: int = PARALLEL,
    machine: Machine | None = None,
) -> None:
    """Ask what the plan of `evidence` says and is not answered yet, and score it. `evidence` is open to be written to.

    `entrants` are the plan's contestants, in any order: of the same digests, else EvaluationError says what differs.
    `known`: earlier comparisons; an answer of the same contestant to the same item is taken from there, and says so.
    `progress` is told after every answer. `machine`: what looks at the machine around questions that are timed.

    Killed at any moment, the same call goes on where it was: every answer is on disk before the next is waited for.
    Raises EvaluationError for what cannot be asked, kept or scored; what `Entrant.open` raises. KeyboardInterrupt goes
    through it, with everything that was answered kept.
    """
    require_same(evidence.plan, entrants)
    in_order = sorted(entrants, key=lambda each: evidence.plan.labels.index(each.facts.label))
    session = Session(evidence, progress, parallel, machine or Machine())
    session.take_known(known)
    together = fit_together(in_order)
    for group in [in_order] if together else [[each] for each in in_order]:
        with ExitStack() as opened:
            contestants = {}
            for entrant in group:
                if session.left(entrant.facts.label):
                    contestants[entrant.facts.label] = contestant = entrant.open()
                    opened.callback(contestant.close)
            session.time_alone(contestants, interleaved=len(group) == len(in_order))
            session.ask(contestants)
    score(evidence)
    evidence.seal()


def require_same(plan: Plan, entrants: Sequence[Entrant]) -> None:
    """Raises EvaluationError unless `entrants` are the contestants of the plan, bit for bit."""
    given = {entrant.facts.label: entrant.facts for entrant in entrants}
    if given.keys() != set(plan.labels):
        raise EvaluationError(
            f"running a comparison: {', '.join(sorted(given))} are here, and its plan has {', '.join(plan.labels)}. "
            "Give those."
        )
    for planned in plan.contestants:
        now = given[planned.label]
        if now.digest != planned.digest:
            changed = differing(planned.identity, now.identity)
            raise EvaluationError(
                f"running a comparison: {planned.label} is not what the plan was made for: {changed}. Put back what "
                "was there, or compare anew."
            )


def differing(planned: Mapping[str, object], now: Mapping[str, object], place: str = "") -> str:
    """Where two identities differ first, in words. Raises nothing."""
    for name in sorted({*planned, *now}):
        one, other = planned.get(name), now.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping) and one != other:
            return differing(one, other, f"{place}{name}.")
        if one != other:
            return f"{place}{name} was {one!r:.80} and is {other!r:.80}"
    return "nothing that is written down differs"


@dataclass(slots=True)
class Session:
    """A run from when it is begun or taken up again until it ends."""

    evidence: Evidence
    told: Told
    parallel: int
    machine: Machine
    began: float = field(default_factory=time.monotonic)
    weighed: float = 0.0  # seconds foreseen of what was answered in this session
    weighed_before: float = 0.0  # and of what was answered before it
    _answered: set[Key] = field(init=False)
    _timed: set[tuple[int, str]] = field(init=False)  # block, contestant

    def __post_init__(self) -> None:
        self._answered = {key_of_answer(each) for each in self.evidence.answers()}
        self.weighed_before = sum(self._weight(key.row) for key in self._answered)
        blocks_before = blocks_of(self.evidence.lines("speed"))
        self._timed = {(each.block, label) for each in blocks_before for label, _ in each.order}

    # --- what is left -------------------------------------------------------------------------------------------------

    def questions(self, row: PlannedRow, label: str) -> list[Question]:
        """Those of a row that this contestant has not answered yet."""
        return [
            Question(item, sample)
            for item in self.evidence.items(row.row)
            for sample in range(row.samples)
            if Key(label, row.row, item.id, sample) not in self._answered
        ]

    def left(self, label: str) -> bool:
        """Whether anything is left to ask this contestant."""
        rows = self.evidence.plan.rows
        return bool(self._blocks_left([label])) or any(self.questions(row, label) for row in rows)

    def _blocks_left(self, labels: Sequence[str]) -> list[Block]:
        alone = {row.row: self.evidence.items(row.row)[: row.alone] for row in self.evidence.plan.rows if row.alone}
        return [block for block in blocks(alone) if any((block.number, label) not in self._timed for label in labels)]

    def _weight(self, row: str) -> float:
        return weight(self.evidence.plan.row(row), len(self.evidence.plan.contestants))

    # --- known answers ------------------------------------------------------------------------------------------------

    def take_known(self, known: Sequence[Evidence]) -> None:
        """Take over what was answered before. Questions that are timed are asked all the same."""
        plan = self.evidence.plan
        for earlier in known:
            found = answers_by_question(earlier, plan)
            for row in plan.rows:
                for facts in plan.contestants:
                    for question in self.questions(row, facts.label):
                        digest = question.item.digest
                        if (answered := found.get((facts.digest, digest, question.sample))) is not None:
                            self._keep(replace(answered, contestant=facts.label, row=row.row, item=question.item.id))

    # --- asking -------------------------------------------------------------------------------------------------------

    def time_alone(self, contestants: Mapping[str, Contestant], *, interleaved: bool) -> None:
        """Ask the blocks that are timed: one question at a time, contestants by turns."""
        labels = list(contestants)
        left = self._blocks_left(labels)
        if left:
            self.machine.begin()
        for block in left:
            for label, item in block.order(labels):
                question = Question(item, 0)
                contestant = contestants[label]
                answered = contestant.ask(item, 0, seed_of(self.evidence.plan, contestant.facts, question))
                self._keep(replace(answered, cost=replace(answered.cost, alone=True)))
                self._tell("timing", item, label)
            self.evidence.append("speed", self.machine.end(block, labels, interleaved=interleaved))

    def ask(self, contestants: Mapping[str, Contestant]) -> None:
        """Ask everything else, several questions at a time, contestants by turns."""
        for row in self.evidence.plan.rows:
            left = {label: self.questions(row, label) for label in contestants}
            for label, questions in turns(left):
                for question, answered in answers_to(
                    contestants[label], self.evidence.plan, questions, self.parallel
                ):  # fmt: skip
                    self._keep(answered)
                    self._tell("asking", question.item, label)

    def _keep(self, answered: Answered) -> None:
        self.evidence.append_answer(answered)
        new = key_of_answer(answered) not in self._answered
        self._answered.add(key_of_answer(answered))
        if answered.known:
            self.weighed_before += self._weight(answered.row)
        elif new:
            self.weighed += self._weight(answered.row)

    def _tell(self, doing: str, item: Item, label: str) -> None:
        plan = self.evidence.plan
        contestants = len(plan.contestants)
        every = sum(row.count * row.samples for row in plan.rows) * contestants
        whole = sum(weight(row, contestants) * row.count * row.samples for row in plan.rows) * contestants
        passed = time.monotonic() - self.began
        rest = max(0.0, whole - self.weighed_before - self.weighed)
        left = passed * rest / self.weighed if self.weighed else None
        self.told(Progress(
            done=len(self._answered), of=every, doing=doing, row=item.row, contestant=label, seconds_left=left,
        ))  # fmt: skip


def weight(row: PlannedRow, contestants: int) -> float:
    """Seconds foreseen for one answer of a row. Raises nothing."""
    return max(row.seconds, 1e-3) / (max(row.count, 1) * row.samples * contestants)


def turns(left: Mapping[str, Sequence[Question]]) -> Iterator[tuple[str, Sequence[Question]]]:
    """Some questions of one contestant, then of the next, until none is left. Raises nothing."""
    for at in range(0, max(map(len, left.values()), default=0), TURN):
        for label, questions in left.items():
            if some := questions[at : at + TURN]:
                yield label, some


def answers_by_question(earlier: Evidence, plan: Plan) -> dict[tuple[str, str, int], Answered]:
    """What another comparison knows: by the contestant's digest, the item's digest, and the sample. Raises what
    `Evidence.answers` and `items` raise."""
    digests = {facts.label: facts.digest for facts in earlier.plan.contestants}
    temperatures = {facts.label: facts.identity.get("sampling", {}) for facts in earlier.plan.contestants}
    found = {}
    for answered in earlier.answers():
        draws = temperatures[answered.contestant].get("temperature", 0.0) > 0
        if answered.outcome.reason == "withheld" or (draws and earlier.plan.seed != plan.seed):
            continue
        key = (digests[answered.contestant], earlier.item(answered.row, answered.item).digest, answered.sample)
        cost = replace(answered.cost, alone=False)
        found[key] = replace(answered, cost=cost, known=answered.known or earlier.plan_digest)
    return found


def score(evidence: Evidence) -> int:
    """Score every answer that this version's scorers have not scored; nothing is asked. How many were.

    Raises what `Evidence.items` raises, and EvaluationError where scores cannot be written.
    """
    counted = 0
    scored = {(each.contestant, each.row, each.item, each.sample, each.scorer) for each in evidence.all_scores()}
    for answered in evidence.answers():
        suite = evidence.suite(evidence.plan.row(answered.row).suite)
        key = key_of_answer(answered)
        if (*key, suite.card.scorer) in scored or answered.outcome.reason == "withheld":
            continue
        found = suite.score(evidence.item(answered.row, answered.item), answered.outcome)
        if evidence.plan.suite(suite.card.name).withheld:
            found = replace(found, note="")
        evidence.append_score(line_of(key, suite.card.scorer, found))
        counted += 1
    return counted


def line_of(key: Key, scorer: str, found: Score) -> Scored:
    return Scored(
        contestant=key.contestant, row=key.row, item=key.item, sample=key.sample, scorer=scorer, score=found
    )  # fmt: skip
