"""POST /api/chat: a conversation answered."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field
from starlette.responses import Response

from ouvert.assistant import Message, ToolCall
from ouvert.serving import consulting
from ouvert.serving.body import refuse_constant
from ouvert.serving.endpoints import Call
from ouvert.serving.function_tools import DeclaredTool, as_tool
from ouvert.serving.ollama.answer_lines import lines_of, new_id, only_loaded, sent
from ouvert.serving.ollama.foreign_fields import OLLAMA_REFUSED
from ouvert.serving.ollama.wire import AnswerRequest, refuse_images
from ouvert.serving.streams import json_text, unless_gone
from ouvert.serving.wire import Several, Wire


class CalledFunction(Wire):
    without_effect: ClassVar[frozenset[str]] = frozenset({"index"})

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class SentCall(Wire):
    without_effect: ClassVar[frozenset[str]] = frozenset({"index", "type"})

    id: str | None = None
    function: CalledFunction


class OllamaMessage(Wire):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: Several[Any] | None = None
    tool_calls: Several[SentCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OllamaChat(AnswerRequest):
    refused: ClassVar[Mapping[str, str]] = {
        **OLLAMA_REFUSED,
        "prompt": "send it as a message, or to /api/generate",
        "suffix": "send the text to /api/generate",
        "system": "send it as a message of the role system",
        "template": "a model's own template is used; /api/generate with raw: true takes the prompt as it is",
    }

    ouvert: consulting.Extras | None = None
    messages: Several[OllamaMessage] = Field(default_factory=list)
    tools: Several[DeclaredTool] | None = None


def messages_of(sent: Sequence[OllamaMessage]) -> list[Message]:
    """In the assistant's words. Ollama's calls and results need no ids: a result without one answers the oldest call
    of its name, or simply the oldest, that has no result yet."""
    messages: list[Message] = []
    open_calls: list[ToolCall] = []
    for n, message in enumerate(sent):
        refuse_images(message.images, f"messages[{n}].images")
        calls = tuple(
            ToolCall(
                call.id or f"call_{n}_{k}",
                call.function.name,
                json_text(call.function.arguments),
            )
            for k, call in enumerate(message.tool_calls or ())
        )
        answered: str | None = None
        if message.role == "assistant":
            open_calls = list(calls)
        elif message.role == "tool":
            answered = message.tool_call_id
            if answered is None and open_calls:
                fitting = [call for call in open_calls if call.name == message.tool_name] or open_calls
                answered = fitting[0].id
            open_calls = [call for call in open_calls if call.id != answered]
        messages.append(
            Message(
                role=message.role,
                content=message.content or "",
                reasoning=message.thinking if message.role == "assistant" else None,
                tool_calls=calls if message.role == "assistant" else (),
                tool_call_id=answered,
                name=message.tool_name,
            )
        )
    return messages


class ChatShape:
    """A line has a message."""

    text_field = "content"

    def line(self, text: str, thinking: str | None, calls: Sequence[ToolCall]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if thinking is not None:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = [
                {"id": call.id, "function": {"index": n, "name": call.name, "arguments": as_object(call.arguments)}}
                for n, call in enumerate(calls)
            ]
        return {"message": message}

    def inner(self, line: Mapping[str, Any]) -> dict[str, Any]:
        return dict(line["message"])

    def with_inner(self, line: Mapping[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
        return {**line, "message": inner}


def as_object(arguments: str) -> dict[str, Any]:
    """The arguments of a call. What a model wrote that is no JSON object is handed on as it is, not dropped."""
    try:
        found = json.loads(arguments or "{}", parse_constant=refuse_constant)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"arguments": arguments}


async def chat(call: Call) -> Response:
    request: OllamaChat = call.body
    if not request.messages:
        return await only_loaded(call, request, ChatShape())
    tools = [as_tool(tool.function) for tool in request.tools or ()]
    wanted = request.chat_request(messages_of(request.messages), tools)
    wanted = consulting.consulted(wanted, request.ouvert, call)
    lines = await lines_of(call, request, ChatShape(), tools=bool(tools))
    answer = await unless_gone(
        call.request, call.service.answer(request.model, wanted, call.caller, new_id(), notes=request.unknown)
    )
    return await sent(call, request, answer, lines)
