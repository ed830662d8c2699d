"""The assistant's events as the chunks of a Chat Completions stream."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from ouvert.assistant import (
    Cited,
    Event,
    Finished,
    Reading,
    ReasoningDelta,
    ScoredText,
    ScoredToken,
    TextDelta,
    ToolCallDelta,
    Watched,
)
from ouvert.serving import receipts
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.consulting import as_url_citation
from ouvert.serving.logprobs import scored_token
from ouvert.serving.openai.wire import DONE, FINISH_REASONS, frame, usage_of
from ouvert.serving.streams import sse
from ouvert.serving.watching import Pieces


class ChunkWriter:
    """Gives the chunks for every event it takes, each one server-sent event."""

    def __init__(self, answer: AnswerInProgress[Event], *, scored: bool, include_usage: bool, full: bool) -> None:
        """`scored`: pieces of text have log-probabilities. `full`: the last chunk has whole receipts."""
        self._answer, self._scored, self._include_usage, self._full = answer, scored, include_usage, full
        self._head = frame(answer, "chat.completion.chunk") | ({"usage": None} if include_usage else {})
        self._ended: dict[int, Finished] = {}
        self._seen = Pieces()

    def begin(self) -> Iterator[bytes]:
        for number in range(self._answer.count):
            yield self._chunk(number, {"role": "assistant", "content": "", "refusal": None})

    def take(self, number: int, event: Event) -> Iterator[bytes]:
        """`number`: of the choice that the event is of."""
        match event:
            case TextDelta(text):
                tokens = logprobs_of(event.tokens) if self._scored and isinstance(event, ScoredText) else None
                yield self._chunk(number, {"content": text}, logprobs=tokens)
            case Cited(facts):
                cited = {"type": "url_citation", "url_citation": as_url_citation(facts, self._answer.base)}
                yield self._chunk(number, {"annotations": [cited]})
            case ReasoningDelta(text):
                yield self._chunk(number, {"reasoning": text, "reasoning_content": text})
            case ToolCallDelta():
                for piece in call_pieces(event):
                    yield self._chunk(number, {"tool_calls": [piece]})
            case Reading():
                reading = {"index": number, **reading_of(event)}
                yield sse({**self._head, "choices": [], "ouvert": {"reading": reading}})
            case Watched():
                self._seen.take(number, event)
            case Finished():
                self._ended[number] = event
                yield self._chunk(number, {}, FINISH_REASONS[event.reason], **self._beside())

    def end(self) -> Iterator[bytes]:
        """The stream is over: every choice has ended."""
        if self._include_usage:
            usage = usage_of([each.usage for each in self._ended.values()])
            yield sse({**self._head, "choices": [], "usage": usage})
        yield DONE

    def _chunk(
        self, number: int, delta: Mapping[str, Any], reason: str | None = None, logprobs: Any = None, **more: Any
    ) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return sse(self._seen.with_untold({**self._head, "choices": [choice], **more}, number))

    def _beside(self) -> dict[str, Any]:
        """The field `ouvert` of the chunk that ends the last choice; nothing before that."""
        if len(self._ended) < self._answer.count:
            return {}
        written = [self._ended[number].receipt for number in sorted(self._ended)]
        return {"ouvert": receipts.beside(self._answer.id, written, full=self._full, notes=self._answer.notes)}


async def chunks(answer: AnswerInProgress[Event], writer: ChunkWriter) -> AsyncIterator[bytes]:
    for chunk in writer.begin():
        yield chunk
    async for number, event in answer:
        for chunk in writer.take(number, event):
            yield chunk
    for chunk in writer.end():
        yield chunk


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
