"""POST /v1/chat/completions: OpenAI's Chat Completions, a translation of the assistant's events."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from ouvert.assistant import Cited, Event, Finished, ReasoningDelta, ScoredText, ScoredToken, TextDelta, Watched
from ouvert.serving import receipts
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.consulting import as_url_citation, consulted
from ouvert.serving.edits import edited, state_of
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.openai.chat_chunks import ChunkWriter, chunks, logprobs_of
from ouvert.serving.openai.chat_request import ChatCompletionRequest, asked, notes_on_instructions
from ouvert.serving.openai.wire import FINISH_REASONS, frame, in_openais_words, usage_of
from ouvert.serving.streams import JSONAnswer, Streamed, saying_what_goes_wrong, unless_gone
from ouvert.serving.watching import piece_of, watched


@dataclass(slots=True)
class Choice:
    """One answer as far as it has come."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tokens: list[ScoredToken] = field(default_factory=list)
    seen: list[Watched] = field(default_factory=list)
    cited: list[Cited] = field(default_factory=list)
    finished: Finished | None = None

    def take(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self.text.append(text)
                if isinstance(event, ScoredText):
                    self.tokens += event.tokens
            case ReasoningDelta(text):
                self.reasoning.append(text)
            case Cited():
                self.cited.append(event)
            case Watched():
                self.seen.append(event)
            case Finished():
                self.finished = event


async def chat_completions(call: Call) -> Response:
    request: ChatCompletionRequest = call.body
    wanted = edited(asked(request, call.service.settings.most_choices), request.ouvert, call)
    wanted = consulted(watched(wanted, request.ouvert, call), request.ouvert, call)
    notes = (*request.unknown, *notes_on_instructions(request.messages))
    answer_id = "chatcmpl-" + secrets.token_hex(12)
    answer = await unless_gone(
        call.request,
        call.service.answer(request.model, wanted, call.caller, answer_id, notes=notes, choices=request.n or 1),
    )
    answer.base = str(call.request.base_url)
    headers = {receipts.HEADER: answer_id, **state_of(wanted), **answer.headers}
    full = receipts.wants_full(call.request, request.ouvert)
    if request.stream:
        include_usage = bool(request.stream_options and request.stream_options.include_usage)
        writer = ChunkWriter(answer, scored=bool(request.logprobs), include_usage=include_usage, full=full)
        return Streamed(
            saying_what_goes_wrong(chunks(answer, writer), in_openais_words),
            answer.close,
            ping_seconds=call.service.settings.ping_seconds,
            headers=headers,
        )
    try:
        choices = await unless_gone(call.request, collected(answer, answer.count))
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
    if pieces := [piece_of(n, choice.seen) for n, choice in enumerate(choices) if choice.seen]:
        field["watched"] = pieces
    return {
        **frame(answer, "chat.completion"),
        "choices": [whole_choice(n, choice, answer.base, scored=scored) for n, choice in enumerate(choices)],
        "usage": usage_of([each.usage for each in ended]),
        "ouvert": field,
    }


def whole_choice(index: int, choice: Choice, base: str = "/", *, scored: bool) -> dict[str, Any]:
    calls = () if choice.finished is None else choice.finished.tool_calls
    text = "".join(choice.text)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls and not text else text,  # what stands beside calls is said here as in a stream
        "refusal": None,
    }
    if choice.cited:
        message["annotations"] = [
            {"type": "url_citation", "url_citation": as_url_citation(each.facts, base)} for each in choice.cited
        ]
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


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/chat/completions",
        handler=chat_completions,
        summary="Answer a conversation",
        body=ChatCompletionRequest,
    ),
)
