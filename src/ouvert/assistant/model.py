"""A model on this machine, as a Python programmer meets it: `ouvert.load(...)`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from ouvert.assistant.answer import Answer
from ouvert.assistant.assistant import Assistant
from ouvert.assistant.continuation import Continuation
from ouvert.assistant.demands import as_demands
from ouvert.assistant.description import size_of
from ouvert.assistant.embeddings import Embeddings, ids_to_embed, shortened
from ouvert.assistant.error import AssistantError
from ouvert.assistant.forgetting import Forgotten
from ouvert.assistant.likelihood import Best, Candidate, check_count
from ouvert.assistant.load_installed import kept_prefixes, open_installed
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.receipts.ended import NO_FORMAT, Identity
from ouvert.assistant.receipts.ledger import Ledger
from ouvert.assistant.receipts.receipt import fingerprint
from ouvert.assistant.receipts.writer import ReceiptWriter
from ouvert.assistant.request import ChatRequest, TextRequest
from ouvert.assistant.sampling import default_sampling, not_done
from ouvert.assistant.vocabulary import vocabulary_of
from ouvert.chat import ChatError, ChatFormat, Effort, Language, Message, Rendered, Tool
from ouvert.engine import (
    BASE,
    TRIAL_COMMAND,
    CacheType,
    Constraint,
    Generation,
    Grammar,
    Opened,
    PageFiles,
    Sampling,
    Token,
    Variant,
    Vocabulary,
)
from ouvert.safety import Guard
from ouvert.store import SILENCE, Progress, Store, default_home
from ouvert.tokenization import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What a loaded model is. `context` is the most tokens a conversation may have here, answer included."""

    name: str
    path: Path
    source: str
    family: str
    parameters: int
    bytes: int
    context: int
    trained_context: int
    vocabulary_size: int
    threads: int
    instruction_set: str
    cache_type: str
    embedding_size: int | None  # of an embedding model, which writes no text
    sampling: Sampling  # what is used where a call does not say otherwise


def load(
    model: str | Path,
    *,
    threads: int | None = None,
    context: int | None = None,
    exact: bool = False,
    cache: CacheType | None = None,
    store: Store | None = None,
    progress: Progress = SILENCE,
    receipts: Ledger | bool = True,
    guard: Guard | None = None,
    prefixes: PageFiles | bool = True,
    clip_context: bool = False,
    template: str | Path | None = None,
) -> "Model":
    """Load a model: an alias ("smollm2"), a name in the store, or the path of a folder or file.

    `threads`: how many compute; left out, as many as serve best. `context`: most tokens of a conversation; left out,
    as many as the model was made for. `exact`: activations stay float32 where a faster way would round them. `cache`:
    how keys and values are kept: "f16" as a rule, "q8" for about half the memory (docs/formats/cache.md). `store`:
    another store than the one of this user. `progress` is shown while weights are packed, which happens once.
    `receipts`: the receipt of every answer is kept in the store's ledger, without what was said
    (docs/formats/receipt.md); False keeps none, an ouvert.Ledger says where and what. `guard`: that of this process
    (`ouvert.guard()`), whose counts then stand in every receipt.
    `prefixes`: what prompts begin with is kept on disk, encrypted with a key of this user's, so that it is not computed
    again after a restart (docs/formats/prefix-cache.md); False keeps it in memory only, an ouvert.PageFiles says where,
    how much, and with which key. `clip_context`: a `context` beyond what the model was made for is taken for that, and
    `progress` says so; without, it is an error.
    `template`: a chat template instead of the model's own: "builtin" (ours for its
    vocabulary), "builtin:chatml" or another of ours, the name of one of several that the model brings, or a file.
    Opens no connection.

    Raises StoreError with the command that fetches the model if it is not on this machine, CheckpointError for files
    that cannot be used, EngineError for settings that cannot be honoured, ChatError for a template that cannot be used.
    """
    store = store or Store(default_home())
    installed = store.resolve(str(model))
    if clip_context and context is not None and context > (most := size_of(installed).context):
        progress.say(f"{installed.name} was made for {most} tokens: its context is {most}, and not {context}.")
        context = most
    files = kept_prefixes(store, say=progress.say) if prefixes is True else prefixes or None
    opened = open_installed(
        store,
        installed,
        threads=threads,
        context=context,
        exact=exact,
        cache=cache,
        prefixes=files,
        progress=progress,
    )
    ledger = Ledger(store.home / "receipts") if receipts is True else receipts or None
    made = Model(installed.name, installed.source, opened, ledger, guard, None if template is None else str(template))
    try:
        if template is not None:
            _ = made.chat_format  # what was asked for is refused now, not at the first answer
        if (advice := not_done(opened.folder, opened.metadata)) is not None:
            progress.say(advice)
    except Exception:
        made.close()
        raise
    return made


class Model:
    """A loaded model. Close it, or use it as a context manager, to give its memory back.

    Tokenizer and chat format are made when they are first needed: a file without either still computes.
    """

    def __init__(
        self,
        name: str,
        source: str,
        opened: Opened,
        ledger: Ledger | None = None,
        guard: Guard | None = None,
        template: str | None = None,
    ) -> None:
        self._name, self._source, self._opened = name, source, opened
        self._language = Language(name, opened.family, opened.metadata, opened.folder, template)
        self._ledger, self._guard = ledger, guard
        if guard is not None:
            guard.admit(TRIAL_COMMAND)
        self.engine = opened.engine
        opened.digest.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the model's memory. Answers still being written end with EngineError. May be called twice."""
        self.engine.close()

    @cached_property
    def info(self) -> ModelInfo:
        return ModelInfo(
            name=self._name,
            path=self._opened.path,
            source=self._source,
            family=self._opened.family,
            parameters=self._opened.parameters,
            bytes=self._opened.bytes,
            context=self.engine.context,
            trained_context=self._opened.trained_context,
            vocabulary_size=self.engine.vocabulary_size,
            threads=self._opened.threads,
            instruction_set=self._opened.instruction_set,
            cache_type=self._opened.cache_type,
            embedding_size=self.engine.embedding_size,
            sampling=default_sampling(self._opened.folder, self._opened.metadata, self._opened.parameters),
        )

    # --- conversations ------------------------------------------------------------------------------------------------

    def chat(
        self,
        messages: str | Iterable[Message | Mapping[str, Any]],
        tools: Iterable[Tool | Mapping[str, Any]] | None = None,
        *,
        effort: Effort | None = None,
        thinking: bool | None = None,
        think_budget: int | None = None,
        tool_choice: str | Mapping[str, Any] = "auto",
        parallel_tool_calls: bool = True,
        response_schema: Mapping[str, Any] | None = None,
        response_grammar: Grammar | None = None,
        strict_schema: bool = True,
        stop: str | Sequence[str] = (),
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        repetition_guard: int | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        logit_bias: Mapping[int, float] | None = None,
        seed: int | None = None,
        max_tokens: int | None = None,
        logprobs: int | None = None,
        timeout: float | None = None,
        candidate: tuple[int, int] = (0, 1),
        progress: bool = False,
        owner: str = "",
        truncate: bool = False,
        asker: str = "",
    ) -> Answer:
        """The answer to a conversation, as typed events while it is written; the last one is Finished.

        `messages` and `tools`: ours (ouvert.Message, ouvert.Tool) or dictionaries in OpenAI's shape; a string is one
        message from the user. Sampling that is left out is as `info.sampling` says. What each argument asks for is said
        in docs/guides/python.md; those of `answer` that are fields of ChatRequest, there.

        Raises AssistantError for messages or demands that make no sense, ChatError for what the model's format cannot
        write or hold to, EngineError if the conversation does not fit into the context (both numbers in the message) or
        a schema cannot be followed.
        """
        sampling = {
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "repetition_guard": repetition_guard,
            "presence_penalty": presence_penalty,
            "frequency_penalty": frequency_penalty,
            "logit_bias": logit_bias,
            "seed": seed,
            "max_tokens": max_tokens,
            "logprobs": logprobs,
        }
        conversation = as_conversation(messages, tools, effort, thinking, schema=response_schema)
        demands = as_demands(
            tool_choice,
            conversation.tools,
            response_schema,
            response_grammar,
            think_budget,
            not parallel_tool_calls,
            strict=strict_schema,
        )
        return self.answer(
            ChatRequest(
                conversation=conversation,
                demands=replace(demands, candidate=candidate[0], best_of=candidate[1]),
                sampling=sampling,
                stop=as_stops(stop),
                timeout=timeout,
                truncate=truncate,
                progress=progress,
                owner=owner,
                asker=asker,
            )
        )

    def answer(self, request: ChatRequest) -> Answer:
        """What `chat` gives, asked for with one value. Raises what `chat` raises."""
        return self.assistant.answer(request)

    def best_of(
        self,
        count: int,
        messages: str | Iterable[Message | Mapping[str, Any]],
        tools: Iterable[Tool | Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> Best:
        """`count` answers to a conversation, side by side; the best is the one the model finds likeliest.

        `settings` are those of `chat`. A seed is the first answer's; each has the next one. Raises AssistantError for
        a count that makes no sense or a temperature of 0, and what `chat` raises.
        """
        given = messages if isinstance(messages, str) else list(messages)
        declared = None if tools is None else list(tools)
        return self._best(count, settings, lambda **own: self.chat(given, declared, **{**settings, **own}))

    def forget(self, texts: Iterable[str] | None, owner: str = "", asker: str = "") -> str | None:
        """Let go of kept beginnings of this owner's prompts, in memory and on disk, in which any of `texts` stands, or
        part of it; of all of them if it is None. Beginnings that other prompts share stay. Thoughts that were kept for
        this `asker`'s open tool calls go.

        Returns what `Engine.forget` returns. Raises EngineError for what cannot be removed.
        """
        forgotten = None if texts is None else Forgotten(texts)
        if "assistant" in self.__dict__:  # one has been made, and may have kept thoughts
            self.assistant.kept_reasoning.forget(asker)
        if forgotten is None or not self._language.has_tokenizer:
            return self.engine.forget(lambda ids: True, owner)
        return self.engine.forget(lambda ids: forgotten.in_text(self.tokenizer.decode(ids, control=True)), owner)

    # --- texts --------------------------------------------------------------------------------------------------------

    def continue_text(
        self,
        prompt: str | Sequence[int],
        *,
        response_schema: Mapping[str, Any] | None = None,
        response_grammar: Grammar | None = None,
        stop: str | Sequence[str] = (),
        timeout: float | None = None,
        control: bool = False,
        candidate: tuple[int, int] = (0, 1),
        progress: bool = False,
        owner: str = "",
        **settings: Any,
    ) -> Continuation:
        """What follows a text, without a chat format: ContinuedText events, and Finished with a receipt.

        A prompt of token ids is read as it is; text is read after the token a text begins with, where the model has
        one. `control`: control tokens are text, too, but those that end it. `settings` are fields of
        ouvert.Sampling; the other arguments mean what they mean in `chat`, `owner` among them.

        Raises EngineError if the prompt does not fit or a grammar cannot be compiled, AssistantError for demands that
        make no sense, TokenizerError where there is no tokenizer.
        """
        demands = as_demands("auto", (), response_schema, response_grammar, None)
        return self.continuation(
            TextRequest(
                prompt_ids=tuple(self.text_ids(prompt) if isinstance(prompt, str) else prompt),
                demands=replace(demands, candidate=candidate[0], best_of=candidate[1]),
                control=control,
                sampling=settings,
                stop=as_stops(stop),
                timeout=timeout,
                progress=progress,
                owner=owner,
            )
        )

    def continuation(self, request: TextRequest) -> Continuation:
        """What `continue_text` gives, asked for with one value. Raises what `continue_text` raises."""
        answer = request.demands.answer
        constraint = None if answer is None else self.vocabulary.compile(answer)
        sampling = self.sampling(**{"stop_ids": self.tokenizer.end_ids, **request.sampling})
        return Continuation(
            request,
            sampling if constraint is None else replace(sampling, constraint=constraint),
            self.engine,
            self.tokenizer,
            self.text_identity,
            ReceiptWriter(self.engine, self._ledger, self._guard),
        )

    def best_text_of(self, count: int, prompt: str | Sequence[int], **settings: Any) -> Best:
        """`best_of` for `continue_text`."""
        return self._best(count, settings, lambda **own: self.continue_text(prompt, **{**settings, **own}))

    def _best(self, count: int, settings: Mapping[str, Any], make: Callable[..., Candidate]) -> Best:
        temperature, seed = settings.get("temperature"), settings.get("seed")
        check_count(count, self.info.sampling.temperature if temperature is None else temperature)
        logprobs = settings.get("logprobs") or 0
        seeds = [None if seed is None else seed + n for n in range(count)]
        return Best.of(make, [{"candidate": (n, count), "logprobs": logprobs, "seed": seeds[n]} for n in range(count)])

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text, after the one that a text begins with if the model has such."""
        tokenizer = self.tokenizer
        start = [tokenizer.bos] if tokenizer.adds_bos and tokenizer.bos is not None else []
        return [*start, *tokenizer.encode(text)]

    @cached_property
    def text_identity(self) -> Identity:
        """What the receipts of continued texts say of the model."""
        return Identity(model=self._name, format=NO_FORMAT, tokenizer_digest=self.tokenizer.digest)

    @property
    def fingerprint(self) -> str:
        """Another one whenever the same request could give another answer: what OpenAI calls system_fingerprint."""
        return self.fingerprint_of(BASE)

    def fingerprint_of(self, variant: Variant) -> str:
        """The fingerprint of answers of this variant of the model."""
        try:
            identity = self.assistant.identity
        except (AssistantError, ChatError):  # without a chat format only texts are continued
            identity = self.text_identity
        return fingerprint(identity, self.engine.facts.of_variant(variant), self.info.sampling)

    # --- vectors ------------------------------------------------------------------------------------------------------

    def embed(
        self, texts: Sequence[str | Sequence[int]], *, dimensions: int | None = None, truncate: bool = False
    ) -> Embeddings:
        """A vector of length 1 for each text, or list of token ids; the closer two point, the nearer their meanings.

        Models made for this (Qwen3-Embedding) want an instruction before what is searched with, as their makers say,
        and none before what is searched. `dimensions`: only the first of a vector's numbers. `truncate`: of a text
        that does not fit into the context, what fits.

        Raises EngineError for a model that writes text instead, and for a text that does not fit; AssistantError for
        an empty text or dimensions the model has not.
        """
        most = self.engine.context if truncate else None
        ids = [ids_to_embed(self.tokenizer, text, most) for text in texts]
        vectors = shortened(self.engine.embed(ids), dimensions)
        return Embeddings(vectors, tuple(map(len, ids)))

    # --- tokens and texts ---------------------------------------------------------------------------------------------

    def render(
        self,
        messages: str | Iterable[Message | Mapping[str, Any]],
        tools: Iterable[Tool | Mapping[str, Any]] | None = None,
        *,
        effort: Effort | None = None,
        thinking: bool | None = None,
        response_schema: Mapping[str, Any] | None = None,
    ) -> Rendered:
        """The prompt that `chat` would read. Raises AssistantError and ChatError, as `chat` does."""
        return self.chat_format.render(as_conversation(messages, tools, effort, thinking, schema=response_schema))

    def sampling(self, **changes: Any) -> Sampling:
        """`info.sampling` with those changes that are not None."""
        return replace(self.info.sampling, **{name: value for name, value in changes.items() if value is not None})

    # --- tokens -------------------------------------------------------------------------------------------------------

    def generate(self, token_ids: Sequence[int], sampling: Sampling | None = None, **changes: Any) -> Iterator[int]:
        """The ids that follow, one by one; the id that ends the answer, if any, is the last.

        `changes` are fields of ouvert.Sampling, on top of `sampling` or else of `info.sampling`. Without `stop_ids`
        among them, the model's own end tokens end the answer. Raises EngineError.
        """
        return (token.id for token in self.generation(token_ids, sampling, **changes))

    def generation(self, token_ids: Sequence[int], sampling: Sampling | None = None, **changes: Any) -> Generation:
        """The same as `generate`, whole: tokens with log-probabilities, cancelling, and why it ended."""
        if sampling is None and "stop_ids" not in changes and self._language.has_tokenizer:
            changes["stop_ids"] = self.tokenizer.end_ids
        return self.engine.generate(token_ids, replace(sampling or self.info.sampling, **changes))

    def logits(self, token_ids: Sequence[int]) -> np.ndarray:
        """float32 (tokens, vocabulary): row i scores what comes after token_ids[: i + 1]."""
        return self.engine.logits(token_ids)

    def score(self, token_ids: Sequence[int], top: int = 0) -> list[Token]:
        """For every token but the first: its log-probability given those before it, and the `top` likeliest."""
        return self.engine.score(token_ids, top)

    def tokenize(self, text: str) -> list[int]:
        """Ids of plain text: what looks like a control token is spelled out, and nothing is added at either end."""
        return self.tokenizer.encode(text)

    def detokenize(self, token_ids: Iterable[int], *, control: bool = False) -> str:
        """The text of the ids, control tokens left out unless `control`."""
        return self.tokenizer.decode(token_ids, control=control)

    def constraint(self, grammar: Grammar) -> Constraint:
        """A grammar over this model's tokens, for `generate`: `constraint=` holds every token to it.

        Raises EngineError for a grammar that is wrong or asks for what cannot be done.
        """
        return self.vocabulary.compile(grammar)

    # --- the pieces it is made of -------------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        """Raises ChatError if the file has none, TokenizerError if it cannot be read."""
        return self._language.tokenizer

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens as bytes, for grammars. Raises what `tokenizer` raises."""
        return vocabulary_of(self.tokenizer, self.engine.vocabulary_size)

    @property
    def chat_format(self) -> ChatFormat:
        """Raises ChatError if there is no template and the family has none of its own."""
        return self._language.chat_format

    @property
    def template(self) -> str | None:
        """The chat template the model came with, or None."""
        return self._language.template

    @cached_property
    def assistant(self) -> Assistant:
        return Assistant(
            self.engine,
            self.chat_format,
            self._name,
            self.tokenizer.digest,
            lambda: self.vocabulary,
            ledger=self._ledger,
            guard=self._guard,
            sampling=self.info.sampling,
        )


def as_stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop)
