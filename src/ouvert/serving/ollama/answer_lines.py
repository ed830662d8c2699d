"""Answers as Ollama sends them: one JSON object a line, or all lines joined into one object."""

import math
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.responses import Response

from ouvert.assistant import Cited, Event, Finished, ReasoningDelta, ScoredText, TextDelta, ToolCall, Usage
from ouvert.chat import Abilities
from ouvert.serving import receipts
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal, ollama_error
from ouvert.serving.logprobs import scored_token
from ouvert.serving.ollama.keep_alive import NOT_YOURS_TO_KEEP, seconds_of
from ouvert.serving.ollama.wire import AnswerRequest
from ouvert.serving.streams import JSONAnswer, Streamed, as_json, saying_what_goes_wrong, unless_gone
from ouvert.serving.text_continuation import EchoedPrompt

NDJSON = "application/x-ndjson"
NANO = 1_000_000_000
# Why an answer ended -> what Ollama calls it, where that is not "stop".
CUT_OFF = ("length", "repetition", "cancelled", "timeout")


class Shape(Protocol):
    """The places of an answer's parts in a line; each endpoint that answers has its own."""

    @property
    def text_field(self) -> str:
        """Under which name the text stands in `inner`."""

    def line(self, text: str, thinking: str | None, calls: Sequence[ToolCall]) -> dict[str, Any]:
        """The fields of a line that are this endpoint's own."""

    def inner(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of the object of a line that has the text, the thoughts and the calls."""

    def with_inner(self, line: Mapping[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
        """The line with this object in its place."""


@dataclass(slots=True)
class AnswerLines:
    """How one answer is written. `began` is on the monotonic clock, `loaded` the seconds until the model was there."""

    model: str
    shape: Shape
    began: float = field(default_factory=time.monotonic)
    loaded: float = 0.0
    scored: bool = False
    full: bool = False
    notes: list[str] = field(default_factory=list)

    async def of(
        self, answer: AnswerInProgress[Event] | AnswerInProgress[Event | EchoedPrompt]
    ) -> AsyncIterator[dict[str, Any]]:
        """The lines of an answer. Those before the last are pieces; the last has counts and durations."""
        cited: dict[str, str] = {}
        async for _, event in answer:
            match event:
                case Cited(facts):
                    page = f", page {facts['page']}" if facts["paged"] else ""
                    cited.setdefault(facts["mark"], f"\n{facts['mark']} {facts['name']}{page}")
                case TextDelta(text):
                    line = self.line(text)
                    if self.scored and isinstance(event, ScoredText):
                        line["logprobs"] = [scored_token(token) for token in event.tokens]
                    yield line
                case ReasoningDelta(text):
                    yield self.line(thinking=text)
                case Finished():
                    if cited:
                        yield self.line("\n" + "".join(cited.values()))
                    if event.tool_calls:
                        yield self.line(calls=event.tool_calls)
                    notes = answer.notes + self.notes
                    beside = receipts.beside(answer.id, [event.receipt], full=self.full, notes=notes)
                    yield (
                        self.line()
                        | self.ending(event.reason, event.usage, event.receipt["seconds"])
                        | {"ouvert": beside}
                    )

    def line(self, text: str = "", thinking: str | None = None, calls: Sequence[ToolCall] = ()) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {"model": self.model, "created_at": now, **self.shape.line(text, thinking, calls), "done": False}

    def ending(self, reason: str, usage: Usage, seconds: Mapping[str, float]) -> dict[str, Any]:
        """What the last line has more than others. Durations are in nanoseconds."""
        read, written = seconds.get("prefill", 0.0), seconds.get("decode", 0.0)
        return {
            "done": True,
            "done_reason": "length" if reason in CUT_OFF else "stop",
            "total_duration": int((time.monotonic() - self.began) * NANO),
            "load_duration": int(self.loaded * NANO),
            "prompt_eval_count": usage.prompt,
            "prompt_eval_duration": int(read * NANO),
            "eval_count": usage.output,
            "eval_duration": int(written * NANO),
        }

    def joined(self, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """All lines of an answer as the one object that is sent where nothing is streamed."""
        every = [self.shape.inner(line) for line in lines]
        name = self.shape.text_field
        inner = every[-1] | {name: "".join(each[name] for each in every)}
        if thinking := "".join(each.get("thinking", "") for each in every):
            inner["thinking"] = thinking
        for each in every:
            if "tool_calls" in each:
                inner["tool_calls"] = each["tool_calls"]
        scored = [token for line in lines for token in line.get("logprobs", ())]
        return self.shape.with_inner(lines[-1], inner) | ({"logprobs": scored} if scored else {})


async def lines_of(call: Call, request: AnswerRequest, shape: Shape, *, tools: bool = False) -> AnswerLines:
    """How the answer will be written, when the model is in memory. `tools`: the request declares some.

    Raises Refusal for what the model cannot do.
    """
    if request.keep_alive is not None:
        seconds_of(request.keep_alive)
    full = receipts.wants_full(call.request, request.ouvert)
    lines = AnswerLines(model=request.model, shape=shape, scored=bool(request.logprobs), full=full)
    lease = await unless_gone(call.request, call.service.borrow(request.model, call.caller))
    lines.loaded = time.monotonic() - lines.began
    try:
        lines.notes = request.chosen.not_kept(lease.model.engine.context)
        if request.top_logprobs is not None and not request.logprobs:
            raise Refusal(400, "top_logprobs needs logprobs: true.", code="invalid_value", param="top_logprobs")
        thinks = request.think not in (None, False, "none")
        if tools or thinks:
            refuse_what_it_cannot(request.model, lease.model.chat_format.abilities, tools=tools, thinks=thinks)
    finally:
        lease.give_back()
    return lines


def refuse_what_it_cannot(name: str, abilities: Abilities, *, tools: bool, thinks: bool) -> None:
    for wanted, able, what in ((tools, abilities.tools, "tools"), (thinks, abilities.thinks, "thinking")):
        if wanted and not able:
            sentence = f"{name!r:.200} does not support {what}. /api/show says what a model can do."
            raise Refusal(400, sentence, code="unsupported_parameter")


async def sent(call: Call, request: AnswerRequest, answer: AnswerInProgress[Any], lines: AnswerLines) -> Response:
    """The answer, streamed unless the request says not to."""
    if request.keep_alive is not None and call.caller.keeps_models:
        answer.keep = seconds_of(request.keep_alive)
    elif request.keep_alive is not None:
        answer.notes += (f"keep_alive: {NOT_YOURS_TO_KEEP}",)
    headers = {receipts.HEADER: answer.id, **answer.headers}
    if request.stream is not False:
        return Streamed(
            saying_what_goes_wrong(streamed(lines.of(answer)), in_ollamas_words),
            answer.close,
            ping=None,  # a line that is no object would end some clients
            ping_seconds=call.service.settings.ping_seconds,
            headers=headers,
            media_type=NDJSON,
        )
    try:
        written = await unless_gone(call.request, collected(lines.of(answer)))
    finally:
        await answer.close()
    return JSONAnswer(lines.joined(written), headers=headers)


async def streamed(lines: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    """One object a line, each in one write."""
    async for line in lines:
        yield as_line(line)


async def collected(lines: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line async for line in lines]


def in_ollamas_words(refusal: Refusal) -> bytes:
    """What went wrong in a stream, as its last line."""
    return as_line(ollama_error(refusal))


def as_line(value: Mapping[str, Any]) -> bytes:
    return as_json(value) + b"\n"


async def only_loaded(call: Call, request: AnswerRequest, shape: Shape) -> Response:
    """A request with nothing to answer loads a model, or with `keep_alive: 0` lets it go."""
    keep = math.nan if request.keep_alive is None else seconds_of(request.keep_alive)
    if request.keep_alive is not None and not call.caller.keeps_models:
        raise Refusal(403, f"keep_alive: {NOT_YOURS_TO_KEEP} Leave it out.", code="not_yours", param="keep_alive")
    lease = await unless_gone(call.request, call.service.borrow(request.model, call.caller))
    lease.give_back(keep)
    if keep == 0:
        await call.service.loaded_models.release(request.model, call.caller.admits)
    reason = "unload" if keep == 0 else "load"
    line = AnswerLines(request.model, shape).line() | {"done": True, "done_reason": reason} | request.beside
    return JSONAnswer(line) if request.stream is False else Response(as_line(line), media_type=NDJSON)


def new_id() -> str:
    return "ollama-" + secrets.token_hex(12)
