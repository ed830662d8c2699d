"""Google's Gemini: POST /v1beta/models/MODEL:streamGenerateContent."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import quote

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
from ouvert.evaluation.contestants.dialects.ollama import arguments_of
from ouvert.evaluation.contestants.pieces import CallPiece, Ended, Piece, Said, Thought, Used, Words

# finishReason there -> reason here; others keep their names, in small letters.
REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
PASSING = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "DEADLINE_EXCEEDED"})
MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


@dataclass(frozen=True, slots=True)
class Gemini:
    framing: ClassVar[Literal["events", "lines"]] = "events"

    def headers(self, key: str | None) -> Mapping[str, str]:
        return given(**{"x-goog-api-key": key})

    def request(self, question: Question) -> Request:
        chat = question.chat
        system, contents = contents_of(chat.messages)
        settings = given(
            maxOutputTokens=question.max_tokens, temperature=question.temperature, seed=question.seed,
            responseJsonSchema=None if chat.schema is None else dict(chat.schema),
            responseMimeType=None if chat.schema is None else "application/json",
            thinkingConfig=None if question.effort is None
            else {"thinkingLevel": question.effort, "includeThoughts": True},
        )  # fmt: skip
        body: dict[str, Any] = {"contents": contents, "generationConfig": settings}
        if system:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if chat.tools:
            body["tools"] = [{"functionDeclarations": [declared(tool["function"]) for tool in chat.tools]}]
            calling = {"mode": MODES.get(chat.tool_choice, "ANY")}
            if chat.tool_choice not in MODES:
                calling |= {"allowedFunctionNames": [chat.tool_choice]}  # type: ignore[dict-item]
            body["toolConfig"] = {"functionCallingConfig": calling}
        return Request(f"/models/{quote(question.model, safe='')}:streamGenerateContent?alt=sse", body)

    def pieces(self, event: Mapping[str, Any]) -> Iterator[Piece]:
        if "error" in event:
            error = mapping(event["error"], "error")
            raise RefusedWithinError(f"{error.get('message')!s:.600}", passing=error.get("status") in PASSING)
        if not event.keys() & {"candidates", "usageMetadata", "promptFeedback"}:
            raise ReadingError(f"an event has no candidates: {sorted(event)!s:.120}")
        names = {"modelVersion": "model", "responseId": "id"}
        yield Said({ours: event[theirs] for theirs, ours in names.items() if isinstance(event.get(theirs), str)})
        for candidate in listed(event.get("candidates"), "candidates"):
            candidate = mapping(candidate, "a candidate")
            for part in listed(mapping(candidate.get("content") or {}, "content").get("parts"), "parts"):
                yield from of_part(mapping(part, "a part"))
            if reason := string(candidate.get("finishReason"), "finishReason"):
                yield Ended(REASONS.get(reason, reason.lower()))
        if blocked := mapping(event.get("promptFeedback") or {}, "promptFeedback").get("blockReason"):
            yield Ended(f"blocked: {blocked!s:.60}")
        if event.get("usageMetadata"):
            yield used(mapping(event["usageMetadata"], "usageMetadata"))


def of_part(part: Mapping[str, Any]) -> Iterator[Piece]:
    if "functionCall" in part:
        call = mapping(part["functionCall"], "functionCall")
        arguments = json.dumps(call.get("args") or {}, ensure_ascii=False)
        yield CallPiece(None, string(call.get("name"), "a call's name"), arguments)
    elif text := string(part.get("text"), "text"):
        yield Thought(text) if part.get("thought") else Words(text)


def used(usage: Mapping[str, Any]) -> Used:
    """Thoughts are counted beside the answer there, and are among its tokens here."""
    thoughts, spoken = count(usage.get("thoughtsTokenCount")), count(usage.get("candidatesTokenCount"))
    output = None if spoken is None and thoughts is None else (spoken or 0) + (thoughts or 0)
    return Used(count(usage.get("promptTokenCount")), output, thoughts)


def declared(function: Mapping[str, Any]) -> dict[str, Any]:
    return given(
        name=function["name"], description=function.get("description"), parametersJsonSchema=function.get("parameters")
    )


def contents_of(messages: tuple[Mapping[str, Any], ...]) -> tuple[str, list[dict[str, Any]]]:
    """(what the system says, the contents). The model's role is "model"; a tool's result names its tool."""
    system: list[str] = []
    named: dict[str, str] = {}  # id of a call -> its tool
    written: list[dict[str, Any]] = []
    for message in messages:
        text = text_of(message)
        match message["role"]:
            case "system" | "developer":
                system.append(text)
            case "tool":
                name = message.get("name") or named.get(message.get("tool_call_id", ""), "")
                result = {"functionResponse": {"name": name, "response": {"result": text}}}
                written.append({"role": "user", "parts": [result]})
            case "assistant":
                calls = message.get("tool_calls") or ()
                named |= {call["id"]: call["function"]["name"] for call in calls}
                said: list[dict[str, Any]] = [{"text": text}] if text else []
                written.append({"role": "model", "parts": said + [call_of(call["function"]) for call in calls]})
            case _:
                written.append({"role": "user", "parts": [{"text": text}]})
    return "\n\n".join(system), written


def call_of(function: Mapping[str, Any]) -> dict[str, Any]:
    return {"functionCall": {"name": function["name"], "args": arguments_of(function["arguments"])}}
