"""Requests as types: the fields that are read, and what becomes of all others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from ouvert.serving.errors import Refusal

Element = TypeVar("Element")
# A list whose first wrong element is the only one that is looked for: there may be a hundred thousand of them.
Several: TypeAlias = Annotated[list[Element], Field(fail_fast=True)]

MOST_NAMED = 20
LONGEST_NAME = 80
# Values of refused fields that ask for nothing, beside null, false, zero and what is empty.
IDLE: Mapping[str, Any] = {
    "best_of": 1,
    "length_penalty": 1,
    "modalities": ["text"],
    "n": 1,
    "num_beams": 1,
    "repeat_penalty": 1,
    "repetition_penalty": 1,
    "tfs": 1,
    "tfs_z": 1,
    "tool_choice": "auto",
    "top_k": -1,
    "top_n_sigma": -1,
    "typical": 1,
    "typical_p": 1,
}
# Any other value of these fields asks for something.
ONLY_IDLE: Mapping[str, Any] = {
    "add_generation_prompt": True,
    "parallel_tool_calls": True,
    "random_seed": None,
    "skip_special_tokens": True,
}


class Wire(BaseModel):
    """A request or a part of one. Numbers are finite.

    A field that is not declared is either among those `without_effect` on any answer; or `refused`, with what to do
    instead; or `unkept`, with the reason, and then named beside the answer, as is one that nobody knows.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, protected_namespaces=())
    without_effect: ClassVar[frozenset[str]] = frozenset()
    refused: ClassVar[Mapping[str, str]] = {}
    unkept: ClassVar[Mapping[str, str]] = {}
    _unknown: tuple[str, ...] = PrivateAttr(())

    @property
    def unknown(self) -> tuple[str, ...]:
        """Notes on fields that were sent and not understood. Only a whole request has them, not its parts."""
        return self._unknown

    @property
    def beside(self) -> dict[str, Any]:
        """The field `ouvert` of a reply that is not a model's answer; nothing where there are no notes."""
        return {"ouvert": {"not_honoured": list(self._unknown)}} if self._unknown else {}


def checked(request: Wire) -> None:
    """Raises Refusal for a field that means something and is not honoured; notes those that are left out."""
    request._unknown = first_notes(undeclared(request))


def first_notes(found: Iterator[str]) -> tuple[str, ...]:
    """The first few notes, each once; the last one says that there are more."""
    notes: dict[str, None] = {}
    for note in found:
        if len(notes) == MOST_NAMED:
            return (*notes, "more fields that are not known here")
        notes[note] = None
    return tuple(notes)


def undeclared(part: Wire, place: str = "", general: str = "") -> Iterator[str]:
    """Notes on fields that are left out, in the whole of a request. Raises Refusal.

    `place` is where the part is in the request, `general` the same for all elements of a list.
    """
    kind = type(part)
    if part.model_extra:
        yield from rules_of(kind).notes(part.model_extra, place, general)
    for name, value in part.__dict__.items():
        if isinstance(value, Wire):
            wire_name = kind.model_fields[name].alias or name
            yield from undeclared(value, f"{place}{wire_name}.", f"{general}{wire_name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Wire):  # of one kind, all of them
            wire_name = kind.model_fields[name].alias or name
            for n, each in enumerate(value):
                yield from undeclared(each, f"{place}{wire_name}[{n}].", f"{general}{wire_name}[].")


@dataclass(frozen=True, slots=True)
class Rules:
    """What becomes of fields that are not read. See Wire."""

    without_effect: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    unkept: Mapping[str, str] = field(default_factory=dict)

    def notes(
        self, fields: Mapping[str, Any], place: str, general: str, read: frozenset[str] = frozenset()
    ) -> Iterator[str]:
        """Notes on the fields that are not in `read`. `place` and `general` as in `undeclared`. Raises Refusal."""
        for name, value in fields.items():
            if value is None or (isinstance(value, list | dict) and not value):
                continue
            if name in read or name in self.without_effect:
                continue
            if name in self.refused:
                if not is_idle(name, value):
                    raise not_supported(place + name, self.refused[name])
            elif name in self.unkept:
                if not is_idle(name, value):
                    yield f"{general}{name}: {self.unkept[name]}"
            else:
                shown = name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…"
                yield f"{general}{shown}: this field is not known here"


@cache
def rules_of(kind: type[Wire]) -> Rules:
    return Rules(kind.without_effect, kind.refused, kind.unkept)


def is_idle(name: str, value: Any) -> bool:
    """Whether a field with this value asks for nothing."""
    if name in ONLY_IDLE:
        return bool(value == ONLY_IDLE[name])
    return not value or bool(value == IDLE.get(name))


def not_supported(name: str, remedy: str) -> Refusal:
    return Refusal(400, f"{name} is not supported here: {remedy}.", code="unsupported_parameter", param=name)
