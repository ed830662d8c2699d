"""Which tokens a piece of the answer's text was made of, with their log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

from ouvert.chat import TextDelta
from ouvert.engine import Token, Vocabulary


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of the answer's text: its bytes, its log-probability, and the likeliest in its place, best first."""

    id: int
    spelled: bytes
    logprob: float
    top: tuple[tuple[int, bytes, float], ...]


@dataclass(frozen=True, slots=True)
class ScoredText(TextDelta):
    """A piece of the answer with the tokens it begins in; a token that two pieces share stands with the first."""

    tokens: tuple[ScoredToken, ...]


class Scores:
    """Tokens in, pieces of text in: which belong together. Headers, thoughts, calls and ends belong to no text."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._segments: list[list[tuple[Token | None, bytes]]] = [[]]  # cut where a control token stood

    def push(self, token: Token) -> None:
        if self._vocabulary.is_control(token.id):
            self._segments.append([])
        else:
            self._segments[-1].append((token, self._vocabulary.bytes_of(token.id)))

    def forget(self) -> None:
        """What was written so far, but for the last token, is no text of the answer."""
        self._segments = [self._segments[-1][-1:]]

    def scored(self, text: str) -> ScoredText:
        """The tokens of `text`, which is the next piece of the answer."""
        wanted = text.encode("utf-8", "replace")
        for n in reversed(range(len(self._segments))):
            segment = self._segments[n]
            start = b"".join(spelled for _, spelled in segment).find(wanted)
            if start >= 0:
                break
        else:  # bytes that are no UTF-8 were shown as U+FFFD
            segment, self._segments = self._segments[-1], [[]]
            return ScoredText(text, self._of(segment))
        end = start + len(wanted)
        taken, rest, at = [], [], 0
        for token, spelled in segment:
            first, at = at, at + len(spelled)
            if at <= start:
                continue
            if first < end:
                taken.append((token, spelled))
            if at > end:
                rest.append((token, spelled) if first >= end else (None, spelled[end - first :]))
        self._segments = [rest, *self._segments[n + 1 :]]
        return ScoredText(text, self._of(taken))

    def _of(self, segment: Sequence[tuple[Token | None, bytes]]) -> tuple[ScoredToken, ...]:
        return tuple(
            ScoredToken(
                token.id,
                spelled,
                token.logprob,
                tuple((other, self._vocabulary.bytes_of(other), logprob) for other, logprob in token.top),
            )
            for token, spelled in segment
            if token is not None and token.logprob is not None
        )
