"""One conversation of the data: messages with what counts of each, in the shapes that people write them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast, get_args

from ouvert.chat import ChatError, Effort, Message, Role, Tool, ToolCall, in_the_order_of_calls

REASONING_KEYS = (
    "reasoning",
    "reasoning_content",
    "thinking",
)  # OpenRouter and ours; DeepSeek and vLLM; TRL for Harmony
MESSAGE_KEYS = frozenset(
    {"role", "content", "name", "tool_calls", "tool_call_id", "weight", "train", "refusal", *REASONING_KEYS}
)
# Thoughts that somebody left in the text of an answer.
TAGGED = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
CALL_KEYS = frozenset({"id", "type", "function", "name", "arguments", "index"})
KNOWN_IDS = ("call_", "functions.")


class RowError(Exception):
    """A row cannot be used. Says what was given, what was expected and what to do, but not where: whoever reads the
    file knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A conversation. `weights` are as many as `messages`: what each counts, None where the data does not say.

    `plain`: it was written as two texts, and not as messages.
    """

    messages: tuple[Message, ...]
    weights: tuple[float | None, ...]
    tools: tuple[Tool, ...] = ()
    effort: Effort | None = None
    thinking: bool | None = None
    plain: bool = False

    def followed_by(self, message: Message, weight: float | None = None) -> "Talk":
        return replace(self, messages=(*self.messages, message), weights=(*self.weights, weight))

    @property
    def answered(self) -> bool:
        """Whether an assistant has the last word. Raises nothing."""
        return self.messages[-1].role == "assistant"


def talk_of(given: Any, settings: Mapping[str, Any] | None = None, key: str = "messages") -> Talk:
    """`given` is a list of messages, `settings` the keys beside it: `tools`, `reasoning_effort`,
    `chat_template_kwargs`. Raises RowError."""
    if not isinstance(given, list) or not given:
        raise RowError(f"{key} is {shown(given)}, expected a list of messages, each with a role and a content")
    pairs = [message_of(each, f"{key}[{n}]") for n, each in enumerate(given)]
    return ordered([message for message, _ in pairs], [weight for _, weight in pairs], **settings_of(settings or {}))


def ordered(messages: Sequence[Message], weights: Sequence[float | None], **more: Any) -> Talk:
    """With ids for calls that have none, and the results of tools in the order of their calls. Raises RowError."""
    named = with_ids(messages)
    if calls := [n for n, message in enumerate(messages) if message.tool_calls and message.role != "assistant"]:
        raise RowError(
            f"messages[{calls[0]}] has tool_calls, and is not the assistant's, expected calls of the assistant"
        )
    try:
        sorted_ones = in_the_order_of_calls(named)
    except ChatError as problem:
        raise RowError(str(problem)) from problem
    return Talk(messages=sorted_ones, weights=tuple(weights), **more)


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    kwargs = given.get("chat_template_kwargs") or {}
    if not isinstance(kwargs, dict) or (unknown := kwargs.keys() - {"reasoning_effort", "enable_thinking", "thinking"}):
        named = f"has the keys {sorted(unknown)}" if isinstance(kwargs, dict) else f"is {shown(kwargs)}"
        raise RowError(f"chat_template_kwargs {named}, expected reasoning_effort, enable_thinking or thinking")
    effort = given.get("reasoning_effort", kwargs.get("reasoning_effort"))
    if effort is not None and effort not in get_args(Effort):
        raise RowError(f"reasoning_effort is {shown(effort)}, expected one of {', '.join(get_args(Effort))}")
    thinking = kwargs.get("enable_thinking", kwargs.get("thinking"))
    if thinking is not None and not isinstance(thinking, bool):
        raise RowError(f"enable_thinking is {shown(thinking)}, expected true or false")
    return {"effort": effort, "thinking": thinking, "tools": tools_of(given.get("tools"))}


def message_of(given: Any, where: str) -> tuple[Message, float | None]:
    """A message, and its weight. Raises RowError."""
    if not isinstance(given, dict):
        raise RowError(f"{where} is {shown(given)}, expected an object with a role and a content")
    if unknown := sorted({key for key, value in given.items() if value is not None} - MESSAGE_KEYS):
        raise RowError(
            f"{where} has the keys {', '.join(unknown)[:200]}, expected only {', '.join(sorted(MESSAGE_KEYS))}"
        )
    role = given.get("role")
    if not isinstance(role, str) or role not in get_args(Role):
        raise RowError(f"{where}.role is {shown(role)}, expected one of {', '.join(get_args(Role))}")
    if given.get("refusal") is not None:
        raise RowError(f"{where}.refusal is not read, expected its text in content")
    content, reasoning = text_of(given.get("content"), f"{where}.content"), reasoning_of(given, where)
    if role != "assistant" and reasoning is not None:
        raise RowError(f"{where} has thoughts and is not the assistant's, expected thoughts of the assistant only")
    if role == "assistant" and reasoning is None and (tagged := TAGGED.match(content)):
        reasoning, content = tagged[1].strip("\n"), content[tagged.end() :]
    message = Message(
        role=cast("Role", role),
        content=content,
        reasoning=reasoning or None,
        tool_calls=calls_of(given.get("tool_calls"), where),
        tool_call_id=name_of(given.get("tool_call_id"), f"{where}.tool_call_id"),
        name=name_of(given.get("name"), f"{where}.name"),
    )
    if role == "assistant" and not (message.content or message.tool_calls):
        raise RowError(f"{where} says nothing, expected a content or tool_calls")
    return message, weight_of(given, role, where)


def reasoning_of(given: Mapping[str, Any], where: str) -> str | None:
    found = [text_of(given[key], f"{where}.{key}") for key in REASONING_KEYS if given.get(key) is not None]
    if len(set(found)) > 1:
        raise RowError(
            f"{where} has thoughts in several keys, and they differ, expected one of {', '.join(REASONING_KEYS)}"
        )
    return found[0] if found else None


def weight_of(given: Mapping[str, Any], role: str, where: str) -> float | None:
    """OpenAI's `weight` and Axolotl's `train`."""
    weight, train = given.get("weight"), given.get("train")
    if train is not None and not isinstance(train, bool):
        raise RowError(f"{where}.train is {shown(train)}, expected true or false")
    if weight is None and train is None:
        return None
    if role == "tool":  # results are put into the order of their calls, and weights with them would be confusion
        raise RowError(f"{where} is a tool's result and has a weight, expected weights of what is said")
    if weight is None:
        return float(bool(train))
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
        raise RowError(f"{where}.weight is {shown(weight)}, expected a number from 0 to 1")
    if train is not None and train != bool(weight):
        raise RowError(f"{where} has weight {weight} and train {str(train).lower()}, expected one of the two")
    return float(weight)


def text_of(given: Any, where: str) -> str:
    """A text, or the texts of a list of parts."""
    match given:
        case None:
            return ""
        case str():
            return checked_text(given, where)
        case list() if all(isinstance(part, dict) and part.get("type") == "text" for part in given):
            return "".join(text_of(part.get("text"), where) for part in given)
    raise RowError(f"{where} is {shown(given)}, expected text (or parts of type text: this program trains no images)")


def checked_text(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise RowError(
            f"{where} has half a character (U+{ord(text[problem.start]):04X}, a lone surrogate), expected text; "
            "replace it"
        ) from None
    return text


def name_of(given: Any, where: str) -> str | None:
    if given is None or (isinstance(given, str) and given):
        return given
    raise RowError(f"{where} is {shown(given)}, expected a text")


def calls_of(given: Any, where: str) -> tuple[ToolCall, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise RowError(f"{where}.tool_calls is {shown(given)}, expected a list")
    return tuple(call_of(each, f"{where}.tool_calls[{n}]") for n, each in enumerate(given))


def call_of(given: Any, where: str) -> ToolCall:
    """OpenAI's form, with or without the object around the name, the id and the type. Without an id: ""."""
    if not isinstance(given, dict) or given.keys() - CALL_KEYS:
        raise RowError(f"{where} is {shown(given)}, expected {{'function': {{'name': …, 'arguments': …}}}}")
    function = given.get("function", given)
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise RowError(f"{where} names no function, expected {{'function': {{'name': …, 'arguments': …}}}}")
    identity = given.get("id")
    if identity is not None and not isinstance(identity, str):
        raise RowError(f"{where}.id is {shown(identity)}, expected a text")
    return ToolCall(identity or "", name, arguments_of(function.get("arguments"), where))


def arguments_of(given: Any, where: str) -> str:
    """JSON text of an object. What the model is to write has to be read by those who run the tool."""
    if given is None:
        return "{}"
    if isinstance(given, dict):
        return json.dumps(given, ensure_ascii=False)
    try:
        if isinstance(given, str) and isinstance(json.loads(given), dict):
            return given
    except (ValueError, RecursionError):
        pass  # said below, as all that is no object
    raise RowError(f"{where} has the arguments {shown(given)}, expected an object, or the JSON text of one")


def with_ids(messages: Sequence[Message]) -> list[Message]:
    """Calls without an id get one, and ids that no format would have made get the beginning that lets formats write
    their own form of it (Mistral's nine letters, Kimi's numbers)."""
    renamed: dict[str, str] = {}
    number = 0
    found = []
    for message in messages:
        calls = []
        for call in message.tool_calls:
            number += 1
            identity = call.id if call.id.startswith(KNOWN_IDS) else f"call_{call.id or number}"
            if call.id:
                renamed[call.id] = identity
            calls.append(replace(call, id=identity))
        answers = message.tool_call_id
        answers = None if answers is None else renamed.get(answers, answers)
        found.append(replace(message, tool_calls=tuple(calls), tool_call_id=answers))
    return found


def tools_of(given: Any) -> tuple[Tool, ...]:
    """A list of functions as OpenAI declares them, with or without the object around each; or the JSON text of one."""
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else None
        except (ValueError, RecursionError) as problem:
            raise RowError(f"tools is a text that is no JSON ({problem}), expected a list of functions") from None
    if given is None:
        return ()
    if not isinstance(given, list):
        raise RowError(f"tools is {shown(given)}, expected a list of functions")
    return tuple(tool_of(each, f"tools[{n}]") for n, each in enumerate(given))


def tool_of(given: Any, where: str) -> Tool:
    function = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise RowError(f"{where} is {shown(given)}, expected {{'type': 'function', 'function': {{'name': …}}}}")
    if unknown := sorted(function.keys() - {"name", "description", "parameters", "strict", "type"}):
        raise RowError(f"{where} has the keys {', '.join(unknown)[:200]}, expected name, description and parameters")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise RowError(f"{where}.parameters is {shown(parameters)}, expected a JSON schema")
    return Tool(
        name=function["name"],
        description=text_of(function.get("description"), f"{where}.description"),
        parameters=parameters,
    )


def shown(value: Any) -> str:
    """A value for an error: its kind and how it begins."""
    if value is None:
        return "missing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"
