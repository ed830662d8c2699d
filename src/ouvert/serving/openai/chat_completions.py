"""POST /v1/chat/completions: OpenAI's Chat Completions, a translation of the assistant's events."""

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from ouvert.assistant import Event, Finished, Reading, ReasoningDelta, ScoredText, ScoredToken, TextDelta, ToolCallDelta
from ouvert.serving import receipts
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import openai_error, refusal_of
from ouvert.serving.logprobs import scored_token
from ouvert.serving.openai.chat_request import ChatRequest, asked
from ouvert.serving.openai.wire import DONE, FINISH_REASONS, frame, usage_of
from ouvert.serving.service import Ask
from ouvert.serving.streams import JSONAnswer, Streamed, sse, unless_gone


@dataclass(slots=True)
class Choice:
    """One answer as far as it has come."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tokens: list[ScoredToken] = field(default_factory=list)
    finished: Finished | None = None

    def take(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self.text.append(text)
                if isinstance(event, ScoredText):
                    self.tokens += event.tokens
            case ReasoningDelta(text):
                self.reasoning.append(text)
            case Finished():
                self.finished = event


async def chat_completions(call: Call) -> Response:
    request: ChatRequest = call.body
    ask = asked(request, call.service.settings.most_choices)
    answer_id = "chatcmpl-" + secrets.token_hex(12)
    answer = await unless_gone(call.request, call.service.answer(ask, call.caller, answer_id))
    headers = {receipts.HEADER: answer_id}
    full = receipts.wants_full(call.request, request.ouvert)
    if request.stream:
        settings = call.service.settings
        include_usage = bool(request.stream_options and request.stream_options.include_usage)
        return Streamed(
            chunks(answer, ask, scored=bool(request.logprobs), include_usage=include_usage, full=full),
            answer.close,
            ping_seconds=settings.ping_seconds,
            headers=headers,
        )
    try:
        choices = await unless_gone(call.request, collected(answer, ask.choices))
    finally:
        await answer.close()
    return JSONAnswer(completion(answer, choices, scored=bool(request.logprobs), full=full), headers=headers)


async def collected(answer: AnswerInProgress[Event], count: int) -> list[Choice]:
    choices = [Choice() for _ in range(count)]
    async for number, event in answer:
        choices[number].take(event)
    return choices


def completion(
    answer: AnswerInProgress[Event], choices: Sequence[Choice], *, scored: bool, full: bool
) -> dict[str, Any]:
    ended = [choice.finished for choice in choices if choice.finished is not None]
    field = receipts.beside(answer.id, [each.receipt for each in ended], full=full, notes=answer.notes)
    return {
        **frame(answer, "chat.completion"),
        "choices": [whole_choice(n, choice, scored=scored) for n, choice in enumerate(choices)],
        "usage": usage_of([each.usage for each in ended]),
        "ouvert": field,
    }


def whole_choice(index: int, choice: Choice, *, scored: bool) -> dict[str, Any]:
    calls = () if choice.finished is None else choice.finished.tool_calls
    text = "".join(choice.text)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls and not text else text,  # what stands beside calls is said here as in a stream
        "refusal": None,
    }
    if reasoning := "".join(choice.reasoning):
        message["reasoning"] = message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs_of(choice.tokens) if scored else None,
        "finish_reason": FINISH_REASONS["cancelled" if choice.finished is None else choice.finished.reason],
    }


async def chunks(
    answer: AnswerInProgress[Event], ask: Ask, *, scored: bool, include_usage: bool, full: bool
) -> AsyncIterator[bytes]:
    """The chunks of a stream, each one event. What goes wrong on the way is said in the stream."""
    head = frame(answer, "chat.completion.chunk")
    if include_usage:
        head["usage"] = None

    def chunk(number: int, delta: Mapping[str, Any], reason: str | None = None, logprobs: Any = None) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return sse({**head, "choices": [choice]})

    for number in range(ask.choices):
        yield chunk(number, {"role": "assistant", "content": "", "refusal": None})
    ended: dict[int, Finished] = {}
    try:
        async for number, event in answer:
            match event:
                case TextDelta(text):
                    tokens = logprobs_of(event.tokens) if scored and isinstance(event, ScoredText) else None
                    yield chunk(number, {"content": text}, logprobs=tokens)
                case ReasoningDelta(text):
                    yield chunk(number, {"reasoning": text, "reasoning_content": text})
                case ToolCallDelta():
                    for piece in call_pieces(event):
                        yield chunk(number, {"tool_calls": [piece]})
                case Reading():
                    yield sse({**head, "choices": [], "ouvert": {"reading": {"index": number, **reading_of(event)}}})
                case Finished():
                    ended[number] = event
                    if len(ended) < ask.choices:
                        yield chunk(number, {}, FINISH_REASONS[event.reason])
                    else:
                        field = receipts.beside(
                            answer.id, [ended[n].receipt for n in sorted(ended)], full=full, notes=answer.notes
                        )
                        choice = {
                            "index": number,
                            "delta": {},
                            "logprobs": None,
                            "finish_reason": FINISH_REASONS[event.reason],
                        }
                        yield sse({**head, "choices": [choice], "ouvert": field})
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            raise
        yield sse(openai_error(refusal))
        return
    if include_usage:
        yield sse({**head, "choices": [], "usage": usage_of([each.usage for each in ended.values()])})
    yield DONE


def reading_of(event: Reading) -> dict[str, Any]:
    left = event.seconds_left
    return {
        "done": event.done,
        "total": event.total,
        "reused": event.reused,
        "seconds": round(event.seconds, 3),
        "seconds_left": None if left is None else round(left, 3),
    }


def call_pieces(event: ToolCallDelta) -> Iterator[dict[str, Any]]:
    """The first piece of a call has its id and name and no arguments; later ones have nothing but arguments."""
    if event.id is not None:
        function = {"name": event.name, "arguments": ""}
        yield {"index": event.index, "id": event.id, "type": "function", "function": function}
    if event.arguments:
        yield {"index": event.index, "function": {"arguments": event.arguments}}


def logprobs_of(tokens: Sequence[ScoredToken]) -> dict[str, Any]:
    return {"content": [scored_token(token) for token in tokens], "refusal": None}


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/chat/completions",
        handler=chat_completions,
        summary="Answer a conversation",
        body=ChatRequest,
    ),
)
