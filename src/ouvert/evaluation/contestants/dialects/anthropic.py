"""Anthropic's /v1/messages."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ouvert.evaluation.contestants.dialects.dialect import (
    Question,
    ReadingError,
    RefusedWithinError,
    Request,
    count,
    given,
    mapping,
    string,
    text_of,
)
from ouvert.evaluation.contestants.dialects.ollama import arguments_of
from ouvert.evaluation.contestants.pieces import CallPiece, Ended, Piece, Said, Thought, Used, Words

VERSION = "2026-10-21"  # of the interface; it has no temperature
# stop_reason there -> reason here; others keep their names.
REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
PASSING = frozenset({"overloaded_error", "rate_limit_error", "api_error", "timeout_error"})
CHOICES = {"auto": "auto", "none": "none", "required": "any"}


@dataclass(frozen=True, slots=True)
class Anthropic:
    framing: ClassVar[Literal["events", "lines"]] = "events"

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {"anthropic-version": VERSION} | given(**{"x-api-key": key})

    def request(self, question: Question) -> Request:
        """There is neither a seed nor a temperature. With an effort the model thinks as much as it finds right for it
        (adaptive), and what it thinks comes as a summary; without one, thinking is the model's own default."""
        chat = question.chat
        system, messages = messages_of(chat.messages)
        body: dict[str, Any] = {
            "model": question.model,
            "max_tokens": question.max_tokens,
            "messages": messages,
            "stream": True,
        } | given(system=system)
        output = given(
            effort=question.effort,
            format=None if chat.schema is None else {"type": "json_schema", "schema": dict(chat.schema)},
        )
        if output:
            body["output_config"] = output
        if question.effort is not None:
            body["thinking"] = {"type": "adaptive", "display": "summarized"}
        if chat.tools:
            body |= {"tools": [tool_of(tool["function"]) for tool in chat.tools]}
            kind = CHOICES.get(chat.tool_choice)
            body["tool_choice"] = {"type": kind} if kind else {"type": "tool", "name": chat.tool_choice}
        return Request("/messages", body)

    def pieces(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        kind = event.get("type")
        match kind:
            case "message_start":
                message = mapping(event.get("message"), "message")
                yield Said({name: message[name] for name in ("id", "model") if isinstance(message.get(name), str)})
                yield used(mapping(message.get("usage") or {}, "usage"))
            case "content_block_start":
                block = mapping(event.get("content_block"), "content_block")
                yield from begun(event.get("index", 0), block)
            case "content_block_delta":
                yield from of_delta(event.get("index", 0), mapping(event.get("delta"), "delta"))
            case "message_delta":
                reason = string(mapping(event.get("delta"), "delta").get("stop_reason"), "stop_reason")
                yield used(mapping(event.get("usage") or {}, "usage"))
                yield Ended(REASONS.get(reason, reason))
            case "error":
                error = mapping(event.get("error"), "error")
                raise RefusedWithinError(f"{error.get('message')!s:.600}", passing=error.get("type") in PASSING)
            case _ if not isinstance(kind, str):
                raise ReadingError(f"an event has no type: {sorted(event)!s:.120}")
            # Others say nothing of the answer (ping, ...), and new ones may come within a version.


def begun(at: Any, block: Mapping[str, Any]) -> Iterator[Piece]:
    match block.get("type"):
        case "text":
            yield Words(string(block.get("text"), "text"))
        case "thinking":
            yield Thought(string(block.get("thinking"), "thinking"))
        case "tool_use":
            yield CallPiece(at, string(block.get("name"), "a call's name"))


def of_delta(at: Any, delta: Mapping[str, Any]) -> Iterator[Piece]:
    match delta.get("type"):
        case "text_delta":
            yield Words(string(delta.get("text"), "text"))
        case "thinking_delta":
            yield Thought(string(delta.get("thinking"), "thinking"))
        case "input_json_delta":
            yield CallPiece(at, "", string(delta.get("partial_json"), "partial_json"))


def used(usage: Mapping[str, Any]) -> Used:
    """What was read from a cache or written to one is counted apart there, and is of the prompt all the same."""
    read = [count(usage.get(name)) for name in
            ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")]  # fmt: skip
    details = usage.get("output_tokens_details")
    thoughts = count(details.get("thinking_tokens")) if isinstance(details, Mapping) else None
    prompt = None if read[0] is None else sum(each or 0 for each in read)
    return Used(prompt, count(usage.get("output_tokens")), thoughts)


def tool_of(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = dict(function.get("parameters") or {"type": "object", "properties": {}})
    return {"name": function["name"], "input_schema": schema} | given(description=function.get("description"))


def messages_of(messages: tuple[Mapping[str, Any], ...]) -> tuple[str | None, list[dict[str, Any]]]:
    """(what the system says, the messages). Results of tools are a user's; several in a row are one message."""
    system: list[str] = []
    written: list[dict[str, Any]] = []
    for message in messages:
        text = text_of(message)
        match message["role"]:
            case "system" | "developer":
                system.append(text)
            case "tool":
                result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": text}
                if written and written[-1]["role"] == "user" and isinstance(written[-1]["content"], list):
                    written[-1]["content"].append(result)
                else:
                    written.append({"role": "user", "content": [result]})
            case "assistant" if message.get("tool_calls"):
                said = [{"type": "text", "text": text}] if text else []
                written.append(
                    {"role": "assistant", "content": said + [use_of(each) for each in message["tool_calls"]]}
                )
            case role:
                written.append({"role": role, "content": text})
    return "\n\n".join(system) or None, written


def use_of(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {
        "type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments_of(function["arguments"]),
    }  # fmt: skip
