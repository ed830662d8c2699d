"""What an assistant does, as typed events: Reading if asked for, deltas while it writes, Finished at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ouvert.assistant.cited import Cited
from ouvert.assistant.watching import Watched
from ouvert.chat import ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from ouvert.engine import Reading

Reason = Literal["stop", "length", "repetition", "tool_calls", "cancelled", "timeout"]  # why an answer ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens: of the prompt (of which `reused` came from a cache), and of the answer (of which `reasoning`)."""

    prompt: int
    reused: int
    output: int
    reasoning: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The end of an answer. `receipt` is the JSON object of docs/formats/receipt.md.

    `unrecorded` says why the receipt is not in the owner's ledger although it should be, or not all that should be.
    """

    reason: Reason
    usage: Usage
    tool_calls: tuple[ToolCall, ...]
    receipt: Mapping[str, Any]
    unrecorded: str | None = None


# What comes while an answer is written; Finished is the last.
Event = ReasoningDelta | TextDelta | ToolCallDelta | Finished | Reading | Watched | Cited
