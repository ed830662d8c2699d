"""One model's answer as another one reads it: a forced pass over the same tokens, or, where tokens differ, words.

Nothing is written: each model says how likely it finds what stands there.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ouvert.assistant import Model, Token
from ouvert.serving.errors import Refusal

TOP = 5
MOST_TOKENS = 4096
DIGITS = 4  # behind the point
WORD = re.compile(r"\s*\S+|\s+\Z")


@dataclass(frozen=True, slots=True)
class Reader:
    """A model, and what it read before the answer."""

    model: Model
    prompt_ids: tuple[int, ...]

    def scores(self, ids: Sequence[int], top: int) -> list[Token]:
        """Of each of these tokens behind the prompt. Raises EngineError where they do not fit."""
        return self.model.reread(self.prompt_ids, ids, top)


def share_ids(one: Model, other: Model) -> bool:
    """Whether every id means the same bytes to both, and ends the same. Takes a moment. Raises TokenizerError."""
    first, second = one.tokenizer, other.tokenizer
    return first.digest == second.digest or (
        first.vocabulary_size == second.vocabulary_size
        and first.end_ids == second.end_ids
        and all(first.token_bytes(n) == second.token_bytes(n) for n in range(first.vocabulary_size))
    )


def by_tokens(writer: Reader, reader: Reader, ids: Sequence[int]) -> dict[str, Any]:
    """Each token with its log-probability, the likeliest and the mass of the rest, by the writer and by the reader.

    `divergence`: the first place where the reader would have written another token; None where it would have written
    the same. Takes its time. Raises Refusal for too many tokens, EngineError where they do not fit.
    """
    check_length(len(ids))
    read = [each.scores(ids, TOP) for each in (writer, reader)]
    decoder = writer.model.tokenizer.decoder(control=True)
    texts = [decoder.push(token) for token in ids]
    tokens = [
        {
            "id": token,
            "text": text,
            "logprobs": [rounded(each.logprob) for each in both],
            "top": [likeliest(one.model, each) for one, each in zip((writer, reader), both, strict=True)],
            "rest": [rest_of(each) for each in both],
        }
        for token, text, both in zip(ids, texts, zip(*read, strict=True), strict=True)
    ]
    differ = (n for n, (token, score) in enumerate(zip(ids, read[1], strict=True)) if score.top[0][0] != token)
    return {"same_tokens": True, "tokens": tokens, "divergence": next(differ, None)}


def by_words(writer: Reader | None, reader: Reader, text: str) -> dict[str, Any]:
    """Each word with the bits that it costs the writer, where that can be asked here, and the reader.

    The bits of a token are spread over its bytes evenly, so that words can be cut where tokens are not. Takes its time.
    Raises Refusal where a text cannot be aligned, EngineError where it does not fit.
    """
    text = text.encode("utf-8", "replace").decode()
    sides = [None if each is None else bits_up_to(each, text) for each in (writer, reader)]
    words = []
    start = 0
    for word in WORD.findall(text):
        end = start + len(word.encode())
        bits = [None if upto is None else round(upto[end] - upto[start], DIGITS) for upto in sides]
        words.append({"text": word, "bits": bits})
        start = end
    return {"same_tokens": False, "words": words}


def bits_up_to(reader: Reader, text: str) -> list[float]:
    """The bits of the text's first n bytes, for every n."""
    tokenizer = reader.model.tokenizer
    ids = tokenizer.encode(text)
    check_length(len(ids))
    spelled = [tokenizer.token_bytes(token) for token in ids]
    written, wanted = b"".join(spelled), text.encode()
    if not written.endswith(wanted):
        raise Refusal(
            409, "The words of this answer cannot be aligned: its tokens do not spell it out byte by byte.",
            code="not_comparable",
        )  # fmt: skip
    before = len(written) - len(wanted)  # a space that the tokenizer puts in front
    upto = [0.0]
    for share in shares(spelled, reader.scores(ids, 0)):
        upto.append(upto[-1] + share)
    return [upto[before + n] if n else 0.0 for n in range(len(wanted) + 1)]


def shares(spelled: Sequence[bytes], scores: Sequence[Token]) -> Iterator[float]:
    """The bits of each byte."""
    for piece, score in zip(spelled, scores, strict=True):
        bits = -(score.logprob or 0.0) / math.log(2)
        for _ in piece:
            yield bits / len(piece)


def likeliest(model: Model, score: Token) -> list[dict[str, Any]]:
    return [
        {"id": token, "text": model.tokenizer.token_bytes(token).decode("utf-8", "replace"), "logprob": rounded(value)}
        for token, value in score.top
    ]


def rest_of(score: Token) -> float:
    """The probability of all tokens that are not among the likeliest."""
    return round(max(0.0, 1 - sum(math.exp(value) for _, value in score.top)), 6)


def rounded(logprob: float | None) -> float:
    return round(max(logprob or 0.0, -1e4), DIGITS)


def check_length(tokens: int) -> None:
    if tokens > MOST_TOKENS:
        raise Refusal(
            400, f"This answer has {tokens} tokens, expected at most {MOST_TOKENS}. Reread a shorter one.",
            code="too_large",
        )  # fmt: skip
