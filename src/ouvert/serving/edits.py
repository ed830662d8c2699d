"""Edits in requests: `"ouvert": {"edits": [...]}`, who may ask for them, and the header of an edited answer.

docs/formats/edits.md describes the JSON.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from ouvert.assistant import AssistantError, ChatRequest, Edit
from ouvert.inspection import InspectionError, read_direction
from ouvert.serving import consulting
from ouvert.serving.callers import Caller, refuse_without_scope
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.sentences import sentence_of
from ouvert.serving.wire import Several, Wire
from ouvert.store import CheckpointError, Directions, StoreError

STATE = "ouvert-state"  # the header
EDITED = "edited"
MOST_EDITS = 64
LONGEST = 512  # characters of a name

Index = Annotated[int, Field(ge=0)]


class StatedEdit(Wire):
    """One edit. A key that is not known is refused: a mistyped place would edit everything."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())

    operation: Literal["add", "project_out", "replace", "scale", "zero"]
    tap: str = Field(min_length=1, max_length=LONGEST)
    values: Several[float] | None = None
    direction: str | None = Field(None, max_length=LONGEST)
    strength: float = 1.0
    positions: Literal["all", "prompt", "answer", "last"] | Several[Index] = "all"
    message: Index | None = None
    heads: Several[Index] = Field(default_factory=list)
    experts: Several[Index] = Field(default_factory=list)

    def edit(self, directions: Directions) -> Edit:
        """Raises ValueError, AssistantError and StoreError for what cannot be."""
        values = self.values or []
        if self.direction is not None:
            if values:
                raise ValueError("values and direction are both given, expected one of them.")
            values = vector_of(self.direction, self.tap, directions)
        return Edit(
            operation=self.operation,
            tap=self.tap,
            values=tuple(values),
            strength=self.strength,
            positions=self.positions if isinstance(self.positions, str) else tuple(self.positions),
            message=self.message,
            heads=tuple(self.heads),
            experts=tuple(self.experts),
        )


class Extras(consulting.Extras):
    """`edits`: changes of named values of the model, for this answer alone."""

    refused: ClassVar[Mapping[str, str]] = {}

    edits: Annotated[list[StatedEdit], Field(max_length=MOST_EDITS)] = Field(default_factory=list)


def vector_of(name: str, tap: str, directions: Directions) -> list[float]:
    """The numbers of a stored direction for a value: those of the value's layer if it has them, else of its own.

    Raises StoreError if there is none, ValueError for a file that is none.
    """
    path = directions.path(name)
    try:
        direction = read_direction(path, ours=True)
    except (InspectionError, CheckpointError, OSError) as problem:
        raise ValueError(
            f"the direction {name!r} cannot be read. Its owner sees why with `ouvert direction list`, and makes or "
            "imports it again."
        ) from problem
    layer = tap.split(".")[1] if tap.startswith("layers.") else ""
    own = int(layer) if layer.isdecimal() and int(layer) in direction.vectors else direction.layer
    return [float(number) for number in direction.vectors[own]]


def edited(wanted: ChatRequest, stated: Any, call: Call) -> ChatRequest:
    """The request with the edits that were stated beside it. Raises Refusal for a caller who may not edit, and for an
    edit that cannot be."""
    if not isinstance(stated, Extras) or not stated.edits:
        return wanted
    return replace(wanted, edits=edits_of(stated, call.caller, Directions(call.service.store.home)))


def edits_of(stated: Extras, caller: Caller, directions: Directions) -> tuple[Edit, ...]:
    refuse_without_scope(caller, "edit")
    edits = []
    for n, each in enumerate(stated.edits):
        try:
            edits.append(each.edit(directions))
        except (ValueError, AssistantError, StoreError) as problem:
            place = f"ouvert.edits[{n}]"
            raise Refusal(400, f"{place}: {sentence_of(problem)}", code="invalid_value", param=place) from problem
    return tuple(edits)


def state_of(wanted: ChatRequest) -> dict[str, str]:
    """The header of an edited answer; none for others. Raises nothing."""
    return {STATE: EDITED} if wanted.edits or wanted.variant.edits else {}
