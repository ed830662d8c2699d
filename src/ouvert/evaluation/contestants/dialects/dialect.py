"""What a dialect says: how a question is written, how an answer is read, what carries a key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ouvert.evaluation.contestants.pieces import Piece
from ouvert.evaluation.item import Chat

MOST_COUNTED = 2**32  # tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, of which model, and how its tokens are chosen. `max_tokens`: of the whole answer, thoughts among
    them. `temperature` None: as the server chooses. `context`: how many tokens an Ollama server has to have room
    for."""

    chat: Chat
    model: str
    max_tokens: int
    effort: str | None = None
    temperature: float | None = None
    seed: int | None = None
    context: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A POST of JSON."""

    path: str
    body: Mapping[str, Any]


class ReadingError(Exception):
    """What came is no answer of this dialect."""


class RefusedWithinError(Exception):
    """The server said in the middle of its answer that it gives it up. `passing`: asked again it may answer."""

    def __init__(self, said: str, *, passing: bool) -> None:
        super().__init__(said)
        self.passing = passing


class CannotAskError(Exception):
    """A question that this dialect has no words for."""


class Dialect(Protocol):
    """Making requests and reading answers; no connections. Each is a value without state but its settings."""

    @property
    def framing(self) -> Literal["events", "lines"]:
        """Server-sent events, or a JSON object a line."""

    def headers(self, key: str | None) -> Mapping[str, str]:
        """What every request carries. Raises nothing."""

    def request(self, question: Question) -> Request:
        """Raises CannotAskError for what the dialect has no words for."""

    def pieces(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        """Raises ReadingError for an event that is not of this dialect, RefusedWithinError for an error in the
        stream."""


def text_of(message: Mapping[str, Any]) -> str:
    """A message's text. Raises CannotAskError for anything else (images, parts)."""
    content = message.get("content")
    if content is None:
        return ""
    if not isinstance(content, str):
        raise CannotAskError(f"a message's content is {type(content).__name__}, and only texts can be sent")
    return content


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Raises ReadingError for what is no JSON object."""
    if not isinstance(value, Mapping):
        raise ReadingError(f"{what} is {value!r:.80}, expected an object")
    return value


def string(value: Any, what: str) -> str:
    """ "" for None. Raises ReadingError for what is no text."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ReadingError(f"{what} is {value!r:.80}, expected a text")
    return value


def listed(value: Any, what: str) -> list[Any]:
    """Empty for None. Raises ReadingError for what is no list."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise ReadingError(f"{what} is {value!r:.80}, expected a list")
    return value


def count(value: Any) -> int | None:
    """A number of tokens; None for anything else, and for more than any answer has."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_COUNTED else None
