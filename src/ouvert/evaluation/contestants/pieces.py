"""What any server's answer is made of, piece by piece, and the outcome and the cost that are made of the pieces."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ouvert.evaluation.outcome import Call, Cost, Outcome

MOST_TEXT = 8 << 20  # characters of one answer: 64 times what the longest context can say


@dataclass(frozen=True, slots=True)
class Words:
    """Of the final answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    text: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A tool call begins, or goes on: `at` tells those of one answer apart. `name` is said once. `at` None: a whole
    call, which servers that write them whole do not number."""

    at: int | None
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    reason: str


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens as the server counts them; None where it says nothing of them."""

    prompt: int | None = None
    output: int | None = None
    thoughts: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What the server says of the answer that is no part of it: the model's full name, a fingerprint, an id."""

    facts: Mapping[str, Any]


Piece = Words | Thought | CallPiece | Ended | Used | Said


class TooLongError(Exception):
    """An answer that does not end."""


@dataclass
class Gathering:
    """One answer as it comes. `clock` is time.monotonic's; the answer was asked for when this was made."""

    clock: Callable[[], float] = time.monotonic
    words: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: dict[int | str, list[str]] = field(default_factory=dict)  # name, then pieces of its arguments
    said: dict[str, Any] = field(default_factory=dict)
    used: Used = Used()
    reason: str = ""
    first: float | None = None
    visible: float | None = None

    def __post_init__(self) -> None:
        self._begun = self.clock()
        self._length = 0

    def take(self, piece: Piece) -> None:
        """Raises TooLongError for more than MOST_TEXT characters."""
        match piece:
            case Words(text) | Thought(text):
                self._came(len(text), visible=isinstance(piece, Words))
                if text:
                    (self.words if isinstance(piece, Words) else self.thoughts).append(text)
            case CallPiece(at, name, arguments):
                self._came(len(name) + len(arguments), visible=True)
                call = self.calls.setdefault(f"whole {len(self.calls)}" if at is None else at, [""])
                call[0] = call[0] or name
                call.append(arguments)
            case Ended(reason):
                self.reason = reason
            case Used():
                self.used = Used(
                    *(
                        new if new is not None else old
                        for new, old in zip(counts(piece), counts(self.used), strict=True)
                    )
                )
            case Said(facts):
                self.said |= facts

    def _came(self, length: int, *, visible: bool) -> None:
        if not length:
            return
        self._length += length
        if self._length > MOST_TEXT:
            raise TooLongError(f"more than {MOST_TEXT} characters")
        now = self.clock() - self._begun
        self.first = now if self.first is None else self.first
        if visible and self.visible is None:
            self.visible = now

    def outcome(self) -> Outcome:
        calls = tuple(
            Call(name=whole_characters(call[:1]), arguments=whole_characters(call[1:]) or "{}")
            for call in self.calls.values()
        )
        reason = "tool_calls" if calls and self.reason == "stop" else self.reason
        text, thoughts = whole_characters(self.words), whole_characters(self.thoughts)
        return Outcome(text=text, thoughts=thoughts, calls=calls, reason=whole_characters([reason]))

    def cost(self) -> Cost:
        """Up to now."""
        return Cost(
            whole=round(self.clock() - self._begun, 6),
            first=None if self.first is None else round(self.first, 6),
            visible=None if self.visible is None else round(self.visible, 6),
            prompt_tokens=self.used.prompt,
            output_tokens=self.used.output,
            thought_tokens=self.used.thoughts,
        )


def whole_characters(pieces: Sequence[str]) -> str:
    """The pieces as one text. JSON may hold half a character (a surrogate): two halves in two pieces become one, and a
    half without its other becomes U+FFFD, since no file can hold it."""
    return "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def counts(used: Used) -> tuple[int | None, int | None, int | None]:
    return used.prompt, used.output, used.thoughts
