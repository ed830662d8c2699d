"""Messages and tools as people hand them over: our values, or dictionaries in OpenAI's Chat Completions shape."""

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast, get_args

from ouvert.assistant.error import AssistantError
from ouvert.chat import Conversation, Effort, Message, Role, Tool, ToolCall, in_the_order_of_calls

MESSAGE_KEYS = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning", "reasoning_content", "refusal"}
)


def as_conversation(
    messages: str | Iterable[Message | Mapping[str, Any]],
    tools: Iterable[Tool | Mapping[str, Any]] | None = None,
    effort: Effort | None = None,
    thinking: bool | None = None,
    date: datetime.date | None = None,
    schema: Mapping[str, Any] | None = None,
) -> Conversation:
    """A conversation; a plain string is one message from the user. It takes place today unless `date` says otherwise.

    `schema` is what the final answer will follow, for formats that show it to the model.

    Results of tools come in the order of their calls, whatever order they are given in. Raises AssistantError naming
    what is wrong and where; ChatError for results that cannot be matched with calls by their ids.
    """
    if isinstance(messages, str):
        messages = [Message(role="user", content=messages)]
    given = tuple(as_message(message, n) for n, message in enumerate(messages))
    if not given:
        raise AssistantError("a conversation has no messages, expected at least one. Send what the user says.")
    return Conversation(
        messages=in_the_order_of_calls(given),
        tools=tuple(as_tool(tool, n) for n, tool in enumerate(tools or ())),
        effort=effort,
        thinking=thinking,
        date=date or datetime.date.today(),
        answer_schema=schema,
    )


def as_message(given: Message | Mapping[str, Any], n: int) -> Message:
    """`n` is its place in the conversation, for errors."""
    if isinstance(given, Message):
        return given
    where = f"messages[{n}]"
    if not isinstance(given, Mapping):
        raise AssistantError(f"{where} is {type(given).__name__}, expected an ouvert.Message or a dict with a role.")
    if unknown := sorted(set(given) - MESSAGE_KEYS):
        raise AssistantError(f"{where}: unknown keys {unknown}, expected only {sorted(MESSAGE_KEYS)}. Leave them out.")
    role = given.get("role")
    if role not in get_args(Role):
        raise AssistantError(f"{where}.role is {role!r}, expected one of {', '.join(get_args(Role))}.")
    if given.get("refusal"):
        raise AssistantError(f"{where}.refusal cannot be sent to a model. Put its text into content.")
    reasoning = given.get("reasoning") if given.get("reasoning") is not None else given.get("reasoning_content")
    return Message(
        role=cast("Role", role),
        content=as_text(given.get("content"), f"{where}.content"),
        reasoning=None if reasoning is None else as_text(reasoning, f"{where}.reasoning"),
        tool_calls=tuple(
            as_tool_call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(given.get("tool_calls") or ())
        ),
        tool_call_id=given.get("tool_call_id"),
        name=given.get("name"),
    )


def as_text(given: Any, where: str) -> str:
    """A string, or the texts of a list of parts joined; None is no text."""
    match given:
        case None:
            return ""
        case str():
            return given
        case Sequence():
            return "".join(part_text(part, f"{where}[{n}]") for n, part in enumerate(given))
    raise AssistantError(f"{where} is {type(given).__name__}, expected text or a list of parts of type text.")


def part_text(part: Any, where: str) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": kind}:
            raise AssistantError(
                f"{where} has the type {kind!r}, and this model reads only text. Describe it in words."
            )
    raise AssistantError(f"{where} is {part!r:.80}, expected {{'type': 'text', 'text': ...}}.")


def as_tool_call(given: Any, where: str) -> ToolCall:
    match given:
        case ToolCall():
            return given
        case {"id": str(identity), "function": {"name": str(name), "arguments": str(arguments)}}:
            return ToolCall(identity, name, arguments)
        case {"id": str(identity), "function": {"name": str(name), "arguments": Mapping() as arguments}}:
            return ToolCall(identity, name, json.dumps(arguments, ensure_ascii=False))
    raise AssistantError(
        f"{where} is {given!r:.120}, expected an ouvert.ToolCall or "
        "{'id': ..., 'type': 'function', 'function': {'name': ..., 'arguments': '...'}}."
    )


def as_tool(given: Tool | Mapping[str, Any], n: int) -> Tool:
    match given:
        case Tool():
            return given
        case {"type": "function", "function": {"name": str(name)} as function}:
            parameters = function.get("parameters")
            if parameters is None or isinstance(parameters, Mapping):
                if unknown := sorted(set(function) - {"name", "description", "parameters", "strict"}):
                    raise AssistantError(f"tools[{n}].function: unknown keys {unknown}. Leave them out.")
                return Tool(
                    name=name,
                    description=function.get("description") or "",
                    parameters=cast("Mapping[str, Any] | None", parameters),
                    strict=bool(function.get("strict")),
                )
    raise AssistantError(
        f"tools[{n}] is {given!r:.120}, expected an ouvert.Tool or "
        "{'type': 'function', 'function': {'name': ..., 'description': ..., 'parameters': {...}}}."
    )
