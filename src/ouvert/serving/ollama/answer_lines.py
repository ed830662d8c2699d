"""Answers as Ollama sends them: one JSON object a line, or all lines joined into one object."""

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from ouvert.assistant import Event, Finished, ReasoningDelta, ScoredText, ScoredToken, TextDelta, Tool, ToolCall, Usage
from ouvert.serving import receipts
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.body import refuse_constant
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal, ollama_error, refusal_of
from ouvert.serving.logprobs import scored_token
from ouvert.serving.ollama.keep_alive import NOT_YOURS_TO_KEEP, seconds_of
from ouvert.serving.ollama.wire import Asked
from ouvert.serving.streams import JSONAnswer, Streamed, as_json, unless_gone
from ouvert.serving.text_continuation import Echoed

NDJSON = "application/x-ndjson"
NANO = 1_000_000_000


@dataclass(slots=True)
class Held:
    """One answer on its way out. `shape` puts a piece into the fields of its endpoint."""

    model: str
    shape: Callable[[str, str | None, Sequence[ToolCall]], dict[str, Any]]
    began: float
    loaded: float
    scored: bool
    full: bool
    notes: list[str] = field(default_factory=list)

    def line(self, text: str = "", thinking: str | None = None, calls: Sequence[ToolCall] = ()) -> dict[str, Any]:
        return {"model": self.model, "created_at": now(), **self.shape(text, thinking, calls), "done": False}

    def last(self, reason: str, usage: Usage, seconds: Mapping[str, float]) -> dict[str, Any]:
        """The line that ends an answer. Durations are in nanoseconds."""
        read, written = seconds.get("prefill", 0.0), seconds.get("decode", 0.0)
        return {
            "done": True,
            "done_reason": "length" if reason in ("length", "repetition", "cancelled", "timeout") else "stop",
            "total_duration": int((time.monotonic() - self.began) * NANO),
            "load_duration": int(self.loaded * NANO),
            "prompt_eval_count": usage.prompt,
            "prompt_eval_duration": int(read * NANO),
            "eval_count": usage.output,
            "eval_duration": int(written * NANO),
        }


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def as_object(arguments: str) -> dict[str, Any]:
    """The arguments of a call. What a model wrote that is no JSON object is handed on as it is, not dropped."""
    try:
        found = json.loads(arguments or "{}", parse_constant=refuse_constant)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"arguments": arguments}


def as_chat(text: str, thinking: str | None, calls: Sequence[ToolCall]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking is not None:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "function": {"index": n, "name": call.name, "arguments": as_object(call.arguments)}}
            for n, call in enumerate(calls)
        ]
    return {"message": message}


def as_generated(text: str, thinking: str | None, _calls: Sequence[ToolCall]) -> dict[str, Any]:
    return {"response": text} if thinking is None else {"response": text, "thinking": thinking}


def logprobs_of(tokens: Sequence[ScoredToken]) -> list[dict[str, Any]]:
    return [scored_token(token) for token in tokens]


async def lines(
    answer: AnswerInProgress[Event] | AnswerInProgress[Event | Echoed], held: Held
) -> AsyncIterator[dict[str, Any]]:
    """The objects of an answer. Those before the last are pieces; the last has counts and durations."""
    async for _, event in answer:
        match event:
            case TextDelta(text):
                line = held.line(text)
                if held.scored and isinstance(event, ScoredText):
                    line["logprobs"] = logprobs_of(event.tokens)
                yield line
            case ReasoningDelta(text):
                yield held.line(thinking=text)
            case Finished():
                if event.tool_calls:
                    yield held.line(calls=event.tool_calls)
                beside = receipts.beside(answer.id, [event.receipt], full=held.full, notes=answer.notes + held.notes)
                ended = held.last(event.reason, event.usage, event.receipt["seconds"])
                yield held.line() | ended | {"ouvert": beside}


def joined(pieces: Sequence[Mapping[str, Any]], shape: str) -> dict[str, Any]:
    """All lines of an answer as the one object that is sent where nothing is streamed."""
    whole = dict(pieces[-1])
    inner = [piece["message"] if shape == "chat" else piece for piece in pieces]
    key = "content" if shape == "chat" else "response"
    target = dict(whole["message"]) if shape == "chat" else whole
    target[key] = "".join(piece[key] for piece in inner)
    if thinking := "".join(piece.get("thinking", "") for piece in inner):
        target["thinking"] = thinking
    for piece in inner:
        if "tool_calls" in piece:
            target["tool_calls"] = piece["tool_calls"]
    if shape == "chat":
        whole["message"] = target
    scored = [token for piece in pieces for token in piece.get("logprobs", ())]
    return whole | ({"logprobs": scored} if scored else {})


async def streamed(found: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    """One object a line, each in one write. What goes wrong on the way is said in the stream."""
    try:
        async for line in found:
            yield as_json(line) + b"\n"
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            raise
        yield as_json(ollama_error(refusal)) + b"\n"


async def answered(
    call: Call,
    answer: AnswerInProgress[Any],
    found: AsyncIterator[dict[str, Any]],
    request: Asked,
    shape: str,
) -> Response:
    if request.keep_alive is not None and call.caller.keeps_models:
        answer.keep = seconds_of(request.keep_alive)
    elif request.keep_alive is not None:
        answer.notes += (f"keep_alive: {NOT_YOURS_TO_KEEP}",)
    headers = {receipts.HEADER: answer.id}
    if request.stream is not False:
        settings = call.service.settings
        return Streamed(
            streamed(found),
            answer.close,
            ping=None,  # a line that is no object would end some clients
            ping_seconds=settings.ping_seconds,
            headers=headers,
            media_type=NDJSON,
        )
    try:
        pieces = await unless_gone(call.request, collected(found))
    finally:
        await answer.close()
    return JSONAnswer(joined(pieces, shape), headers=headers)


async def collected(found: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line async for line in found]


async def begun(call: Call, request: Asked, tools: Sequence[Tool], shape: Callable[..., dict[str, Any]]) -> Held:
    """The model in memory, and whether it can do what is asked for. Raises Refusal."""
    began = time.monotonic()
    if request.keep_alive is not None:
        seconds_of(request.keep_alive)
    held = Held(
        model=request.model,
        shape=shape,
        began=began,
        loaded=0.0,
        scored=bool(request.logprobs),
        full=receipts.wants_full(call.request, request.ouvert),
    )
    lease = await unless_gone(call.request, call.service.borrow(request.model, call.caller))
    held.loaded = time.monotonic() - began
    try:
        held.notes = request.chosen.not_kept(lease.model.engine.context)
        if request.top_logprobs is not None and not request.logprobs:
            raise Refusal(400, "top_logprobs needs logprobs: true.", code="invalid_value", param="top_logprobs")
        if tools or request.think not in (None, False, "none"):
            abilities = lease.model.chat_format.abilities
            for wanted, able, what in (
                (tools, abilities.tools, "tools"),
                (request.think not in (None, False, "none"), abilities.thinks, "thinking"),
            ):
                if wanted and not able:
                    sentence = f"{request.model!r:.200} does not support {what}. /api/show says what a model can do."
                    raise Refusal(400, sentence, code="unsupported_parameter")
    finally:
        lease.give_back()
    return held


async def only_loaded(call: Call, request: Asked, shape: Callable[..., dict[str, Any]]) -> Response:
    """Without anything to answer a model is loaded, or let go with `keep_alive: 0`."""
    keep = float("nan") if request.keep_alive is None else seconds_of(request.keep_alive)
    if request.keep_alive is not None and not call.caller.keeps_models:
        raise Refusal(403, f"keep_alive: {NOT_YOURS_TO_KEEP} Leave it out.", code="not_yours", param="keep_alive")
    reason = "load"
    if keep == 0:
        lease = await unless_gone(call.request, call.service.borrow(request.model, call.caller))  # if the caller may
        lease.give_back(0.0)
        reason = "unload"
        await call.service.loaded_models.release(request.model)
    else:
        lease = await unless_gone(call.request, call.service.borrow(request.model, call.caller))
        lease.give_back(keep)
    held = Held(model=request.model, shape=shape, began=time.monotonic(), loaded=0.0, scored=False, full=False)
    line = held.line() | {"done": True, "done_reason": reason} | request.beside
    if request.stream is False:
        return JSONAnswer(line)
    return Response(as_json(line) + b"\n", media_type=NDJSON)


def new_id() -> str:
    return "ollama-" + secrets.token_hex(12)
