"""Ollama's own /api/chat: a JSON object a line."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ouvert.evaluation.contestants.dialects.dialect import (
    CannotAskError,
    Question,
    ReadingError,
    RefusedWithinError,
    Request,
    count,
    given,
    listed,
    mapping,
    string,
    text_of,
)
from ouvert.evaluation.contestants.pieces import CallPiece, Ended, Piece, Said, Thought, Used, Words


@dataclass(frozen=True, slots=True)
class Ollama:
    framing: ClassVar[Literal["events", "lines"]] = "lines"

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def request(self, question: Question) -> Request:
        """A prompt that does not fit is to be an error (`truncate`, `shift`): Ollama cuts it in silence otherwise."""
        chat = question.chat
        if chat.tools and chat.tool_choice not in ("auto", "none"):
            raise CannotAskError(f"tool_choice {chat.tool_choice!r}: Ollama's own interface has auto only")
        options = given(
            num_predict=question.max_tokens, temperature=question.temperature, seed=question.seed,
            num_ctx=question.context,
        )  # fmt: skip
        body: dict[str, Any] = {
            "model": question.model,
            "messages": messages_of(chat.messages),
            "stream": True,
            "options": options,
            "truncate": False,
            "shift": False,
        }
        if chat.tools and chat.tool_choice != "none":
            body["tools"] = [dict(tool) for tool in chat.tools]
        body |= given(format=None if chat.schema is None else dict(chat.schema), think=question.effort)
        return Request("/api/chat", body)

    def pieces(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        if "error" in event:
            raise RefusedWithinError(f"{event['error']!s:.600}", passing=False)
        if "message" not in event and not event.get("done"):
            raise ReadingError(f"a line has no message: {sorted(event)!s:.120}")
        message = mapping(event.get("message") or {}, "message")
        if thought := string(message.get("thinking"), "thinking"):
            yield Thought(thought)
        if words := string(message.get("content"), "content"):
            yield Words(words)
        for call in listed(message.get("tool_calls"), "tool_calls"):
            yield call_of(mapping(call, "a tool call"))
        if event.get("done"):
            yield Said({name: event[name] for name in ("model", "created_at") if isinstance(event.get(name), str)})
            yield Used(count(event.get("prompt_eval_count")), count(event.get("eval_count")))
            yield Ended(string(event.get("done_reason"), "done_reason") or "stop")


def call_of(call: Mapping[str, Any]) -> CallPiece:
    """A whole call: Ollama writes none in pieces, and does not number them."""
    function = mapping(call.get("function"), "a call's function")
    arguments = function.get("arguments") or {}
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return CallPiece(None, string(function.get("name"), "a call's name"), text)


def messages_of(messages: tuple[Mapping[str, Any], ...]) -> list[dict[str, Any]]:
    """Ollama's calls have their arguments as an object, and a result names its tool."""
    named: dict[str, str] = {}  # id of a call -> its tool
    written = []
    for message in messages:
        sent = {"role": message["role"], "content": text_of(message)}
        if calls := message.get("tool_calls"):
            named |= {call["id"]: call["function"]["name"] for call in calls if "id" in call}
            sent["tool_calls"] = [{"function": function_of(call["function"])} for call in calls]
        if message["role"] == "tool":
            sent |= given(tool_name=message.get("name") or named.get(message.get("tool_call_id", "")))
        written.append(sent)
    return written


def function_of(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": function["name"], "arguments": arguments_of(function["arguments"])}


def arguments_of(text: str) -> Any:
    """Raises CannotAskError for arguments that are no JSON object: other dialects have no words for them."""
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise CannotAskError(f"a call's arguments are {text!r:.60}, expected a JSON object")
    return arguments
