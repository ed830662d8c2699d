"""POST /v1/completions: plain text goes on, without a chat format."""

import math
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field
from starlette.responses import Response

from ouvert.assistant import (
    ContextExceeded,
    Continuation,
    ContinuedText,
    Event,
    Finished,
    Model,
    PlacedToken,
    Token,
    Usage,
)
from ouvert.serving import receipts
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.body import TOKEN_VALUES
from ouvert.serving.bounds import TopLogprobs
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS, Call, Endpoint
from ouvert.serving.errors import Refusal, openai_error, refusal_of
from ouvert.serving.foreign_fields import COMPLETIONS_REFUSED, OPENAI_HARMLESS
from ouvert.serving.loaded_models import Lease
from ouvert.serving.logprobs import LOWEST_LOGPROB
from ouvert.serving.openai.wire import DONE, FINISH_REASONS, SampledRequest, StreamOptions, frame, usage_of
from ouvert.serving.streams import JSONAnswer, Streamed, sse, unless_gone
from ouvert.serving.wire import Several

DEFAULT_TOKENS = 16  # OpenAI's
# Tokens around a gap to be filled: before the text before it, before the text behind it, and where the filling begins.
GAP_TOKENS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
Tokens = Several[int]
Prompts = Annotated[Several[str] | Several[Tokens], Field(min_length=1)]


class CompletionRequest(SampledRequest):
    without_effect: ClassVar[frozenset[str]] = OPENAI_HARMLESS
    refused: ClassVar[Mapping[str, str]] = COMPLETIONS_REFUSED

    model: str = Field(min_length=1, max_length=512)
    prompt: (
        str | Annotated[Tokens, Field(min_length=1)] | Annotated[Several[str] | Several[Tokens], Field(min_length=1)]
    )
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
    def prompts(self) -> list[str | Tokens]:
        match self.prompt:
            case str() | [int(), *_]:
                return [self.prompt]  # type: ignore[list-item]
        return list(self.prompt)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Echoed:
    """The end of a prompt that was read and not continued."""

    usage: Usage


class Completion:
    """One text being continued, its prompt before it where that is asked for; an `answers.Choice`."""

    def __init__(
        self, lease: Lease, prompt: str | Tokens, request: CompletionRequest, number: int, timeout: float | None
    ) -> None:
        model = self._model = lease.model
        if request.suffix and request.echo:
            raise Refusal(
                400,
                "echo gives back a prompt that goes on, and suffix asks for the gap between two texts. Leave one out.",
                code="unsupported_parameter",
                param="echo",
            )
        self._ids = prompt_ids(model, prompt, request.suffix)
        form = request.form
        most = None if request.max_tokens in (None, -1) else request.max_tokens
        if most == 0 and not request.echo:
            raise Refusal(400, "max_tokens is 0, which needs echo: true.", code="invalid_value", param="max_tokens")
        ContextExceeded.check(len(self._ids) - (most == 0), model.engine.context)
        self._echo: list[Token] = []
        if request.echo:
            top = request.logprobs
            scored = [] if top is None else model.score(self._ids, top)
            self._echo = [Token(self._ids[0]), *scored] if top is not None else [Token(token) for token in self._ids]
        self._continuation: Continuation | None = None
        if most == 0:
            return
        settings = request.sampling()
        if number and "seed" in settings:
            settings["seed"] = (settings["seed"] + number) % 2**64
        self._continuation = model.continue_text(
            self._ids,
            response_schema=form.schema,
            response_grammar=form.grammar,
            stop=request.stops,
            timeout=timeout,
            control=True,
            candidate=(number, request.written) if request.chooses else (0, 1),
            max_tokens=most,
            logprobs=0 if request.logprobs is None and request.chooses else request.logprobs,
            owner=lease.owner,
            **settings,
        )

    @property
    def mean_logprob(self) -> float | None:
        """Of the tokens written so far, where asked for."""
        return None if self._continuation is None else self._continuation.likelihood.mean

    def cancel(self) -> None:
        if self._continuation is not None:
            self._continuation.cancel()

    def __iter__(self) -> Iterator[Event | Echoed]:
        decoder = self._model.tokenizer.decoder(control=True)
        offset = 0
        for token in self._echo:
            text = decoder.push(token.id)
            yield ContinuedText(text, (PlacedToken(token, text, offset),))
            offset += len(text)
        if self._continuation is None:
            yield Echoed(Usage(prompt=len(self._ids), reused=0, output=0, reasoning=0))
            return
        for event in self._continuation:
            if isinstance(event, ContinuedText):
                placed = tuple(replace(each, offset=each.offset + offset) for each in event.tokens)
                yield ContinuedText(event.text, placed)
            else:
                yield event


class CompletionTask:
    """Every prompt of a request, each as often as it is to be written: first all choices of the first one."""

    def __init__(self, request: CompletionRequest, timeout: float | None) -> None:
        """`timeout`: seconds that a continuation may take."""
        self.model, self.choices = request.model, len(request.prompts) * request.written
        self._request, self._timeout = request, timeout
        self._prompts = request.prompts
        self._started: dict[int, Completion] = {}

    def start(self, lease: Lease, number: int) -> Completion:
        prompt, n = divmod(number, self._request.written)
        self._started[number] = Completion(lease, self._prompts[prompt], self._request, n, self._timeout)
        return self._started[number]

    @property
    def likelihoods(self) -> dict[int, float | None]:
        """The mean log-probability of each choice's tokens, by its number."""
        return {number: each.mean_logprob for number, each in self._started.items()}


def prompt_ids(model: Model, prompt: str | Tokens, suffix: str | None) -> Tokens:
    """The tokens that are continued, behind the one that begins a text where the model has such."""
    tokenizer = model.tokenizer
    if isinstance(prompt, str):
        ids = model.tokenize(prompt)
    else:
        if strange := [token for token in prompt if not 0 <= token < model.engine.vocabulary_size]:
            raise Refusal(
                400,
                f"prompt: token {strange[0]} is not in the vocabulary of {model.engine.vocabulary_size}.",
                code="invalid_value",
                param="prompt",
            )
        ids = list(prompt)
    if suffix:
        ids = around_gap(model, ids, model.tokenize(suffix))
    if isinstance(prompt, str) and tokenizer.adds_bos and tokenizer.bos is not None:
        ids = [tokenizer.bos, *ids]
    if not ids:  # nothing to go on from: the token that begins or ends texts
        start = tokenizer.bos if tokenizer.bos is not None else tokenizer.eos
        if start is None:
            raise Refusal(400, "prompt is empty, expected some text.", code="invalid_value", param="prompt")
        ids = [start]
    return ids


def around_gap(model: Model, before: Tokens, behind: Tokens) -> Tokens:
    known = model.tokenizer.control_tokens
    for prefix, suffix, middle in GAP_TOKENS:
        if {prefix, suffix, middle} <= known.keys():
            return [known[prefix], *before, known[suffix], *behind, known[middle]]
    raise Refusal(
        400,
        f"suffix: {model.info.name} was not made to fill a gap between two texts. Leave it out, or use a model that "
        "was.",
        code="unsupported_parameter",
        param="suffix",
    )


async def completions(call: Call) -> Response:
    request: CompletionRequest = call.body
    prompts, n = request.prompts, request.written
    count = len(prompts) * n
    if n < (request.n or 1) or (request.chooses and request.stream):
        reason = "cannot be streamed, as none is chosen before all are written" if request.stream else "is less than n"
        raise Refusal(400, f"best_of is {n}: it {reason}. Leave it out.", code="invalid_value", param="best_of")
    if n > call.service.settings.most_choices or count > call.service.settings.most_answers // 2:
        raise Refusal(
            400,
            f"{len(prompts)} prompts with {n} choices each are more than this server takes in one request.",
            code="invalid_value",
            param="prompt",
        )
    task = CompletionTask(request, call.service.settings.answer_seconds)
    answer_id = "cmpl-" + secrets.token_hex(12)
    answer = await unless_gone(call.request, call.service.begin(task, call.caller, answer_id))
    answer.notes += request.unknown
    headers = {receipts.HEADER: answer_id}
    full = receipts.wants_full(call.request, request.ouvert)
    if request.stream:
        return Streamed(
            chunks(answer, request, full=full),
            answer.close,
            ping_seconds=call.service.settings.ping_seconds,
            headers=headers,
        )
    try:
        choices = await unless_gone(call.request, collected(answer, count))
    finally:
        await answer.close()
    shown = chosen(request, task.likelihoods)
    return JSONAnswer(completion(answer, request, choices, shown, full=full), headers=headers)


@dataclass(slots=True)
class Choice:
    """A text as it was written, with its tokens and how it ended."""

    text: str = ""
    tokens: list[PlacedToken] = field(default_factory=list)
    ended: Finished | Echoed | None = None

    def take(self, event: Event | Echoed) -> None:
        match event:
            case ContinuedText(text, tokens):
                self.text += text
                self.tokens += tokens
            case Finished() | Echoed():
                self.ended = event


async def collected(answer: AnswerInProgress[Event | Echoed], count: int) -> list[Choice]:
    choices = [Choice() for _ in range(count)]
    async for number, event in answer:
        choices[number].take(event)
        count_echoed(answer, event)
    return choices


def completion(
    answer: AnswerInProgress[Event | Echoed],
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
    answer: AnswerInProgress[Event | Echoed], endings: Sequence[Finished | Echoed | None], *, full: bool
) -> dict[str, Any]:
    """The field `ouvert`, where something was written."""
    written = [each.receipt for each in endings if isinstance(each, Finished)]
    field = receipts.beside(answer.id, written, full=full, notes=answer.notes)
    return {"ouvert": field} if written or answer.notes else {}


def finish_reason(ended: Finished | Echoed | None) -> str:
    return FINISH_REASONS[ended.reason] if isinstance(ended, Finished) else "length"


def count_echoed(answer: AnswerInProgress[Event | Echoed], event: Event | Echoed) -> None:
    """What was only read is counted here; what was written is counted where its receipt is kept."""
    if isinstance(event, Echoed):
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
    answer: AnswerInProgress[Event | Echoed], request: CompletionRequest, *, full: bool
) -> AsyncIterator[bytes]:
    head = frame(answer, "text_completion")
    spell = answer.model.tokenizer.token_bytes
    include_usage = bool(request.stream_options and request.stream_options.include_usage)
    count = len(request.prompts) * request.written
    ended: dict[int, Finished | Echoed] = {}

    def chunk(number: int, text: str, logprobs: Any = None, reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": number, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return sse({**head, "choices": [choice], **more})

    try:
        async for number, event in answer:
            match event:
                case ContinuedText(text, tokens):
                    scored = None if request.logprobs is None else logprobs_of(tokens, spell)
                    if text or scored:
                        yield chunk(number, text, scored)
                case Finished() | Echoed():
                    ended[number] = event
                    count_echoed(answer, event)
                    last = len(ended) == count
                    more = beside(answer, [ended[n] for n in sorted(ended)], full=full) if last else {}
                    yield chunk(number, "", None, finish_reason(event), **more)
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            raise
        yield sse(openai_error(refusal))
        return
    if include_usage:
        yield sse({**head, "choices": [], "usage": usage_of_all([ended[n] for n in sorted(ended)], request.n or 1)})
    yield DONE


def usage_of_all(endings: Sequence[Finished | Echoed], n: int) -> dict[str, Any]:
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
