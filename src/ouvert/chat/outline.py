"""What an answer may be made of, as data: so that an engine can hold a model to its chat format.

An answer is a row of segments: thoughts, words before a call, calls, the answer itself. Each is a header written token
by token, then contents, then the tokens that end it. Formats say which there are and which may follow which; whoever
generates turns that into the tokens that may come next.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Calls = Literal["auto", "none", "required"]  # whether an answer may, must not or must call a tool
Kind = Literal["thought", "preamble", "call", "answer"]
ANSWER_START: Literal["start"] = "start"
ANSWER_END: Literal["end"] = "end"


class LaterHeaders:
    """The headers of calls behind others, as they were written down: `Segment.later`."""

    def __init__(self, headers: Sequence[tuple[int, ...]]) -> None:
        """`headers[n - 1]` stands where n calls stand before it; the last one stands behind all that are more.

        Raises nothing.
        """
        self._headers = tuple(headers)

    def __call__(self, before: int) -> tuple[int, ...]:
        """Raises nothing."""
        return self._headers[min(before, len(self._headers)) - 1]


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of an answer.

    `header` may be empty: the segment then begins with its contents. `ends` may be empty: the contents then end with
    the answer, or where no more of them can come. `schema` is the JSON schema of the contents, or None for free text;
    what an answer's contents must be is up to the caller. Contents hold no control tokens. `later(n)` is the header
    where n calls stand before it in the answer, if it is another than the first's: formats that write calls as a list
    open it once, or number its members.
    """

    kind: Kind
    header: tuple[int, ...]
    ends: tuple[int, ...]
    schema: Mapping[str, Any] | None = None
    later: Callable[[int], tuple[int, ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """All answers that are well formed.

    `follows`: which kinds may follow a kind, or stand at the start; "end" among them: the answer may be over.
    `inside`: the segment in whose contents the prompt ends, or None before a segment. `cut` are tokens that end a
    thought in its middle, its own end among them. `between` are tokens that may stand behind a thought, before what
    follows: at most two. `gap` is the white space that stands between two calls; it promises nothing: behind it the
    answer may be over as well as go on. `closing` is written behind the last call, before the answer is over; an
    answer that ends without it is whole all the same.
    """

    segments: tuple[Segment, ...]
    follows: Mapping[str, frozenset[str]]
    cut: tuple[int, ...]
    inside: Segment | None = None
    between: frozenset[int] = frozenset()
    gap: tuple[int, ...] = ()
    closing: tuple[int, ...] = ()
