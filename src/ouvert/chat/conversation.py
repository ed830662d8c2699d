"""Conversations as values, and the pieces in which an answer arrives."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "developer", "user", "assistant", "tool"]  # whose turn it is
Effort = Literal["low", "medium", "high"]  # how much a model is to think
EFFORTS: tuple[Effort, ...] = ("low", "medium", "high")


# What the arguments of a tool without parameters follow.
NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A request by the model to run a tool. `arguments` is the JSON text exactly as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function the model may call. `parameters` is a JSON schema of an object, or None for no arguments.

    `strict`: the arguments must follow the schema. Where that cannot be promised, the conversation is refused.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn.

    `reasoning` is what an assistant thought before it answered. `tool_calls` belong to assistants;
    `tool_call_id` and `name` say which call a tool's message answers.
    """

    role: Role
    content: str = ""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Everything a chat format needs to write a prompt.

    `effort` asks a reasoning model to think less or more; `thinking` False asks a model that can do without
    to answer at once. Formats that cannot honour either refuse it by name.

    `date` is the day the conversation takes place, for formats that tell the model; no format looks at a clock.
    `builtin_tools` names tools the model was trained with ("browser", "python", and
    "python_offline", which says that there is no Internet access; Harmony only). `answer_schema` is the
    JSON schema the final answer will follow, shown to the model where its format has a place for it.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    effort: Effort | None = None
    thinking: bool | None = None
    date: datetime.date | None = None
    builtin_tools: frozenset[str] = frozenset()
    answer_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call. The first piece of a call has its id and name; later ones only more `arguments`."""

    index: int
    id: str | None
    name: str | None
    arguments: str


# What an answer is made of, piece by piece.
Delta = ReasoningDelta | TextDelta | ToolCallDelta
