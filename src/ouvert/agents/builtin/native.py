"""gpt-oss was trained on tools of its own: `python` and `browser.search`, `.open`, `.find`. Other models get the same
tools as functions: `python`, `browser_search` and so on. Here the one name becomes the other."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ouvert.agents.tools import AgentTool
from ouvert.chat import Conversation, Message, ToolCall

HARMONY = "harmony"  # the format whose models know them
PYTHON = "python"
OFFLINE = "python_offline"  # how its format calls it where there is no Internet access, as in our boxes
BROWSER = ("browser_search", "browser_open", "browser_find")


@dataclass(frozen=True, slots=True)
class Native:
    """Which tools a model is told of as its own: `names` in its system message, and the functions that this covers."""

    names: frozenset[str]
    covered: frozenset[str]

    def conversation(self, conversation: Conversation) -> Conversation:
        """With the names that the model knows, in its calls and their results. Raises nothing."""
        if not self.covered:
            return conversation
        return replace(conversation, messages=tuple(map(self._message, conversation.messages)))

    def _message(self, message: Message) -> Message:
        calls = tuple(self._call(call) for call in message.tool_calls)
        name = self._name(message.name) if message.role == "tool" and message.name is not None else message.name
        return replace(message, tool_calls=calls, name=name)

    def _call(self, call: ToolCall) -> ToolCall:
        if call.name not in self.covered:
            return call
        code = code_of(call.arguments) if call.name == PYTHON else call.arguments
        return ToolCall(call.id, self._name(call.name), code)

    def _name(self, name: str) -> str:
        return name.replace("_", ".", 1) if name in self.covered else name


def native_tools(tools: Mapping[str, AgentTool], format_name: str) -> Native:
    """All of a namespace or none of it: the models were trained on the whole. Raises nothing."""
    if format_name != HARMONY:
        return Native(frozenset(), frozenset())
    python = frozenset({PYTHON}) & tools.keys()
    browser = frozenset(BROWSER) if set(BROWSER) <= tools.keys() else frozenset()
    offline = frozenset({OFFLINE} if python else ())
    return Native(frozenset({*offline, *(("browser",) if browser else ())}), python | browser)


def from_native(name: str, arguments: str) -> tuple[str, str]:
    """A call as the tools here are called. What is said to `python` is code, not JSON, where its model was trained so.
    Raises nothing."""
    if name == PYTHON and not is_code_argument(arguments):
        return name, json.dumps({"code": arguments}, ensure_ascii=False)
    dotted = name.replace(".", "_", 1)
    return (dotted, arguments) if dotted in BROWSER else (name, arguments)


def is_code_argument(arguments: str) -> bool:
    try:
        given = json.loads(arguments)
    except ValueError:
        return False
    return isinstance(given, dict) and set(given) == {"code"} and isinstance(given["code"], str)


def code_of(arguments: str) -> str:
    return str(json.loads(arguments)["code"]) if is_code_argument(arguments) else arguments
