"""Items of the Responses dialect: what a client sends, as messages; stored ones are found again by their ids."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from ouvert.assistant import Message, ToolCall
from ouvert.chat import Role
from ouvert.serving.errors import Refusal
from ouvert.serving.openai.response_tools import INPUT
from ouvert.serving.openai.wire import Part, part_text
from ouvert.serving.streams import json_text
from ouvert.serving.wire import Rules

Item = Mapping[str, Any]
ROLES = ("system", "developer", "user", "assistant")
# Kind of an item -> the fields of it that are read.
READ: Mapping[str, frozenset[str]] = {
    "message": frozenset({"role", "content"}),
    "reasoning": frozenset({"content", "summary"}),
    "function_call": frozenset({"call_id", "name", "arguments"}),
    "function_call_output": frozenset({"call_id", "output"}),
    "custom_tool_call": frozenset({"call_id", "name", "input"}),
    "custom_tool_call_output": frozenset({"call_id", "output"}),
    "item_reference": frozenset(),
}
KINDS = (
    "message, reasoning, function_call, function_call_output, custom_tool_call, custom_tool_call_output or "
    "item_reference: no other kind of item is known here"
)
ITEMS = Rules(
    without_effect=frozenset({"type", "id", "status", "encrypted_content", "created_by", "phase", "cache_control"}),
    unkept={"namespace": "names of functions are taken as they are"},
)
PARTS = Rules(without_effect=frozenset({"type", "text", "refusal", "annotations", "logprobs", "cache_control"}))


class Lookup(Protocol):
    """Where items that were stored are found."""

    def item(self, item_id: str) -> Item | None: ...


def unknown_in_items(sent: Any) -> Iterator[str]:
    """Notes on fields of items and of their parts that are not read."""
    for item in sent if isinstance(sent, list) else ():
        read = READ.get(str(item.get("type") or "message"), frozenset())
        yield from ITEMS.notes(item, "input[].", "input[].", read)
        for field_name in read & {"content", "summary", "output"}:
            parts = item.get(field_name)
            for part in parts if isinstance(parts, list) else ():
                if isinstance(part, dict):
                    place = f"input[].{field_name}[]."
                    yield from PARTS.notes(part, place, place)


def resolved(items: Sequence[Item], stored: Lookup) -> list[Item]:
    """The items with every reference replaced by what it stands for. Raises Refusal for one that is not stored."""

    def one(n: int, item: Item) -> Item:
        return referenced(item, stored, n) if is_reference(item) else item

    return [one(n, item) for n, item in enumerate(items)]


def is_reference(item: Item) -> bool:
    """OpenAI's types let a reference do without its type: then it has an id, and nothing that a message has."""
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "id" in item and not {"role", "content"} & item.keys())


def referenced(item: Item, stored: Lookup, n: int) -> Item:
    found = stored.item(str(item.get("id"))) if item.get("id") is not None else None
    if found is None:
        raise Refusal(
            400,
            f"input[{n}] refers to the item {item.get('id')!r:.100}, which is not stored here. The last ones are kept, "
            "while the server runs and unless store is false. Send the item itself.",
            code="item_not_found",
            param=f"input[{n}]",
        )
    return found


@dataclass
class Turn:
    """What an assistant did between two other messages."""

    reasoning: list[str] = field(default_factory=list)
    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)

    @property
    def says_something(self) -> bool:
        return bool(self.text or self.calls)

    def message(self) -> Message:
        return Message(
            role="assistant",
            content=self.text,
            reasoning="\n".join(self.reasoning) or None,
            tool_calls=tuple(self.calls),
        )


def messages_of(items: Sequence[Item], stored: Lookup) -> list[Message]:
    """Thoughts, text and calls that follow each other are one message of the assistant. Raises Refusal."""
    reader = ItemReader(stored)
    for n, item in enumerate(resolved(items, stored)):
        reader.read(item, f"input[{n}]")
    reader.end_turn()
    return reader.messages


class ItemReader:
    """Makes `messages` of items, one after another. The assistant's turn is among them when something ends it."""

    def __init__(self, stored: Lookup) -> None:
        self.messages: list[Message] = []
        self._stored = stored
        self._turn = Turn()

    def read(self, item: Item, where: str) -> None:
        match item.get("type", "message"):
            case "reasoning":
                self._read_thought(item, where)
            case "function_call":
                self._turn.calls.append(ToolCall(*call_of(item, where), text_field(item, "arguments", where)))
            case "custom_tool_call":
                text = json_text({INPUT: text_field(item, "input", where)})
                self._turn.calls.append(ToolCall(*call_of(item, where), text))
            case "message" if item.get("role") == "assistant":
                self._read_text(item, where)
            case "message":
                self._read_message(item, where)
            case "function_call_output" | "custom_tool_call_output":
                self._read_output(item, where)
            case kind:
                raise wrong(f"{where}.type", kind, KINDS)

    def end_turn(self) -> None:
        """Thoughts that nothing followed are left out."""
        if self._turn.says_something:
            self.messages.append(self._turn.message())
        self._turn = Turn()

    def _end_what_was_said(self) -> None:
        """More thoughts or text end a turn that has said something; one that has only thoughts goes on."""
        if self._turn.says_something:
            self.end_turn()

    def _read_thought(self, item: Item, where: str) -> None:
        self._end_what_was_said()
        if thought := reasoning_text(item, self._stored, where):
            self._turn.reasoning.append(thought)

    def _read_text(self, item: Item, where: str) -> None:
        self._end_what_was_said()
        self._turn.text = content_text(item.get("content"), f"{where}.content")
        if not self._turn.text:  # an assistant that said nothing
            self.messages.append(self._turn.message())
            self._turn = Turn()

    def _read_message(self, item: Item, where: str) -> None:
        self.end_turn()
        role = item.get("role")
        if role not in ROLES:
            raise wrong(f"{where}.role", role, f"one of {', '.join(ROLES)}")
        content = content_text(item.get("content"), f"{where}.content")
        self.messages.append(Message(role=cast("Role", role), content=content))

    def _read_output(self, item: Item, where: str) -> None:
        self.end_turn()
        output = content_text(item.get("output"), f"{where}.output")
        call_id = text_field(item, "call_id", where)
        self.messages.append(Message(role="tool", content=output, tool_call_id=call_id))


def call_of(item: Item, where: str) -> tuple[str, str]:
    """(id, name) of a call."""
    return text_field(item, "call_id", where), text_field(item, "name", where)


def reasoning_text(item: Item, stored: Lookup, where: str) -> str:
    """What was thought: from the item, from the stored one of its id, or from its summary."""
    if text := content_text(item.get("content"), f"{where}.content"):
        return text
    kept = stored.item(str(item.get("id"))) if item.get("id") is not None else None
    if kept is not None and (text := content_text(kept.get("content"), f"{where}.content")):
        return text
    return content_text(item.get("summary"), f"{where}.summary")


def content_text(content: Any, where: str) -> str:
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            return "".join(one_part(part, f"{where}[{n}]") for n, part in enumerate(content))
    raise wrong(where, content, "text or a list of parts")


def one_part(part: Any, where: str) -> str:
    match part:
        case {"type": str(kind)}:
            text, refusal = part.get("text"), part.get("refusal")
            known = {"text": text if isinstance(text, str) else None}
            return part_text(Part(type=kind, refusal=refusal if isinstance(refusal, str) else None, **known), where)
    raise wrong(where, part, "a part with a type and a text")


def text_field(item: Item, name: str, where: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise wrong(f"{where}.{name}", value, "text")
    return value


def wrong(where: str, given: Any, expected: str) -> Refusal:
    return Refusal(400, f"{where} is {given!r:.120}, expected {expected}.", code="invalid_value", param=where)
