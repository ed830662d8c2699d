"""The loss of examples that were kept apart, before and after: whether anything was learnt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ouvert.assistant import EngineError
from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.contestants.entrants import Entrant
from ouvert.evaluation.contestants.here import Here
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Evidence

MEASURE = "held_out"  # held_out.jsonl: one line an example and contestant
AT_ONCE = 4  # examples that are computed together


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One example: token ids, and what the log-probability of each counts (0 where nothing is learnt; the first is 0).

    Making one raises ValueError for lists that do not fit each other.
    """

    ids: tuple[int, ...]
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.counts) or len(self.ids) < 2 or self.counts[0] != 0 or not any(self.counts):
            raise ValueError(
                f"making a held-out example: {len(self.ids)} ids and {len(self.counts)} counts, expected as many, two "
                "at least, with a first that counts nothing and one that does."
            )

    @property
    def digest(self) -> str:
        """What its lines name it by. Raises nothing."""
        return "sha256:" + sha256(canonical_json([self.ids, self.counts])).hexdigest()


def measure_held_out(
    evidence: Evidence, entrants: Sequence[Entrant], examples: Sequence[HeldOut], told: Callable[[int, int, str], None]
) -> None:
    """Measure what held_out.jsonl lacks. `told`: how many are done, of how many, and whose. `evidence` is open to be
    written to. Raises EvaluationError for a contestant that is not computed here, and what cannot be computed or kept.
    """
    known = {(line["contestant"], line["example"]) for line in evidence.lines(MEASURE)}
    done = 0
    for entrant in entrants:
        label = entrant.facts.label
        left = [each for each in examples if (label, each.digest) not in known]
        done += len(examples) - len(left)
        if not left:
            continue
        contestant = entrant.open()
        try:
            for at in range(0, len(left), AT_ONCE):
                for line in losses_of(contestant, label, left[at : at + AT_ONCE]):
                    evidence.append(MEASURE, line)
                    done += 1
                    told(done, len(entrants) * len(examples), label)
        finally:
            contestant.close()


def losses_of(contestant: Any, label: str, examples: Sequence[HeldOut]) -> list[dict[str, Any]]:
    """One line an example: `loss` is the sum over what counts, `tokens` what it is divided by."""
    if not isinstance(contestant, Here):
        raise EvaluationError(
            f"measuring held-out examples: {label} is not computed by Ouvert, so that it gives no log-probabilities; "
            "expected a model of this machine. Leave the examples out."
        )
    try:
        found = contestant.score_all([each.ids for each in examples])
    except EngineError as problem:
        raise EvaluationError(f"measuring held-out examples with {label}: {problem}") from problem
    return [
        {
            "contestant": label,
            "example": each.digest,
            "tokens": sum(each.counts),
            "loss": -sum(count * logprob for count, logprob in zip(each.counts[1:], logprobs, strict=True)),
        }
        for each, logprobs in zip(examples, found, strict=True)
    ]


def pairs_of(evidence: Evidence) -> list[tuple[float, Mapping[str, float]]]:
    """(tokens, loss by contestant) of every example that both have. Raises EvaluationError for lines that are none."""
    by_example: dict[str, dict[str, float]] = {}
    tokens: dict[str, float] = {}
    try:
        for line in evidence.lines(MEASURE):
            by_example.setdefault(line["example"], {})[line["contestant"]] = float(line["loss"])
            tokens[line["example"]] = float(line["tokens"])
    except (KeyError, TypeError, ValueError) as problem:
        raise EvaluationError(
            f"reading {evidence.folder / MEASURE}.jsonl: {problem!r:.80}, expected lines with contestant, example, "
            "tokens and loss. The file is damaged: check again."
        ) from None
    labels = set(evidence.plan.labels)
    return [(tokens[name], losses) for name, losses in by_example.items() if losses.keys() == labels]
