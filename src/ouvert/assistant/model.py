"""A model on this machine, as a Python programmer meets it: `ouvert.load(...)`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from ouvert.assistant import token_model
from ouvert.assistant.adapters import ModelAdapters
from ouvert.assistant.answer import Answer
from ouvert.assistant.assistant import Assistant
from ouvert.assistant.cited import Consult
from ouvert.assistant.continuation import Continuation
from ouvert.assistant.demands import AnswerForm, as_demands
from ouvert.assistant.edits import Edit
from ouvert.assistant.embeddings import Embeddings, ids_to_embed, shortened
from ouvert.assistant.error import AssistantError
from ouvert.assistant.forgetting import Forgotten
from ouvert.assistant.likelihood import Best, Candidate, check_count
from ouvert.assistant.messages import as_conversation
from ouvert.assistant.model_info import ModelInfo
from ouvert.assistant.receipts.comparison import Verified, check_readable, verify
from ouvert.assistant.receipts.contents import read_contents
from ouvert.assistant.receipts.ended import NO_FORMAT, Identity
from ouvert.assistant.receipts.ledger import Ledger
from ouvert.assistant.receipts.receipt import fingerprint
from ouvert.assistant.receipts.replay import (
    Replayed,
    ReplayInput,
    conversation_as_asked,
    replay,
    sampling_of,
)
from ouvert.assistant.receipts.writer import ReceiptWriter
from ouvert.assistant.request import ChatRequest, TextRequest, check_request, with_seed_of_choice
from ouvert.assistant.sampling import default_sampling
from ouvert.assistant.vocabulary import vocabulary_of
from ouvert.assistant.watching import Probe, as_watch
from ouvert.chat import ChatError, ChatFormat, Effort, Language, Message, Rendered, Tool
from ouvert.engine import (
    BASE,
    TRIAL_COMMAND,
    Grammar,
    Opened,
    Sampling,
    Variant,
    Vocabulary,
)
from ouvert.safety import Guard
from ouvert.store import Adapters
from ouvert.tokenization import Tokenizer


class Model(token_model.Model):
    """A loaded model. Close it, or use it as a context manager, to give its memory back.

    Tokenizer and chat format are made when they are first needed: a file without either still computes.

    `load` makes one, and says what it raises.
    """

    def __init__(
        self,
        name: str,
        source: str,
        opened: Opened,
        ledger: Ledger | None = None,
        guard: Guard | None = None,
        template: str | None = None,
        adapters: Adapters | None = None,
    ) -> None:
        self.name, self._source = name, source
        self._language = Language(name, opened.family, opened.metadata, opened.folder, template)
        self._guard = guard
        self.ledger = ledger  # where the receipts of its answers are kept, or None
        if guard is not None:
            guard.admit(TRIAL_COMMAND)
        self.opened = opened  # the weights, and what their files say; `ouvert.inspection` looks into these
        self.engine = opened.engine  # computes the tokens; an ouvert.engine.Engine
        self.adapters = ModelAdapters(adapters, name, opened, self._language)
        self.variant = BASE  # what computes where a call names no adapters: `with_adapters` chooses
        opened.digest.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the model's memory; running answers end with EngineError. May be called twice. Raises nothing."""
        self.engine.close()

    def with_adapters(self, *names: str) -> Self:
        """The same model, loaded once, with these adapters wherever a call names none; without names, without any.

        What is closed is the one model. Raises StoreError for an adapter that is not here, was made for another model,
        is damaged or does not compute as it did; EngineError where nothing here computes adapters; what `info` raises.
        """
        info = replace(self.info, adapters=names)
        with suppress(AssistantError, ChatError):
            self.assistant  # noqa: B018 - one for all, with what it remembers of open tool calls
        adapted = copy(self)
        adapted.variant = self.adapters.variant(names)
        adapted.__dict__["info"] = info
        return adapted

    @property
    def called(self) -> str:
        """Its name, with its adapters behind it. Raises nothing."""
        return "+".join((self.name, *self.info.adapters))

    def variant_for(self, asked: Variant = BASE) -> Variant:
        """The variant that computes where `asked` is asked for: with this model's adapters, unless it names some.

        Raises nothing."""
        return asked if asked.adapters else replace(asked, adapters=self.variant.adapters)

    @cached_property
    def info(self) -> ModelInfo:
        """What it is. Raises AssistantError for a generation_config.json that cannot be read."""
        return ModelInfo(
            name=self.name,
            path=self.opened.path,
            source=self._source,
            family=self.opened.family,
            parameters=self.opened.parameters,
            bytes=self.opened.bytes,
            context=self.engine.context,
            trained_context=self.opened.trained_context,
            vocabulary_size=self.engine.vocabulary_size,
            threads=self.opened.threads,
            instruction_set=self.opened.instruction_set,
            cache_type=self.opened.cache_type,
            memory_plan=self.opened.memory_plan,
            embedding_size=self.engine.embedding_size,
            sampling=default_sampling(self.opened.folder, self.opened.metadata, self.opened.parameters),
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
        edits: Iterable[Edit] = (),
        watch: Iterable[str | Probe] = (),
        adapter: str | Sequence[str] | None = None,
        consult: Consult | None = None,
    ) -> Answer:
        """The answer to a conversation, as typed events while it is written; the last one is Finished.

        `messages` and `tools`: ours or dictionaries in OpenAI's shape. Sampling that is left out is as `info.sampling`
        says. `response_schema` or `response_grammar` is what the final answer has to be, `adapter` the name of an
        adapter, several, or () for none, `consult` what finds sources (`documents.asking`): docs/guides/python.md.

        Raises AssistantError for messages or demands that make no sense, EngineError if the conversation does not fit
        or a grammar, sampling or edit cannot be followed, ChatError for what the format cannot write, ValueError for an
        empty stop string, and what `consult`, `chat_format` and `with_adapters` raise."""
        asked = self if adapter is None else self.with_adapters(*as_stops(adapter))
        conversation = as_conversation(messages, tools, effort, thinking, schema=response_schema)
        form = AnswerForm(response_schema, response_grammar, strict_schema)
        demands = as_demands(tool_choice, conversation.tools, form, think_budget, one_call=not parallel_tool_calls)
        demands = replace(demands, candidate=candidate[0], best_of=candidate[1])
        sampling = {
            "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "seed": seed,
            "repetition_penalty": repetition_penalty, "repetition_guard": repetition_guard,
            "presence_penalty": presence_penalty, "frequency_penalty": frequency_penalty,
            "logit_bias": logit_bias, "max_tokens": max_tokens, "logprobs": logprobs}  # fmt: skip
        return asked.answer(ChatRequest(
            conversation=conversation, demands=demands, sampling=sampling, stop=as_stops(stop), timeout=timeout,
            truncate=truncate, progress=progress, owner=owner, asker=asker, edits=tuple(edits), consult=consult,
            watch=as_watch(watch)))  # fmt: skip

    def answer(self, request: ChatRequest) -> Answer:
        """What `chat` gives, asked for with one value. Raises what `chat` raises, AssistantError for what is no
        ChatRequest, and TypeError for a key of `request.sampling` that is no field of ouvert.Sampling."""
        check_request(request, ChatRequest, "Model.chat")
        return self.assistant.answer(replace(request, variant=self.variant_for(request.variant)))

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
        """Remove what is kept of this owner's prompts, in memory and on disk, where any of `texts`, or part of one,
        stands in it; all of it if `texts` is None. Beginnings that other prompts share stay. Thoughts that were kept
        for this `asker`'s open tool calls go.

        Returns what the names of this owner's remaining pages on disk begin with; None if none are kept on disk. Raises
        EngineError for what cannot be removed.
        """
        forgotten = None if texts is None else Forgotten(texts)
        if "assistant" in self.__dict__:  # one has been made, and may have kept thoughts
            self.assistant.kept_reasoning.forget(asker)
        if forgotten is None or not self.has_tokenizer:
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

        Raises EngineError if the prompt does not fit, sampling is out of range or a grammar cannot be compiled,
        AssistantError for demands that make no sense, ValueError for an empty stop string, TypeError for what is no
        field of ouvert.Sampling, ChatError if the model has no tokenizer, TokenizerError if it cannot be read.
        """
        demands = as_demands("auto", (), AnswerForm(response_schema, response_grammar))
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
        """What `continue_text` gives, asked for with one value. Raises what `continue_text` raises, and AssistantError
        for what is no TextRequest."""
        check_request(request, TextRequest, "Model.continue_text")
        answer = request.demands.answer
        constraint = None if answer is None else self.vocabulary.compile(answer)
        sampling = self.sampling(**{"stop_ids": self.tokenizer.end_ids, **request.sampling})
        return Continuation(
            replace(request, variant=self.variant_for(request.variant)),
            sampling if constraint is None else replace(sampling, constraint=constraint),
            self.engine,
            self.tokenizer,
            self.text_identity,
            ReceiptWriter(self.engine, self.ledger, self._guard, self.adapters.facts),
        )

    def best_text_of(self, count: int, prompt: str | Sequence[int], **settings: Any) -> Best:
        """`best_of` for `continue_text`. Raises AssistantError as `best_of` does, and what `continue_text` raises."""
        return self._best(count, settings, lambda **own: self.continue_text(prompt, **{**settings, **own}))

    def _best(self, count: int, settings: Mapping[str, Any], make: Callable[..., Candidate]) -> Best:
        temperature, logprobs = settings.get("temperature"), settings.get("logprobs") or 0
        check_count(count, self.info.sampling.temperature if temperature is None else temperature)
        seeds = [with_seed_of_choice({"seed": settings.get("seed")}, n) for n in range(count)]
        return Best.of(make, [{"candidate": (n, count), "logprobs": logprobs, **seeds[n]} for n in range(count)])

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text, after the one that a text begins with if the model has such. Raises what `tokenize`
        raises."""
        tokenizer = self.tokenizer
        start = [tokenizer.bos] if tokenizer.adds_bos and tokenizer.bos is not None else []
        return [*start, *tokenizer.encode(text)]

    @cached_property
    def text_identity(self) -> Identity:
        """What the receipts of continued texts say of the model. Raises what `tokenizer` raises."""
        return Identity(model=self.name, format=NO_FORMAT, tokenizer_digest=self.tokenizer.digest)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model with its adapters: OpenAI's system_fingerprint. Raises what `fingerprint_of`
        raises."""
        return self.fingerprint_of(self.variant)

    def fingerprint_of(self, variant: Variant) -> str:
        """The fingerprint of a variant. It changes whenever the same request could give another answer. Raises what
        `tokenizer` raises, and EngineError if a file of the weights can no longer be read."""
        try:
            identity = self.assistant.identity
        except (AssistantError, ChatError):  # without a chat format only texts are continued
            identity = self.text_identity
        return fingerprint(identity, self.engine.facts.of_variant(variant), self.info.sampling)

    # --- receipts -----------------------------------------------------------------------------------------------------

    def replay(
        self,
        receipt: Mapping[str, Any],
        contents: Mapping[str, Any] | None = None,
        *,
        messages: str | Iterable[Message | Mapping[str, Any]] | None = None,
        tools: Iterable[Tool | Mapping[str, Any]] | None = None,
        prompt: Sequence[int] | None = None,
        output: Sequence[int] | None = None,
        response_schema: Mapping[str, Any] | None = None,
        variant: Variant | None = None,
        **changes: Any,
    ) -> Replayed:
        """Make the answer of a receipt once more, and compare it token by token (docs/formats/receipt.md).

        What was said: `contents`, as `Ledger.contents` gives them; or `messages` and `tools`, which may go on behind
        the answer; or the ids of the `prompt`, and those of the `output` where they are known. `response_schema`: what
        the answer was held to, `variant`: of the model, where there are no contents and it was not the base. `changes`
        are fields of ouvert.Sampling that are to be other ones than the receipt's.

        Nothing is kept in a ledger. Raises LedgerError for a receipt that is not understood here, and where what was
        said is not enough; TypeError for `changes` that are no fields of ouvert.Sampling; what `chat` raises.
        """
        check_readable(receipt, "replaying a receipt")
        sampling = replace(sampling_of(receipt), **changes)
        given = None if messages is None else conversation_as_asked(receipt, messages, tools, response_schema)
        said = ReplayInput(
            contents=None if contents is None else read_contents(contents),
            conversation=given,
            prompt=prompt,
            output=output,
            grammar=AnswerForm(response_schema).as_grammar(),
            variant=variant,
        )
        return replay(self, receipt, said, sampling)

    def verify(self, receipt: Mapping[str, Any]) -> Verified:
        """Compare all weights with their digests, and this model with the one of a receipt, field by field.

        Raises LedgerError for a receipt that is not understood here, EngineError if a file of the weights can no longer
        be read, and what `chat_format` and `tokenizer` raise.
        """
        check_readable(receipt, "verifying a receipt")
        of_a_text = receipt["model"].get("format") == NO_FORMAT
        identity = self.text_identity if of_a_text else self.assistant.identity_like(receipt)
        damage = self.engine.check_weights()
        return verify(receipt, identity, self.engine.facts, damage, self.adapters.now(receipt.get("adapters", ())))

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
        vectors = shortened(self.engine.embed(ids, self.variant), dimensions)
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
        """The prompt that `chat` would read. Raises as `chat` does before anything is computed."""
        return self.chat_format.render(as_conversation(messages, tools, effort, thinking, schema=response_schema))

    def sampling(self, **changes: Any) -> Sampling:
        """`info.sampling` with those changes that are not None. Raises TypeError for what is no field of
        ouvert.Sampling."""
        return replace(self.info.sampling, **{name: value for name, value in changes.items() if value is not None})

    # --- the pieces it is made of -------------------------------------------------------------------------------------

    @property
    def has_tokenizer(self) -> bool:
        """Whether its files bring one. Raises nothing."""
        return self._language.has_tokenizer

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back. Raises ChatError if the file has none, TokenizerError if it cannot be read."""
        return self._language.tokenizer

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens as bytes, for grammars. Raises what `tokenizer` raises."""
        return vocabulary_of(self.tokenizer, self.engine.vocabulary_size)

    @property
    def chat_format(self) -> ChatFormat:
        """How the model writes conversations. Raises ChatError if it has no template that can be used, or no tokenizer;
        TokenizerError if that cannot be read."""
        return self._language.chat_format

    @property
    def template(self) -> str | None:
        """The chat template the model came with, or None. Raises ChatError for a file of templates that is damaged."""
        return self._language.template

    @cached_property
    def assistant(self) -> Assistant:
        """What answers conversations. Raises what `chat_format` and `tokenizer` raise."""
        return Assistant(
            self.engine,
            self.chat_format,
            self.name,
            self.tokenizer.digest,
            lambda: self.vocabulary,
            ledger=self.ledger,
            guard=self._guard,
            sampling=self.info.sampling,
            adapters=self.adapters.facts,
        )


def as_stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop)
