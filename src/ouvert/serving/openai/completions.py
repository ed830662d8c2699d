"""POST /v1/completions: plain text goes on, without a chat format."""

import math
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field
from starlette.responses import Response

from ouvert.assistant import ContinuedText, Event, Finished, PlacedToken
from ouvert.serving import receipts
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.body import TOKEN_VALUES
from ouvert.serving.bounds import TopLogprobs
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS, Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.logprobs import LOWEST_LOGPROB
from ouvert.serving.openai.foreign_fields import COMPLETIONS_REFUSED, OPENAI_HARMLESS
from ouvert.serving.openai.wire import (
    DONE,
    FINISH_REASONS,
    SampledRequest,
    StreamOptions,
    frame,
    in_openais_words,
    usage_of,
)
from ouvert.serving.streams import JSONAnswer, Streamed, saying_what_goes_wrong, sse, unless_gone
from ouvert.serving.text_continuation import EchoedPrompt, Prompt, TextsToContinue, TextTask
from ouvert.serving.wire import Several

DEFAULT_TOKENS = 16  # OpenAI's
Tokens = Several[int]
Prompts = Annotated[Several[str] | Several[Tokens], Field(min_length=1)]


class CompletionRequest(SampledRequest):
    without_effect: ClassVar[frozenset[str]] = OPENAI_HARMLESS
    refused: ClassVar[Mapping[str, str]] = COMPLETIONS_REFUSED

    model: str = Field(min_length=1, max_length=512)
    prompt: str | Annotated[Tokens, Field(min_length=1)] | Prompts
    suffix: str | None = None
    max_tokens: Annotated[int | None, Field(ge=-1, le=MOST_TOKENS)] = DEFAULT_TOKENS
    n: int | None = Field(None, ge=1, le=MOST_COUNT)
    best_of: int | None = Field(None, ge=1, le=MOST_COUNT)
    echo: bool | None = None
    logprobs: TopLogprobs | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ouvert: receipts.Extras | None = None

    @property
    def written(self) -> int:
        """How many continuations of each prompt."""
        return self.best_of or self.n or 1

    @property
    def chooses(self) -> bool:
        """Whether more are written than are given back."""
        return self.written > (self.n or 1)

    @property
    def prompts(self) -> list[Prompt]:
        match self.prompt:
            case str() | [int(), *_]:
                return [self.prompt]  # type: ignore[list-item]
        return list(self.prompt)  # type: ignore[arg-type]


def asked(request: CompletionRequest, most_choices: int, most_answers: int) -> TextsToContinue:
    """Raises Refusal for what cannot be honoured."""
    prompts, n = request.prompts, request.written
    if n < (request.n or 1) or (request.chooses and request.stream):
        reason = "cannot be streamed, as none is chosen before all are written" if request.stream else "is less than n"
        raise Refusal(400, f"best_of is {n}: it {reason}. Leave it out.", code="invalid_value", param="best_of")
    if n > most_choices or len(prompts) * n > most_answers:
        raise Refusal(
            400,
            f"{len(prompts)} prompts with {n} choices each are more than this server takes in one request.",
            code="invalid_value",
            param="prompt",
        )
    if request.suffix and request.echo:
        raise Refusal(
            400,
            "echo gives back a prompt that goes on, and suffix asks for the gap between two texts. Leave one out.",
            code="unsupported_parameter",
            param="echo",
        )
    if request.max_tokens == 0 and not request.echo:
        raise Refusal(400, "max_tokens is 0, which needs echo: true.", code="invalid_value", param="max_tokens")
    return TextsToContinue(
        model=request.model,
        prompts=prompts,
        written=n,
        ranked=request.chooses,
        suffix=request.suffix,
        echo=bool(request.echo),
        limit=None if request.max_tokens == -1 else request.max_tokens,
        logprobs=request.logprobs,
        form=request.form,
        stop=request.stops,
        sampling=request.sampling(),
    )


async def completions(call: Call) -> Response:
    request: CompletionRequest = call.body
    settings = call.service.settings
    texts = asked(request, settings.most_choices, settings.most_answers // 2)
    task = TextTask(texts, settings.answer_seconds)
    answer_id = "cmpl-" + secrets.token_hex(12)
    answer = await unless_gone(call.request, call.service.begin(task, call.caller, answer_id))
    answer.notes += request.unknown
    headers = {receipts.HEADER: answer_id, **answer.headers}
    full = receipts.wants_full(call.request, request.ouvert)
    if request.stream:
        return Streamed(
            saying_what_goes_wrong(chunks(answer, request, full=full), in_openais_words),
            answer.close,
            ping_seconds=settings.ping_seconds,
            headers=headers,
        )
    try:
        choices = await unless_gone(call.request, collected(answer, task.choices))
    finally:
        await answer.close()
    shown = chosen(request, task.likelihoods)
    return JSONAnswer(completion(answer, request, choices, shown, full=full), headers=headers)


@dataclass(slots=True)
class Choice:
    """A text as it was written, with its tokens and how it ended."""

    text: str = ""
    tokens: list[PlacedToken] = field(default_factory=list)
    ended: Finished | EchoedPrompt | None = None

    def take(self, event: Event | EchoedPrompt) -> None:
        match event:
            case ContinuedText(text, tokens):
                self.text += text
                self.tokens += tokens
            case Finished() | EchoedPrompt():
                self.ended = event


async def collected(answer: AnswerInProgress[Event | EchoedPrompt], count: int) -> list[Choice]:
    choices = [Choice() for _ in range(count)]
    async for number, event in answer:
        choices[number].take(event)
        count_echoed(answer, event)
    return choices


def completion(
    answer: AnswerInProgress[Event | EchoedPrompt],
    request: CompletionRequest,
    choices: Sequence[Choice],
    shown: Sequence[int],
    *,
    full: bool,
) -> dict[str, Any]:
    """The answer with the choices of those numbers."""
    spell = answer.model.tokenizer.token_bytes
    listed = []
    for index, number in enumerate(shown):
        choice = choices[number]
        kept = [each for each in choice.tokens if each.offset < len(choice.text) or not each.text]
        listed.append(
            {
                "index": index,
                "text": choice.text,
                "logprobs": None if request.logprobs is None else logprobs_of(kept, spell),
                "finish_reason": finish_reason(choice.ended),
            }
        )
    endings = [choice.ended for choice in choices if choice.ended is not None]
    whole = {**frame(answer, "text_completion"), "choices": listed, "usage": usage_of_all(endings, request.written)}
    return whole | beside(answer, [choices[number].ended for number in shown], full=full)


def beside(
    answer: AnswerInProgress[Event | EchoedPrompt], endings: Sequence[Finished | EchoedPrompt | None], *, full: bool
) -> dict[str, Any]:
    """The field `ouvert`, where something was written."""
    written = [each.receipt for each in endings if isinstance(each, Finished)]
    field = receipts.beside(answer.id, written, full=full, notes=answer.notes)
    return {"ouvert": field} if written or answer.notes else {}


def finish_reason(ended: Finished | EchoedPrompt | None) -> str:
    return FINISH_REASONS[ended.reason] if isinstance(ended, Finished) else "length"


def count_echoed(answer: AnswerInProgress[Event | EchoedPrompt], event: Event | EchoedPrompt) -> None:
    """What was only read is counted here; what was written is counted where its receipt is kept."""
    if isinstance(event, EchoedPrompt):
        answer.count_tokens(event.usage)


def chosen(request: CompletionRequest, likelihoods: Mapping[int, float | None]) -> list[int]:
    """The numbers of the continuations that are given back: of each prompt the n with the highest mean log-probability
    of their tokens, the best first; all, as they come, where no more were written."""
    if not request.chooses:
        return sorted(likelihoods)

    def likelihood(number: int) -> float:
        mean = likelihoods[number]
        return -math.inf if mean is None else mean

    groups = [range(start, start + request.written) for start in range(0, len(likelihoods), request.written)]
    return [number for group in groups for number in sorted(group, key=likelihood, reverse=True)[: request.n or 1]]


async def chunks(
    answer: AnswerInProgress[Event | EchoedPrompt], request: CompletionRequest, *, full: bool
) -> AsyncIterator[bytes]:
    head = frame(answer, "text_completion")
    spell = answer.model.tokenizer.token_bytes
    include_usage = bool(request.stream_options and request.stream_options.include_usage)
    ended: dict[int, Finished | EchoedPrompt] = {}

    def chunk(number: int, text: str, logprobs: Any = None, reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": number, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return sse({**head, "choices": [choice], **more})

    async for number, event in answer:
        match event:
            case ContinuedText(text, tokens):
                scored = None if request.logprobs is None else logprobs_of(tokens, spell)
                if text or scored:
                    yield chunk(number, text, scored)
            case Finished() | EchoedPrompt():
                ended[number] = event
                count_echoed(answer, event)
                last = len(ended) == answer.count
                more = beside(answer, [ended[n] for n in sorted(ended)], full=full) if last else {}
                yield chunk(number, "", None, finish_reason(event), **more)
    if include_usage:
        yield sse({**head, "choices": [], "usage": usage_of_all([ended[n] for n in sorted(ended)], request.n or 1)})
    yield DONE


def usage_of_all(endings: Sequence[Finished | EchoedPrompt], n: int) -> dict[str, Any]:
    """Each prompt counts once, however many choices it had."""
    usages = [each.usage for each in endings]
    parts = [usage_of(usages[start : start + n]) for start in range(0, len(usages), n)]
    prompt = sum(part["prompt_tokens"] for part in parts)
    output = sum(part["completion_tokens"] for part in parts)
    cached = sum(part["prompt_tokens_details"]["cached_tokens"] for part in parts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def logprobs_of(tokens: Sequence[PlacedToken], spell: Any) -> dict[str, Any]:
    """OpenAI's older shape: lists side by side. The first token of an echoed prompt has no probability: null."""

    def text(token: int) -> str:
        return str(spell(token).decode("utf-8", "replace"))

    def floored(logprob: float) -> float:
        return max(logprob, LOWEST_LOGPROB)

    return {
        "tokens": [text(each.token.id) for each in tokens],
        "token_logprobs": [None if each.token.logprob is None else floored(each.token.logprob) for each in tokens],
        "top_logprobs": [
            None if each.token.logprob is None else {text(other): floored(value) for other, value in each.token.top}
            for each in tokens
        ],
        "text_offset": [each.offset for each in tokens],
    }


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/completions",
        handler=completions,
        summary="Continue a text",
        body=CompletionRequest,
        values=TOKEN_VALUES,
    ),
)
