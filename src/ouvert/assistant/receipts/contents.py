"""What was asked and answered, as it is kept beside a receipt, and read again: docs/formats/receipt.md."""

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ouvert.assistant.demands import Demands
from ouvert.assistant.receipts.ended import Ended
from ouvert.assistant.receipts.ledger import LedgerError
from ouvert.chat import Conversation, Message, Tool, ToolCall
from ouvert.engine import BASE, Edit, Grammar, ScaledAdapter, Variant

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything an answer was made of beside the model and the receipt's settings, and the answer's tokens.

    Where a text was continued there is no conversation.
    """

    conversation: Conversation | None
    demands: Demands
    variant: Variant
    prompt: tuple[int, ...]
    output: tuple[int, ...]


def contents_of(ended: Ended) -> dict[str, Any]:
    """The JSON object. Raises LedgerError for what JSON cannot say."""
    return {
        "contents": VERSION,
        "conversation": None if ended.conversation is None else conversation_facts(ended.conversation),
        "demands": asdict(ended.demands),
        "stop": list(ended.stop),
        "prompt": list(ended.prompt_ids),
        "output": list(ended.output_ids),
        **({} if ended.stopped.variant == BASE else {"variant": ended.stopped.variant.facts()}),
    }


def conversation_facts(conversation: Conversation) -> dict[str, Any]:
    date = conversation.date
    return {
        **asdict(conversation),
        "date": None if date is None else date.isoformat(),
        "builtin_tools": sorted(conversation.builtin_tools),
    }


def read_contents(kept: Mapping[str, Any]) -> Contents:
    """Raises LedgerError for an object of another version, or one that is not whole."""
    version = kept.get("contents") if isinstance(kept, Mapping) else None
    if version != VERSION:
        raise LedgerError(
            f"reading what was said: version {version!r}, expected {VERSION}. "
            "Replay it with the version of Ouvert that wrote it (engine.version in the receipt)."
        )
    try:
        return Contents(
            conversation=None if kept["conversation"] is None else read_conversation(kept["conversation"]),
            demands=read_demands(kept["demands"]),
            variant=read_variant(kept["variant"]) if "variant" in kept else BASE,
            prompt=tuple(kept["prompt"]),
            output=tuple(kept["output"]),
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise LedgerError(
            f"reading what was said: {problem!r}. The file is not as it was written; delete it."
        ) from problem


def read_conversation(kept: Mapping[str, Any]) -> Conversation:
    date = kept["date"]
    return Conversation(
        **{
            **kept,
            "messages": tuple(read_message(each) for each in kept["messages"]),
            "tools": tuple(Tool(**each) for each in kept["tools"]),
            "date": None if date is None else datetime.date.fromisoformat(date),
            "builtin_tools": frozenset(kept["builtin_tools"]),
        }
    )


def read_message(kept: Mapping[str, Any]) -> Message:
    return Message(**{**kept, "tool_calls": tuple(ToolCall(**call) for call in kept["tool_calls"])})


def read_demands(kept: Mapping[str, Any]) -> Demands:
    answer = kept["answer"]
    return Demands(**{**kept, "answer": None if answer is None else Grammar(**answer)})


def read_variant(kept: Mapping[str, Any]) -> Variant:
    edits = tuple(read_edit(each) for each in kept["edits"])
    return Variant(tuple(ScaledAdapter(**each) for each in kept["adapters"]), edits)


def read_edit(kept: Mapping[str, Any]) -> Edit:
    """The edit whose facts these are: lists become tuples again."""
    values: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in kept.items()}
    return Edit(**values)
