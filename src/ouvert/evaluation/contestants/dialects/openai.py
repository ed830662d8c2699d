"""Chat completions, as OpenAI has them and as llama.cpp, LM Studio, vLLM and many others speak them."""

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
    listed,
    mapping,
    string,
    text_of,
)
from ouvert.evaluation.contestants.pieces import CallPiece, Ended, Piece, Said, Thought, Used, Words

PASSING = frozenset({"server_error", "rate_limit_exceeded", "overloaded_error", "service_unavailable"})


@dataclass(frozen=True, slots=True)
class OpenAI:
    """`hosted`: by OpenAI itself. It is told not to store the answer, and how long an answer may be has another name
    there, which models that think insist on."""

    hosted: bool
    framing: ClassVar[Literal["events", "lines"]] = "events"

    def headers(self, key: str | None) -> Mapping[str, str]:
        return {} if key is None else {"authorization": f"Bearer {key}"}

    def request(self, question: Question) -> Request:
        chat = question.chat
        body: dict[str, Any] = {
            "model": question.model,
            "messages": [dict(message) for message in chat.messages if text_of(message) is not None],
            "max_completion_tokens" if self.hosted else "max_tokens": question.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        body |= given(
            temperature=question.temperature, seed=question.seed, reasoning_effort=question.effort,
            store=False if self.hosted else None,
        )  # fmt: skip
        if chat.tools:
            body |= {"tools": [dict(tool) for tool in chat.tools], "tool_choice": choice_of(chat.tool_choice)}
        if chat.schema is not None:
            schema = {"name": "answer", "schema": dict(chat.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return Request("/chat/completions", body)

    def pieces(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        if event.get("error") is not None:
            error = event["error"]
            kind = error.get("code") or error.get("type") if isinstance(error, Mapping) else ""
            said = error.get("message", error) if isinstance(error, Mapping) else error
            raise RefusedWithinError(f"{said!s:.600}", passing=kind in PASSING)
        if "choices" not in event:
            raise ReadingError(f"an event has no choices: {sorted(event)!s:.120}")
        yield from says(event)
        for choice in listed(event["choices"], "choices"):
            choice = mapping(choice, "a choice")
            yield from of_delta(mapping(choice.get("delta") or {}, "delta"))
            if reason := string(choice.get("finish_reason"), "finish_reason"):
                yield Ended(reason)
        if event.get("usage"):
            yield used(mapping(event["usage"], "usage"))


def says(event: Mapping[str, Any]) -> Iterator[Said]:
    facts = given(
        id=event.get("id"), model=event.get("model"), system_fingerprint=event.get("system_fingerprint"),
        service_tier=event.get("service_tier"),
    )  # fmt: skip
    if facts:
        yield Said({name: value for name, value in facts.items() if isinstance(value, str)})


def of_delta(delta: Mapping[str, Any]) -> Iterator[Piece]:
    """Thoughts have two names: `reasoning_content` (DeepSeek's, llama.cpp) and `reasoning` (gpt-oss, vLLM); where a
    server writes both they are the same."""
    if thought := string(delta.get("reasoning_content") or delta.get("reasoning"), "reasoning"):
        yield Thought(thought)
    if words := string(delta.get("content") or delta.get("refusal"), "content"):
        yield Words(words)
    for place, call in enumerate(listed(delta.get("tool_calls"), "tool_calls")):
        call = mapping(call, "a tool call")
        function = mapping(call.get("function") or {}, "a call's function")
        at = call.get("index", place)
        yield CallPiece(
            at if isinstance(at, int) else place,
            string(function.get("name"), "a call's name"),
            string(function.get("arguments"), "a call's arguments"),
        )


def used(usage: Mapping[str, Any]) -> Used:
    details = usage.get("completion_tokens_details")
    thoughts = count(details.get("reasoning_tokens")) if isinstance(details, Mapping) else None
    return Used(count(usage.get("prompt_tokens")), count(usage.get("completion_tokens")), thoughts)


def choice_of(asked: str) -> Any:
    if asked in ("auto", "none", "required"):
        return asked
    return {"type": "function", "function": {"name": asked}}
