"""POST /v1/completions: plain text goes on. No chat format, so no receipt of a conversation either."""

import math
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from ouvert.assistant import ContextExceeded, Generation, Likelihood, Model, StopStrings, Token, Usage
from ouvert.serving.chat_completions import (
    DONE,
    FINISH_REASONS,
    LOWEST_LOGPROB,
    SampledRequest,
    StreamOptions,
    frame,
    usage_of,
)
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal, openai_error, refusal_of
from ouvert.serving.house import Running
from ouvert.serving.residents import Loan
from ouvert.serving.streams import JSONAnswer, Streamed, sse, unless_gone

DEFAULT_TOKENS = 16  # OpenAI's
# Tokens around a gap to be filled: before the text before it, before the text behind it, and where the filling begins.
GAP_TOKENS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
Tokens = list[int]


class CompletionRequest(SampledRequest):
    model: str = Field(min_length=1, max_length=512)
    prompt: str | Annotated[Tokens, Field(min_length=1)] | Annotated[list[str] | list[Tokens], Field(min_length=1)] = ""
    suffix: str | None = None
    max_tokens: Annotated[int | None, Field(ge=-1)] = DEFAULT_TOKENS
    n: int | None = Field(None, ge=1)
    best_of: int | None = Field(None, ge=1)
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

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
class Written:
    """A token with the text it adds after all before it, and where that text begins."""

    token: Token
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of text that may be shown."""

    text: str
    tokens: tuple[Written, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    reason: str
    usage: Usage
    mean_logprob: float | None = None  # of the continuation's tokens, where asked for


class Continuation:
    """One text being continued; `running.Pullable`."""

    def __init__(self, model: Model, prompt: str | Tokens, request: CompletionRequest, number: int) -> None:
        self._model, self._request = model, request
        self._ids = prompt_ids(model, prompt, request.suffix)
        self._most = None if request.max_tokens in (None, -1) else request.max_tokens
        if self._most == 0 and not request.echo:
            raise Refusal(400, "max_tokens is 0, which needs echo: true.", code="invalid_value", param="max_tokens")
        ContextExceeded.check(len(self._ids) - (self._most == 0), model.engine.context)
        self._echo: list[Token] = []
        if request.echo:
            top = request.logprobs
            scored = [] if top is None else model.score(self._ids, top)
            self._echo = [Token(self._ids[0]), *scored] if top is not None else [Token(token) for token in self._ids]
        self._stops = StopStrings(request.stops)
        self._generation: Generation | None = None
        if self._most != 0:
            logprobs = 0 if request.logprobs is None and request.chooses else request.logprobs
            settings = {**request.sampling(), "max_tokens": self._most, "logprobs": logprobs}
            if number and "seed" in settings:
                settings["seed"] = (settings["seed"] + number) % 2**64
            self._generation = model.generation(self._ids, **settings)

    def cancel(self) -> None:
        if self._generation is not None:
            self._generation.cancel()

    def __iter__(self) -> Iterator[Piece | Ended]:
        tokenizer = self._model.tokenizer
        decoder = tokenizer.decoder(control=True)
        offset = 0
        for token in self._echo:
            text = decoder.push(token.id)
            yield Piece(text, (Written(token, text, offset),))
            offset += len(text)
        if self._generation is None:
            yield Ended("length", Usage(prompt=len(self._ids), reused=0, output=0, reasoning=0))
            return
        if not self._echo:
            for read in self._ids[-8:]:  # a character may begin in the prompt
                decoder.push(read)
        held: list[Written] = []
        likelihood = Likelihood()
        for token in self._generation:
            likelihood.push(token)
            text = "" if token.id in tokenizer.end_ids else decoder.push(token.id)
            if token.id not in tokenizer.end_ids:
                held.append(Written(token, text, offset))
            offset += len(text)
            if shown := self._stops.push(text):
                yield Piece(shown, tuple(held))
                held = []
            if self._stops.found is not None:
                self._generation.cancel()
                break
        if self._stops.found is None:
            rest = self._stops.push(decoder.flush()) + self._stops.flush()
            if rest or held:
                yield Piece(rest, tuple(held))
        stopped = self._generation.stopped
        yield Ended(
            "stop" if self._stops.found is not None else stopped.reason,
            Usage(
                prompt=stopped.prompt_tokens, reused=stopped.reused_tokens, output=stopped.output_tokens, reasoning=0
            ),
            likelihood.mean,
        )


def prompt_ids(model: Model, prompt: str | Tokens, suffix: str | None) -> Tokens:
    """The tokens that are continued, behind the one that begins a text where the model has such."""
    tokenizer = model.tokenizer
    if not isinstance(prompt, str):
        if strange := [token for token in prompt if not 0 <= token < model.engine.vocabulary_size]:
            raise Refusal(
                400,
                f"prompt: token {strange[0]} is not in the vocabulary of {model.engine.vocabulary_size}.",
                code="invalid_value",
                param="prompt",
            )
        ids = list(prompt)
    else:
        ids = model.tokenize(prompt)
        if suffix:
            ids = around_gap(model, ids, model.tokenize(suffix))
        if tokenizer.adds_bos and tokenizer.bos is not None:
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
    if n > call.house.settings.most_choices or count > call.house.settings.most_answers // 2:
        raise Refusal(
            400,
            f"{len(prompts)} prompts with {n} choices each are more than this server takes in one request.",
            code="invalid_value",
            param="prompt",
        )

    def start(loan: Loan, number: int) -> Continuation:
        return Continuation(loan.model, prompts[number // n], request, number % n)

    answer_id = "cmpl-" + secrets.token_hex(12)
    running: Running[Piece | Ended] = await unless_gone(
        call.request, call.house.run(request.model, call.caller, answer_id, start, count)
    )
    if request.stream:
        settings = call.house.settings
        return Streamed(
            chunks(running, request),
            running.close,
            ping_seconds=settings.ping_seconds,
        )
    try:
        return JSONAnswer(await unless_gone(call.request, whole(running, request, count)))
    finally:
        await running.close()


async def whole(running: Running[Piece | Ended], request: CompletionRequest, count: int) -> dict[str, Any]:
    texts: list[list[str]] = [[] for _ in range(count)]
    tokens: list[list[Written]] = [[] for _ in range(count)]
    ended: dict[int, Ended] = {}
    async for number, event in running:
        match event:
            case Piece():
                texts[number].append(event.text)
                tokens[number] += event.tokens
            case Ended():
                ended[number] = event
                running.count_tokens(event.usage)
    choices = []
    for index, number in enumerate(chosen(request, ended)):
        text = "".join(texts[number])
        spell = running.model.tokenizer.token_bytes
        kept = [each for each in tokens[number] if each.offset < len(text) or not each.text]
        choices.append(
            {
                "index": index,
                "text": text,
                "logprobs": None if request.logprobs is None else logprobs_of(kept, spell),
                "finish_reason": FINISH_REASONS[ended[number].reason],
            }
        )
    usages = [ended[number].usage for number in sorted(ended)]
    return {**frame(running, "text_completion"), "choices": choices, "usage": usage_of_all(usages, request.written)}


def chosen(request: CompletionRequest, ended: Mapping[int, Ended]) -> list[int]:
    """The numbers of the continuations that are given back: of each prompt the n with the highest mean log-probability
    of their tokens, the best first; all, as they come, where no more were written."""
    if not request.chooses:
        return sorted(ended)

    def likelihood(number: int) -> float:
        mean = ended[number].mean_logprob
        return -math.inf if mean is None else mean

    groups = [range(start, start + request.written) for start in range(0, len(ended), request.written)]
    return [number for group in groups for number in sorted(group, key=likelihood, reverse=True)[: request.n or 1]]


async def chunks(running: Running[Piece | Ended], request: CompletionRequest) -> AsyncIterator[bytes]:
    head = frame(running, "text_completion")
    spell = running.model.tokenizer.token_bytes
    include_usage = bool(request.stream_options and request.stream_options.include_usage)
    ended: dict[int, Ended] = {}

    def chunk(number: int, text: str, logprobs: Any = None, reason: str | None = None) -> bytes:
        choice = {"index": number, "text": text, "logprobs": logprobs, "finish_reason": reason}
        return sse({**head, "choices": [choice]})

    try:
        async for number, event in running:
            match event:
                case Piece():
                    scored = None if request.logprobs is None else logprobs_of(event.tokens, spell)
                    if event.text or scored:
                        yield chunk(number, event.text, scored)
                case Ended():
                    ended[number] = event
                    running.count_tokens(event.usage)
                    yield chunk(number, "", None, FINISH_REASONS[event.reason])
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            raise
        yield sse(openai_error(refusal))
        return
    if include_usage:
        usages = [ended[number].usage for number in sorted(ended)]
        yield sse({**head, "choices": [], "usage": usage_of_all(usages, request.n or 1)})
    yield DONE


def usage_of_all(usages: Sequence[Usage], n: int) -> dict[str, Any]:
    """Each prompt counts once, however many choices it had."""
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


def logprobs_of(tokens: Sequence[Written], spell: Any) -> dict[str, Any]:
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
    ),
)
