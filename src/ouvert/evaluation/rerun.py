"""Whether a comparison comes out the same again: bit for bit, answer by answer, or where it first does not."""

from dataclasses import dataclass

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.evidence import WITHHELD, Evidence, key_of_answer
from ouvert.evaluation.outcome import Answered, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first answer that came out otherwise, with both outcomes."""

    contestant: str
    row: str
    item: str
    sample: int
    first: Outcome
    again: Outcome

    @property
    def where(self) -> str:
        """The field that differs, and what stands there in each. Raises nothing."""
        for name in ("refused", "ids", "text", "thoughts", "calls", "reason", "logprobs"):
            one, other = getattr(self.first, name), getattr(self.again, name)
            if one != other:
                at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
                place = f" from place {min(len(one), len(other)) if at is None else at}"
                return f"{name}{place}: {self.first.text!r:.300} and {self.again.text!r:.300}"
        return "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What comparing two folders of one plan found. `same` answers are equal, bit for bit; `apart` are not, the first
    of them is `first`; `missing` are in one folder only; `unpromised` are of contestants that do not promise it, of
    which `drifted` came out otherwise; `unread`: their words are withheld."""

    same: int
    apart: int
    missing: int
    unpromised: int
    drifted: int
    unread: int
    first: Difference | None

    @property
    def holds(self) -> bool:
        """Whether nothing that is promised came out otherwise, and something was held together. Raises nothing."""
        return not self.apart and not self.missing and self.same + self.unpromised > 0


def compare_outcomes(before: Evidence, after: Evidence) -> Again:
    """Hold the answers of two folders together. Raises what `Evidence.answers` raises."""
    first = {key_of_answer(each): each for each in before.answers()}
    again = {key_of_answer(each): each for each in after.answers()}
    replays = {facts.label: facts.replays for facts in before.plan.contestants}
    both = [(first[key], again[key]) for key in first if key in again]
    promised = [pair for pair in both if replays[pair[0].contestant]]
    others = [pair for pair in both if not replays[pair[0].contestant]]
    unread = [pair for pair in promised if WITHHELD in (pair[0].outcome.reason, pair[1].outcome.reason)]
    apart = [pair for pair in promised if pair not in unread and not is_same(*pair)]
    return Again(
        same=len(promised) - len(unread) - len(apart),
        apart=len(apart),
        missing=len(first.keys() ^ again.keys()),
        unpromised=len(others),
        drifted=sum(not is_same(*pair) for pair in others),
        unread=len(unread),
        first=difference(*apart[0]) if apart else None,
    )


def is_same(one: Answered, other: Answered) -> bool:
    """Whether two outcomes are equal, bit for bit. Raises nothing."""
    return canonical_json(one.outcome) == canonical_json(other.outcome)


def difference(one: Answered, other: Answered) -> Difference:
    """Raises nothing."""
    return Difference(
        contestant=one.contestant, row=one.row, item=one.item, sample=one.sample, first=one.outcome, again=other.outcome
    )
