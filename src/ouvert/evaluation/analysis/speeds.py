"""How fast, and how fast to a right answer: of answers that were asked alone, while the machine held still."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ouvert.evaluation.comparison import Interval, Speed
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Key
from ouvert.evaluation.outcome import Answered, Score
from ouvert.evaluation.statistics import bootstrap_interval, ratio_interval

DRIFT = 0.05  # of the canary, from the run's median: more, and the block says nothing
STEAL = 0.05  # of the processors' time, that another machine of the host took
FEWEST = 4  # answers


@dataclass(frozen=True, slots=True)
class Timed:
    """A block of answers that were asked alone. `still`: the machine did not drift meanwhile."""

    block: int  # its number in the plan
    order: tuple[tuple[str, str], ...]  # contestant, item
    row: str
    interleaved: bool
    still: bool

    def keys_of(self, label: str) -> list[Key]:
        """The contestant's answers in it. Raises nothing."""
        return [Key(label, self.row, item, 0) for contestant, item in self.order if contestant == label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """A contestant's answers that may be figures of speed, with their scores; or why there are none: a key of
    texts/measures."""

    answers: tuple[Answered, ...] = ()
    right: tuple[bool, ...] = ()
    withheld: str = ""


def number_of(line: Mapping[str, Any]) -> int:
    """Raises TypeError for what is no number of a block."""
    if type(line["block"]) is not int:
        raise TypeError(f"the number of a block is {line['block']!r:.40}")
    return int(line["block"])


def blocks_of(lines: Sequence[Mapping[str, Any]]) -> list[Timed]:
    """The blocks of speed.jsonl. Raises EvaluationError for lines that are none."""
    try:
        blocks = [line for line in lines if "block" in line]
        usual = median([look for line in blocks for look in map(float, line["canary"])]) if blocks else 0.0
        return [
            Timed(
                number_of(line), tuple((str(label), str(item)) for label, item in line["order"]), str(line["row"]),
                bool(line["interleaved"]),
                all(abs(float(look) - usual) <= DRIFT * usual for look in line["canary"])
                and float(line.get("steal", 0.0)) <= STEAL,
            )
            for line in blocks
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError, OverflowError) as problem:
        raise EvaluationError(
            f"reading speed.jsonl: {problem!s:.120}, expected blocks as docs/formats/comparison.md has them. The file "
            "is damaged: take it from a copy, or compare again."
        ) from None


def alone_of(
    label: str, blocks: Sequence[Timed], answers: Mapping[Key, Answered], scores: Mapping[Key, Score], *, several: bool
) -> Alone:
    """`several`: other contestants were compared with it. A block in which the machine drifted is left out; where that
    is half of them or more, all are. Raises nothing."""
    own = [block for block in blocks if block.keys_of(label)]
    if not own:
        return Alone(withheld="not_timed")
    if several and not all(block.interleaved for block in own):
        return Alone(withheld="one_after_the_other")
    still = [block for block in own if block.still]
    if 2 * len(still) <= len(own):
        return Alone(withheld="machine_drifted")
    keys = [key for block in still for key in block.keys_of(label) if key in answers and answers[key].cost.alone]
    asked = [key for key in keys if not answers[key].outcome.refused]
    if len(asked) < FEWEST:
        return Alone(withheld="too_few")
    return Alone(
        answers=tuple(answers[key] for key in asked),
        right=tuple(key in scores and scores[key].right for key in asked),
    )


def speeds_of(alone: Mapping[str, Alone]) -> tuple[Speed, ...]:
    """By contestant's label. Raises nothing."""
    first = next((each for each in alone.values() if not each.withheld), None)
    return tuple(speed_of(label, each, first) for label, each in alone.items())


def speed_of(label: str, alone: Alone, first: Alone | None) -> Speed:
    if alone.withheld or first is None:
        return Speed(contestant=label, n=0, withheld=alone.withheld)
    whole = [answer.cost.whole for answer in alone.answers]
    items = [f"{answer.row} {answer.item}" for answer in alone.answers]
    rights = [float(right) for right in alone.right]
    interval, _ = bootstrap_interval(lambda picked: float(median([whole[n] for n in picked])), items)
    visible = [answer.cost.visible for answer in alone.answers if answer.cost.visible is not None]
    written = [answer.cost.output_tokens for answer in alone.answers if answer.cost.output_tokens is not None]
    per_right = sum(whole) / sum(rights) if any(rights) else None
    return Speed(
        contestant=label, n=len(whole), whole=float(median(whole)), whole_interval=interval,
        visible=float(median(visible)) if visible else None, per_right=per_right,
        per_right_interval=finite(ratio_interval(whole, rights, items)) if per_right is not None else None,
        output_tokens=sum(written) / len(written) if written else None,
        reads=rate(alone.answers, "prefill"), writes=rate(alone.answers, "decode"),
        ratio=ratio_to(alone, first),
    )  # fmt: skip


def ratio_to(alone: Alone, first: Alone) -> float | None:
    """The median, over questions, of this contestant's seconds over the first one's. Raises nothing."""
    theirs = {(answer.row, answer.item): answer.cost.whole for answer in first.answers}
    ratios = [
        answer.cost.whole / theirs[answer.row, answer.item]
        for answer in alone.answers
        if theirs.get((answer.row, answer.item))
    ]
    return float(median(ratios)) if ratios else None


def rate(answers: Sequence[Answered], part: str) -> float | None:
    """Tokens a second that were read ("prefill": those that no cache had) or written ("decode"), from the receipts.
    None where these do not say. Raises nothing."""
    tokens = seconds = 0.0
    for answer in answers:
        counts, times = answer.receipt.get("tokens", {}), answer.receipt.get("seconds", {})
        if part not in times:
            return None
        tokens += counts["prompt"] - counts["reused"] if part == "prefill" else max(0, counts["output"] - 1)
        seconds += times[part]
    return tokens / seconds if seconds > 0 and tokens > 0 else None


def finite(interval: Interval) -> Interval | None:
    """None for an interval with an edge that is infinite: nothing right in some resamples. Raises nothing."""
    return interval if math.isfinite(interval.low) and math.isfinite(interval.high) else None
