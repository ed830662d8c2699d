"""Examples that were kept apart from training: their loss before and after, and what is answered to their prompts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from ouvert.assistant import EngineError
from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.checking.check_report import SideBySide
from ouvert.evaluation.contestants.contestant import Contestant
from ouvert.evaluation.contestants.entrants import Entrant
from ouvert.evaluation.contestants.here import Here
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Evidence

LOSSES, ANSWERS = "held_out", "examples"  # held_out.jsonl and examples.jsonl: one line an example and contestant
AT_ONCE = 4  # examples that are computed together
MOST_PROMPTS = 10  # that are answered side by side: as many as somebody looks at
ANSWER_TOKENS = 256


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


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt as token ids, and the same in words with the answer that its example has."""

    ids: tuple[int, ...]
    prompt: str
    wanted: str = ""

    @property
    def digest(self) -> str:
        """What its lines name it by. Raises nothing."""
        return "sha256:" + sha256(canonical_json(list(self.ids))).hexdigest()


# --- losses -----------------------------------------------------------------------------------------------------------


def measure_held_out(
    evidence: Evidence, entrants: Sequence[Entrant], examples: Sequence[HeldOut], told: Callable[[int, int, str], None]
) -> None:
    """Measure what held_out.jsonl lacks. `told`: how many are done, of how many, and whose. `evidence` is open to be
    written to. Raises EvaluationError for a contestant that is not computed here, and what cannot be computed or kept.
    """
    known = {(line["contestant"], line["example"]) for line in evidence.lines(LOSSES)}
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
                    evidence.append(LOSSES, line)
                    done += 1
                    told(done, len(entrants) * len(examples), label)
        finally:
            contestant.close()


def losses_of(contestant: Contestant, label: str, examples: Sequence[HeldOut]) -> list[dict[str, Any]]:
    """One line an example: `loss` is the sum over what counts, `tokens` what it is divided by."""
    try:
        found = here(contestant).score_all([each.ids for each in examples])
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
        for line in evidence.lines(LOSSES):
            by_example.setdefault(line["example"], {})[line["contestant"]] = float(line["loss"])
            tokens[line["example"]] = float(line["tokens"])
    except (KeyError, TypeError, ValueError) as problem:
        raise EvaluationError(
            f"reading {evidence.folder / LOSSES}.jsonl: {problem!r:.80}, expected lines with contestant, example, "
            "tokens and loss. The file is damaged: check again."
        ) from None
    labels = set(evidence.plan.labels)
    return [(tokens[name], losses) for name, losses in by_example.items() if losses.keys() == labels]


# --- answers ----------------------------------------------------------------------------------------------------------


def answer_prompts(
    evidence: Evidence, entrants: Sequence[Entrant], prompts: Sequence[Prompted], told: Callable[[int, int, str], None]
) -> None:
    """Answer the first ten prompts where examples.jsonl lacks them. `told` and errors: as `measure_held_out`."""
    asked = prompts[:MOST_PROMPTS]
    known = {(line["contestant"], line["example"]) for line in evidence.lines(ANSWERS)}
    done = 0
    for entrant in entrants:
        label = entrant.facts.label
        left = [each for each in asked if (label, each.digest) not in known]
        done += len(asked) - len(left)
        if not left:
            continue
        contestant = entrant.open()
        try:
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="answering") as pool:
                for line in pool.map(lambda each: answer_to(contestant, label, each), left):  # noqa: B023 - used at once
                    evidence.append(ANSWERS, line)
                    done += 1
                    told(done, len(entrants) * len(asked), label)
        finally:
            contestant.close()


def answer_to(contestant: Contestant, label: str, asked: Prompted) -> dict[str, Any]:
    """One line."""
    try:
        text, ended = here(contestant).go_on(asked.ids, ANSWER_TOKENS)
    except EngineError as problem:
        raise EvaluationError(f"answering a held-out prompt with {label}: {problem}") from problem
    words = {"prompt": asked.prompt, "wanted": asked.wanted, "text": text}
    return {"contestant": label, "example": asked.digest, "ended": ended, **words}


def side_by_side(evidence: Evidence) -> Iterator[SideBySide]:
    """Prompts that both have answered. Raises EvaluationError for lines that are no answers."""
    base, adapted = evidence.plan.labels
    found: dict[str, dict[str, SideBySide]] = {}
    try:
        for line in evidence.lines(ANSWERS):
            words = {name: str(line[name]) for name in ("prompt", "wanted")}
            text, ended = str(line["text"]), bool(line["ended"])
            one = SideBySide(**words, before=text, after=text, ended=(ended, ended))
            found.setdefault(line["example"], {})[line["contestant"]] = one
    except (KeyError, TypeError) as problem:
        raise EvaluationError(
            f"reading {evidence.folder / ANSWERS}.jsonl: {problem!r:.80}, expected lines with contestant, example, "
            "prompt, wanted, text and ended. The file is damaged: check again."
        ) from None
    for both in found.values():
        if base in both and adapted in both:
            before, after = both[base], both[adapted]
            yield replace(before, after=after.after, ended=(before.ended[0], after.ended[1]))


def here(contestant: Contestant) -> Here:
    """Raises EvaluationError for one that is not computed here."""
    if not isinstance(contestant, Here):
        raise EvaluationError(
            f"measuring held-out examples: {contestant.facts.label} is not computed by Ouvert, so that it gives no "
            "log-probabilities; expected a model of this machine. Leave the examples out."
        )
    return contestant
