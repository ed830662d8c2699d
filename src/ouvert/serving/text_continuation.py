"""Texts that go on, without a chat format: the task that OpenAI's completions and Ollama's raw prompts begin."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ouvert.assistant import (
    ANY_TEXT,
    BASE,
    AnswerForm,
    ContextExceeded,
    Continuation,
    ContinuedText,
    Event,
    Model,
    PlacedToken,
    TextRequest,
    Token,
    Usage,
    as_demands,
)
from ouvert.serving.errors import Refusal
from ouvert.serving.loaded_models import Lease

# Tokens around a gap to be filled: before the text before it, before the text behind it, and where the filling begins.
GAP_TOKENS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
Prompt = str | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextsToContinue:
    """Texts to be continued, each `written` times, whatever dialect they came in.

    `suffix`: the text behind a gap that is to be filled. `echo`: the prompt is given back before what goes on from it.
    `limit`: most tokens to write; 0 reads the prompt and writes nothing. `logprobs`: so many likeliest tokens go with
    each one; None for no probabilities. `ranked`: only the likeliest continuations are given back, so probabilities are
    needed in any case. `sampling` are fields of `Model.sampling`.
    """

    model: str
    prompts: Sequence[Prompt]
    written: int = 1
    ranked: bool = False
    suffix: str | None = None
    echo: bool = False
    limit: int | None = None
    logprobs: int | None = None
    form: AnswerForm = ANY_TEXT
    stop: tuple[str, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EchoedPrompt:
    """The end of a prompt that was read and not continued."""

    usage: Usage


class TextTask:
    """Every prompt of a request, each as often as it is to be written: first all choices of the first one."""

    def __init__(self, texts: TextsToContinue, timeout: float | None) -> None:
        """`timeout`: seconds that a continuation may take."""
        self.model, self.choices, self.variant = texts.model, len(texts.prompts) * texts.written, BASE
        self._texts, self._timeout = texts, timeout
        self._started: dict[int, TextChoice] = {}

    def start(self, lease: Lease, number: int) -> "TextChoice":
        prompt, n = divmod(number, self._texts.written)
        self._started[number] = TextChoice(lease, self._texts.prompts[prompt], self._texts, n, self._timeout)
        return self._started[number]

    @property
    def likelihoods(self) -> dict[int, float | None]:
        """The mean log-probability of each choice's tokens, by its number."""
        return {number: each.mean_logprob for number, each in self._started.items()}


class TextChoice:
    """One text being continued, its prompt before it where that is asked for."""

    def __init__(
        self, lease: Lease, prompt: Prompt, texts: TextsToContinue, number: int, timeout: float | None
    ) -> None:
        """`number`: which continuation of this prompt it is, from 0."""
        model = self._model = lease.model
        self._ids = prompt_ids(model, prompt, texts.suffix)
        reads_only = texts.limit == 0
        ContextExceeded.check(len(self._ids) - reads_only, model.engine.context)
        self._echo = read_tokens(lease, self._ids, texts.logprobs) if texts.echo else []
        self._continuation = None if reads_only else continuation(lease, self._ids, texts, number, timeout)

    @property
    def mean_logprob(self) -> float | None:
        """The mean log-probability of the tokens written so far, if it was asked for."""
        return None if self._continuation is None else self._continuation.likelihood.mean

    def cancel(self) -> None:
        if self._continuation is not None:
            self._continuation.cancel()

    def __iter__(self) -> Iterator[Event | EchoedPrompt]:
        decoder = self._model.tokenizer.decoder(control=True)
        offset = 0
        for token in self._echo:
            text = decoder.push(token.id)
            yield ContinuedText(text, (PlacedToken(token, text, offset),))
            offset += len(text)
        if self._continuation is None:
            yield EchoedPrompt(Usage(prompt=len(self._ids), reused=0, output=0, reasoning=0))
            return
        for event in self._continuation:
            if isinstance(event, ContinuedText):
                placed = tuple(replace(each, offset=each.offset + offset) for each in event.tokens)
                yield ContinuedText(event.text, placed)
            else:
                yield event


def continuation(
    lease: Lease, ids: Sequence[int], texts: TextsToContinue, number: int, timeout: float | None
) -> Continuation:
    demands = as_demands("auto", (), texts.form)
    if texts.ranked:
        demands = replace(demands, candidate=number, best_of=texts.written)
    logprobs = 0 if texts.logprobs is None and texts.ranked else texts.logprobs
    request = TextRequest(
        prompt_ids=tuple(ids),
        demands=demands,
        control=True,
        sampling={**texts.sampling, "max_tokens": texts.limit, "logprobs": logprobs},
        stop=texts.stop,
        timeout=timeout,
        owner=lease.owner,
    )
    return lease.model.continuation(request.choice(number))


def read_tokens(lease: Lease, ids: Sequence[int], top: int | None) -> list[Token]:
    """The tokens of a prompt, with their log-probabilities and the `top` likeliest ones unless that is None."""
    return (
        [Token(token) for token in ids]
        if top is None
        else [Token(ids[0]), *lease.model.score(ids, top, owner=lease.owner)]
    )


def prompt_ids(model: Model, prompt: Prompt, suffix: str | None) -> list[int]:
    """The tokens that are continued, behind the one that begins a text where the model has such."""
    tokenizer = model.tokenizer
    ids = model.tokenize(prompt) if isinstance(prompt, str) else known_tokens(model, prompt)
    if suffix:
        ids = fill_in_the_middle_ids(model, ids, model.tokenize(suffix))
    if isinstance(prompt, str) and tokenizer.adds_bos and tokenizer.bos is not None:
        ids = [tokenizer.bos, *ids]
    if not ids:  # nothing to go on from: the token that begins or ends texts
        start = tokenizer.bos if tokenizer.bos is not None else tokenizer.eos
        if start is None:
            raise Refusal(400, "prompt is empty, expected some text.", code="invalid_value", param="prompt")
        ids = [start]
    return ids


def known_tokens(model: Model, ids: Sequence[int]) -> list[int]:
    """Raises Refusal for one that is not in the vocabulary."""
    if strange := [token for token in ids if not 0 <= token < model.engine.vocabulary_size]:
        raise Refusal(
            400,
            f"prompt: token {strange[0]} is not in the vocabulary of {model.engine.vocabulary_size}.",
            code="invalid_value",
            param="prompt",
        )
    return list(ids)


def fill_in_the_middle_ids(model: Model, before: Sequence[int], behind: Sequence[int]) -> list[int]:
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
