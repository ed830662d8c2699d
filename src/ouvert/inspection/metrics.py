"""What a change is measured by: one number, read off the logits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ouvert.inspection.error import InspectionError
from ouvert.inspection.subject import Array, Subject
from ouvert.tokenization import Tokenizer


class Measure(Protocol):
    """A metric made ready for one model."""

    @property
    def first_row(self) -> int:
        """The first row of the logits that it reads; negative ones count from the end."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What it is, as JSON."""

    def value(self, logits: Array, ids: Sequence[int]) -> float:
        """The number. `logits` begins at `first_row`; `ids` are all tokens of the sequence. Raises nothing."""


class Metric(Protocol):
    """What people name: `LogitDifference`, `LogProbability`, `TextLogProbability`."""

    def ready_for(self, subject: Subject) -> Measure:
        """Raises InspectionError where this model's tokens do not allow it."""


@dataclass(frozen=True, slots=True)
class LogitDifference:
    """The logit of one token less that of another, where the next token is chosen. Each text is one token.

    Mind the space before a word: " Paris" and "Paris" are different tokens.
    """

    of: str
    less: str

    def ready_for(self, subject: Subject) -> Measure:
        """Raises InspectionError for a text that is not one token of this model."""
        tokenizer = tokenizer_of(subject)
        return Difference(token_of(tokenizer, self.of), token_of(tokenizer, self.less), (self.of, self.less))


@dataclass(frozen=True, slots=True)
class Difference:
    """`LogitDifference`, by token ids."""

    of: int
    less: int
    texts: tuple[str, str]
    first_row: int = -1

    @property
    def facts(self) -> Mapping[str, Any]:
        """As JSON. Raises nothing."""
        tokens = [{"id": id_, "text": text} for id_, text in zip((self.of, self.less), self.texts, strict=True)]
        return {"kind": "logit_difference", "tokens": tokens}

    def value(self, logits: Array, ids: Sequence[int]) -> float:
        """logit(of) - logit(less) of the last row. Raises nothing."""
        return float(logits[-1, self.of]) - float(logits[-1, self.less])


@dataclass(frozen=True, slots=True)
class LogProbability:
    """The log-probability of one token, in nats, where the next token is chosen."""

    of: str

    def ready_for(self, subject: Subject) -> Measure:
        """Raises InspectionError for a text that is not one token of this model."""
        return OfToken(token_of(tokenizer_of(subject), self.of), self.of)


@dataclass(frozen=True, slots=True)
class OfToken:
    """`LogProbability`, by token id."""

    of: int
    text: str
    first_row: int = -1

    @property
    def facts(self) -> Mapping[str, Any]:
        """As JSON. Raises nothing."""
        return {"kind": "log_probability", "tokens": [{"id": self.of, "text": self.text}]}

    def value(self, logits: Array, ids: Sequence[int]) -> float:
        """ln p(of) after the last token. Raises nothing."""
        return float(log_probabilities(logits[-1:])[0, self.of])


@dataclass(frozen=True, slots=True)
class TextLogProbability:
    """The mean log-probability, in nats a token, of the sequence's own tokens from number `start` on.

    Making it ready raises InspectionError for a start below 1: nothing is predicted before the first token.
    """

    start: int = 1

    def ready_for(self, subject: Subject) -> Measure:
        """Raises InspectionError for a start below 1."""
        if self.start < 1:
            raise InspectionError(
                f"TextLogProbability: start={self.start}, expected 1 or more: the first token is predicted by nothing."
            )
        return OfText(self.start)


@dataclass(frozen=True, slots=True)
class OfText:
    """`TextLogProbability`, made ready."""

    start: int

    @property
    def first_row(self) -> int:
        """The row that predicts token `start`. Raises nothing."""
        return self.start - 1

    @property
    def facts(self) -> Mapping[str, Any]:
        """As JSON. Raises nothing."""
        return {"kind": "text_log_probability", "start": self.start}

    def value(self, logits: Array, ids: Sequence[int]) -> float:
        """The mean over tokens `start` to the last. Raises nothing."""
        predicted = np.asarray(ids[self.start :])
        rows = logits[: len(predicted)]
        of_predicted = rows[np.arange(len(predicted)), predicted].astype(np.float64)
        return float((of_predicted - log_of_sum(rows)).mean())


def log_probabilities(logits: Array) -> Array:
    """Natural logarithms of the softmax of each row, in float64. Raises nothing."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    logarithms: Array = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return logarithms


def log_of_sum(logits: Array) -> Array:
    """ln Σ exp of each row, float64; of exponentials in float32, so right to seven digits. Raises nothing."""
    most = logits.max(axis=-1, keepdims=True)
    logarithms: Array = most[:, 0] + np.log(np.exp(logits - most).sum(axis=-1, dtype=np.float64))
    return logarithms


def tokenizer_of(subject: Subject) -> Tokenizer:
    """Raises InspectionError for a model without one."""
    if subject.tokenizer is None:
        raise InspectionError(
            f"{subject.name} has no tokenizer in its files, so texts cannot be read. Give token ids, or a model that "
            "has a tokenizer."
        )
    return subject.tokenizer


def token_of(tokenizer: Tokenizer, text: str) -> int:
    """The one token that this text is. Raises InspectionError for a text that is none or several."""
    ids = list(tokenizer.encode(text))
    if len(ids) != 1:
        pieces = [tokenizer.decode([id_]) for id_ in ids]
        raise InspectionError(
            f"a metric reads one token, and {text!r} is {len(ids)}: {pieces}. Choose a text that is one token (a word "
            "with the space before it often is), or compare whole continuations with a direction's test."
        )
    return int(ids[0])


def ids_of(subject: Subject, prompt: str | Sequence[int], what: str) -> list[int]:
    """The tokens of a prompt: a text as the model reads it from its beginning, or ids as they are.

    Raises InspectionError for an empty prompt, and for ids that are not the model's.
    """
    ids = text_ids(tokenizer_of(subject), prompt) if isinstance(prompt, str) else [int(each) for each in prompt]
    size = int(subject.model.config.vocab_size)
    if not ids or min(ids) < 0 or max(ids) >= size:
        raise InspectionError(
            f"{what}: {ids if len(ids) < 8 else len(ids)!r} tokens, expected one or more ids from 0 to {size - 1}. "
            "Give a text, or ids of this model."
        )
    return ids


def text_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text, behind the token that begins one, where the model is used to it. Raises nothing."""
    start = [tokenizer.bos] if tokenizer.adds_bos and tokenizer.bos is not None else []
    return [*start, *tokenizer.encode(text)]
