"""What fewer bits cost: how far a model's next-token probabilities are from a reference's, over the same texts.

    divergence   KL(reference || contestant) of the next token, in nats, over the whole vocabulary (Kullback and
                 Leibler, On information and sufficiency, 1951)
    flips        places where another token is the likeliest
    change       log-probability of the token that stands there, contestant's minus reference's, in nats

Both models are in memory and read the same tokens; nothing is cut off the vocabulary, so nothing is a bound. A text is
read in windows: WINDOW tokens that count, behind up to BEFORE tokens of the same text that do not. Windows are what
intervals resample, since tokens within one are not independent. `inspection`'s microscope has the same formula for
layers; the two parts may not import each other, and it is one line.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ouvert.assistant import Model
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Text
from ouvert.evaluation.suites.catalog import open_suite

WINDOW, BEFORE = 128, 128  # tokens
SUITE = "reading"  # pages that no older model has read, the same in both languages
ALL = 1_000_000  # pages
ROWS_AT_ONCE = 16  # float64 of two models and their difference, at a vocabulary of 200,000: 80 MB
PLAIN_BITS = 15.5  # a weight: with fewer a reference was rounded itself
LANGUAGES = ("en", "fr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Tokens that count, `ids[start:]`, behind those that are read before them. `number`: of its text, from 0."""

    language: str
    text: str
    number: int
    ids: tuple[int, ...]
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowDamage:
    """One line of damage.jsonl. `divergence`, `flips` and `change` are sums over `tokens`."""

    contestant: str
    reference: str
    language: str
    text: str
    window: int
    tokens: int
    divergence: float
    flips: int
    change: float

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Which window of whom. Raises nothing."""
        return self.contestant, self.language, self.text, self.window


def windows(model: Model, languages: Sequence[str] = LANGUAGES) -> Iterator[Window]:
    """The windows of our pages as this model's tokenizer cuts them. Raises what `Model.tokenize` raises."""
    suite = open_suite(SUITE)
    for language in languages:
        for item in suite.items(language, ALL, 0):
            if isinstance(item.ask, Text):
                yield from windows_of(language, item.id, model.text_ids(item.ask.text))


def windows_of(language: str, text: str, ids: Sequence[int]) -> Iterator[Window]:
    """The windows of a text: every token counts once, but for the first, which stands behind nothing."""
    for number, start in enumerate(range(1, len(ids), WINDOW)):
        first = max(0, start - BEFORE)
        yield Window(
            language=language,
            text=text,
            number=number,
            ids=tuple(ids[first : start + WINDOW]),
            start=start - first,
        )


def require_same_tokens(contestant: Model, reference: Model) -> None:
    """Raises EvaluationError for models whose tokens differ: their probabilities are of different things."""
    one, other = contestant.tokenizer, reference.tokenizer
    same = one.digest == other.digest or (
        one.vocabulary_size == other.vocabulary_size
        and all(one.token_bytes(n) == other.token_bytes(n) for n in range(one.vocabulary_size))
    )
    if not same or contestant.engine.vocabulary_size != reference.engine.vocabulary_size:
        raise EvaluationError(
            f"measuring the damage of {contestant.info.name} beside {reference.info.name}: their tokens differ, "
            "expected one vocabulary. Name precisions of one model, and compare others without --damage."
        )


def damage_of(contestant: Model, reference: Model, window: Window) -> dict[str, Any]:
    """The sums of one window. Raises EngineError where it cannot be computed, and where another program computes."""
    ids = list(window.ids)
    rows = [model.logits(ids[:-1], start=window.start - 1) for model in (reference, contestant)]
    followed = ids[window.start :]
    divergence = change = 0.0
    flips = 0
    for first in range(0, len(followed), ROWS_AT_ONCE):
        part = slice(first, first + ROWS_AT_ONCE)
        (shares, expected), (_, given) = (shares_and_logs(each[part]) for each in rows)
        divergence += float((shares * (expected - given)).sum())
        flips += int((expected.argmax(axis=1) != given.argmax(axis=1)).sum())
        own = np.arange(len(expected)), followed[part]
        change += float((given[own] - expected[own]).sum())
    if not np.isfinite((divergence, change)).all():
        raise EvaluationError(
            f"measuring the damage of {contestant.info.name}, {window.language} {window.text}, window {window.number}: "
            f"KL is {divergence}, expected a finite number. Check the weights: `ouvert show --check`."
        )
    return {"tokens": len(followed), "divergence": divergence, "flips": flips, "change": change}


def shares_and_logs(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities and their natural logarithms, float64 (tokens, vocabulary)."""
    logs = logits.astype(np.float64)
    logs -= logs.max(axis=1, keepdims=True)
    shares = np.exp(logs)
    total = shares.sum(axis=1, keepdims=True)
    shares /= total
    logs -= np.log(total)
    return shares, logs


def measure_damage(
    label: str,
    contestant: Model,
    reference_label: str,
    reference: Model,
    found: Callable[[WindowDamage, int, int], None],
    *,
    languages: Sequence[str] = LANGUAGES,
    known: frozenset[tuple[str, str, str, int]] = frozenset(),
) -> None:
    """Every window that is not `known`, handed to `found` as soon as it is measured, with how many are done and of how
    many; languages take turns.

    Raises what `require_same_tokens` and `damage_of` raise.
    """
    require_same_tokens(contestant, reference)
    every = list(in_turns(list(windows(reference, languages))))
    for done, window in enumerate(every, 1):
        if (label, window.language, window.text, window.number) not in known:
            measured = WindowDamage(
                contestant=label,
                reference=reference_label,
                language=window.language,
                text=window.text,
                window=window.number,
                **damage_of(contestant, reference, window),
            )
            found(measured, done, len(every))


def in_turns(every: Sequence[Window]) -> Iterator[Window]:
    """One of each language after the other, so that what is stopped early is balanced."""
    by_language: dict[str, list[Window]] = {}
    for window in every:
        by_language.setdefault(window.language, []).append(window)
    for n in range(max(map(len, by_language.values()), default=0)):
        yield from (each[n] for each in by_language.values() if n < len(each))


# --- who is the reference ---------------------------------------------------------------------------------------------


def reference_among(bits: Mapping[str, float]) -> str:
    """The label of the reference: the one of the most bits a weight, of equal ones the first. Raises EvaluationError
    where there is nothing to compare."""
    if len(bits) < 2:
        raise EvaluationError(
            f"measuring damage: {', '.join(bits) or 'nobody'} was named, expected two precisions of one model at "
            "least. Name the model as it was shipped too."
        )
    return max(bits, key=lambda label: bits[label])


def planned_damage(bits: Mapping[str, float], languages: Sequence[str] = LANGUAGES) -> dict[str, Any]:
    """What a plan writes down of it: `reference`, and by label the bits of a weight. `rounded`: the reference itself
    was rounded, so that what is measured is the damage of rounding it once more. Raises what `reference_among`
    raises."""
    reference = reference_among(bits)
    return {
        "reference": reference,
        "rounded": bits[reference] < PLAIN_BITS,
        "bits": {label: round(each, 2) for label, each in bits.items()},
        "languages": list(languages),
        "texts": open_suite(SUITE).describe()["digest"],
        "window": WINDOW,
        "before": BEFORE,
    }


def line_of(found: WindowDamage) -> dict[str, Any]:
    """As it stands in damage.jsonl. Raises nothing."""
    return asdict(found)
