"""What answers from sources are made of: what is found for a question, and what reads the citations of its answer.

Whose the sources are, and how they are found, is not known here: whoever asks hands over `consult`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ouvert.chat import TextDelta


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation that resolves, right behind the text of its mark. `facts` are those of docs/formats/documents.md."""

    facts: Mapping[str, Any]


class Place(Protocol):
    """A citation that resolves."""

    @property
    def facts(self) -> Mapping[str, Any]: ...


class Citer(Protocol):
    """Reads the citations of one answer."""

    def push(self, text: str) -> Sequence[str | Any]:
        """What of the answer is to be shown now: texts, and places behind the marks of those that resolve."""

    def finish(self) -> Sequence[str | Any]:
        """What was held back."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Parts of the receipt."""


class Consulted(Protocol):
    """What was found for a question. `found`: whether anything was; `absent`: what is then answered; `apart`: what is
    added to the owner under whom such prompts are kept. Its properties and methods raise nothing."""

    @property
    def prompt(self) -> str: ...

    @property
    def found(self) -> Sequence[Any]: ...

    @property
    def absent(self) -> str: ...

    @property
    def apart(self) -> str: ...

    def citing(self) -> Citer: ...


Consult = Callable[[str, int], Consulted]  # a question, and the tokens that the model has room for


def as_events(pieces: Sequence[str | Any]) -> Iterator[TextDelta | Cited]:
    """What a Citer gives, as events."""
    for each in pieces:
        if isinstance(each, str):
            if each:
                yield TextDelta(each)
        else:
            yield Cited(each.facts)
