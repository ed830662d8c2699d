"""The assistant's waist: one chat format joined to one engine. Conversation in, typed events out."""

import json
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from ouvert.assistant.arguments import follows
from ouvert.assistant.demands import Demands
from ouvert.assistant.error import AssistantError, ContextExceeded
from ouvert.assistant.events import Event, Finished, Usage
from ouvert.assistant.kept_reasoning import KeptReasoning
from ouvert.assistant.likelihood import Likelihood
from ouvert.assistant.outline_constraint import Guide
from ouvert.assistant.receipts.contents import contents_of
from ouvert.assistant.receipts.ledger import Ledger, recorded
from ouvert.assistant.receipts.receipt import Held, Identity, requested, sent_by_message, write_receipt
from ouvert.assistant.scores import Scores
from ouvert.assistant.stops import StopStrings
from ouvert.assistant.truncation import LeftOut, answer_room, without_oldest_turns
from ouvert.chat import (
    ChatFormat,
    Conversation,
    Delta,
    ReasoningDelta,
    Rendered,
    Segment,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
)
from ouvert.chat.conversation import NO_ARGUMENTS
from ouvert.chat.outline import END
from ouvert.chat.tool_syntax import WrittenCall
from ouvert.chat.untagged_calls import UntaggedCalls
from ouvert.engine import (
    CompiledGrammar,
    Constraint,
    Engine,
    EngineBusyError,
    EngineError,
    Grammar,
    Sampling,
    Token,
    Vocabulary,
    of_objects,
)
from ouvert.safety import Guard

MOST_COMPILED = 64  # grammars kept compiled
NORMALISED = 4  # characters that a tokenizer may make one of: letters and their marks


class Assistant:
    """Answers conversations. Holds no conversation itself, and may write several answers at once.

    What it remembers between answers, in memory and bounded: compiled grammars, and thoughts behind open tool calls.
    """

    def __init__(
        self,
        engine: Engine,
        chat: ChatFormat,
        model: str,
        tokenizer_digest: str,
        vocabulary: Callable[[], Vocabulary] | None = None,
        ledger: Ledger | None = None,
        guard: Guard | None = None,
    ) -> None:
        """`model` is its name for people; engine, chat format and vocabulary belong to the same model.

        Without a `vocabulary` answers are not held to anything, and demands are refused. Receipts are kept in `ledger`;
        without one they are only handed over. They count what `guard` saw; without one they say nothing of connections.
        """
        self.engine = engine
        self.chat = chat
        self.identity = Identity(
            model=model,
            format=chat.name,
            tokenizer_digest=tokenizer_digest,
            template_digest=chat.digest,
            end_ids=tuple(sorted(chat.stop_ids)),
        )
        self.ledger, self.guard = ledger, guard
        self.kept_reasoning = KeptReasoning()
        self._make_vocabulary = vocabulary
        self._vocabulary: Vocabulary | None = None
        self._compiled: OrderedDict[Grammar, CompiledGrammar | EngineError] = OrderedDict()
        self._making: dict[Grammar, threading.Lock] = {}
        self._lock = threading.Lock()

    def answer(
        self,
        conversation: Conversation,
        sampling: Sampling,
        stop: Sequence[str] = (),
        demands: Demands = Demands(),  # noqa: B008 - a value that never changes
        timeout: float | None = None,
        progress: bool = False,
        owner: str = "",
        truncate: bool = False,
        asker: str = "",
    ) -> "Answer":
        """The answer, as it is written. `stop`: texts that end it; they are not shown, not even in part. `timeout`:
        seconds after which it ends as it is. `progress`: Reading events come before the others, while the prompt is
        read. `truncate`: where there is no room for the answer, the oldest turns are left out; the receipt says which.
        `owner`: whose conversation it is, as in `Engine.generate`. `asker`: who asks.

        They are looked for in the answer's text, not in its reasoning nor in tool calls. The chat format's own end
        tokens are added to `sampling.stop_ids`. With `sampling.logprobs` the
        pieces of its text are ScoredText. The model is held to `demands`, and to the outline of its chat format
        where that has one; `sampling.constraint` then has to be None. Thoughts that belong to an open tool loop and
        that the caller left out are put back, if they led to that call, in that turn, in an answer of the same `asker`.

        Raises EngineError if the conversation does not fit, or a grammar cannot be compiled; what the chat format
        raises for what it cannot write or hold to; AssistantError for demands that make no sense here; ValueError for
        an empty stop string.
        """
        return Answer(self, conversation, sampling, stop, demands, timeout, progress, owner, truncate, asker)

    def identity_in(self, chat: ChatFormat) -> Identity:
        """What receipts of answers in this variant of the format say of the model."""
        return replace(self.identity, format=chat.name, template_digest=chat.digest)

    def identity_like(self, receipt: Mapping[str, Any]) -> Identity:
        """The same for the variant that a receipt was written of; where it is none of them, for the first."""
        variants = self.chat.variants
        wanted = receipt["model"].get("template_digest")
        return self.identity_in(next((each for each in variants if each.digest == wanted), variants[0]))

    def score(self, ids: Sequence[int], top: int = 0) -> list[Token]:
        """`Engine.score`, handed on."""
        return self.engine.score(ids, top)

    @property
    def vocabulary(self) -> Vocabulary:
        """Raises AssistantError where there is none."""
        if self._vocabulary is None:
            if self._make_vocabulary is None:
                raise AssistantError(
                    "holding an answer to a form: this model's vocabulary is not known here. Do without."
                )
            self._vocabulary = self._make_vocabulary()
        return self._vocabulary

    def refuse_what_never_fits(self, conversation: Conversation) -> None:
        """Raise ContextExceeded for texts so long that no spelling of them fits: cutting megabytes into tokens, only to
        count them, takes seconds. What the model said before is not counted: templates leave thoughts out."""
        given = (each.content.strip() for each in conversation.messages if each.role != "assistant")
        least = sum(map(len, given)) // (NORMALISED * self._longest_token)
        if least > self.engine.context:
            raise ContextExceeded(least, self.engine.context, at_least=True)

    @cached_property
    def _longest_token(self) -> int:
        """Bytes; far more than any token has where there is no vocabulary."""
        return sys.maxsize if self._make_vocabulary is None else self.vocabulary.longest

    def compiled(self, grammar: Grammar) -> CompiledGrammar:
        """The grammar over this model's vocabulary; the last ones are remembered. Raises EngineError."""
        with self._lock:
            making = self._making.setdefault(grammar, threading.Lock())
        with making:  # whoever asks for another grammar does not wait for this one
            with self._lock:
                found = self._compiled.get(grammar)
            if found is None:
                found = self._compile(grammar)
            with self._lock:
                self._making.pop(grammar, None)
                self._compiled[grammar] = found
                self._compiled.move_to_end(grammar)
                while len(self._compiled) > MOST_COMPILED:
                    self._compiled.popitem(last=False)
        if isinstance(found, EngineError):
            raise found.with_traceback(None)
        return found

    def _compile(self, grammar: Grammar) -> CompiledGrammar | EngineError:
        """A refusal is kept like a success: what took long to refuse is not tried again for everybody who waits."""
        try:
            return self.vocabulary.compile(grammar)
        except EngineBusyError:
            raise
        except EngineError as problem:
            return problem

    def guide(self, conversation: Conversation, rendered: Rendered, demands: Demands, held: Held) -> Guide | None:
        """What this answer is held to, or None. `held` is told what comes of it."""
        strict = any(tool.strict for tool in conversation.tools)
        held_calls = self._make_vocabulary is not None and (self.chat.guides or demands.calls == "required")
        if strict and not held_calls:
            raise AssistantError(
                "a tool is strict, and this model's calls are held to a schema only with tool_choice 'required' or a "
                "tool's name. Choose one of these, or leave strict out."
            )
        if not demands.holds and not (self.chat.guides and self._make_vocabulary is not None):
            return None
        calls, talk = demands.calls, conversation
        if demands.tool is not None:
            only = tuple(tool for tool in talk.tools if tool.name == demands.tool)
            talk = replace(talk, tools=only, builtin_tools=frozenset())
        outline = self.chat.outline(talk, rendered, calls=calls, shaped=demands.answer is not None)
        if demands.single:
            outline = replace(outline, follows={**outline.follows, "call": frozenset({END})})
        contents = [self._content(segment, conversation.tools, demands, held) for segment in outline.segments]
        return Guide(outline, contents, self.vocabulary, demands.think_budget, held.cut_thinking)

    def _content(self, segment: Segment, tools: Sequence[Tool], demands: Demands, held: Held) -> Constraint | None:
        """What the contents of a segment have to be. `held` is told what of a schema could not be kept."""
        if segment.kind == "answer" and demands.answer is not None:
            constraint = self.compiled(demands.answer)
            held.loosened += [f"response_format: {each}" for each in constraint.loosened]
            return constraint
        if segment.kind != "call" or segment.schema is None:
            return None
        tool = next((tool for tool in tools if tool.parameters is segment.schema), None)
        strict = tool is not None and tool.strict
        schema, wrong = of_objects(segment.schema, strict=strict)
        constraint = self.compiled(Grammar.json_schema(schema, strict=strict))
        name = "" if tool is None else tool.name
        held.loosened += [f"tools: {name}: {each}" for each in (*wrong, *constraint.loosened)]
        return constraint


class Answer:
    """One answer being written. Iterate for events; the last one is Finished.

    `token_ids` are the tokens so far, those of headers and ends among them; `likelihood` counts their log-probabilities
    where `sampling.logprobs` asks for them; `left_out` are messages that were not sent; `thought_tokens` and
    `thought_seconds` say how long the model has thought so far.
    """

    def __init__(
        self,
        assistant: Assistant,
        conversation: Conversation,
        sampling: Sampling,
        stop: Sequence[str],
        demands: Demands,
        timeout: float | None,
        progress: bool = False,
        owner: str = "",
        truncate: bool = False,
        asker: str = "",
    ) -> None:
        self._assistant, self._asker = assistant, asker
        self._progress = progress
        self._before = None if assistant.guard is None else assistant.guard.counts
        self._stop = tuple(stop)
        self._stops = StopStrings(stop)
        self._demands = demands
        self._held = Held()
        if demands.calls == "none" and not assistant.chat.guides:
            conversation = replace(conversation, tools=())  # nothing else keeps every such model from calling
        self.left_out: LeftOut = {}
        if truncate:
            room = answer_room(sampling.max_tokens, assistant.engine.context)
            conversation, self.left_out = without_oldest_turns(
                conversation, assistant.chat, assistant.engine.context, room
            )
        else:
            assistant.refuse_what_never_fits(conversation)
        self._conversation, self._restored = assistant.kept_reasoning.restored(conversation, asker)
        self._rendered = assistant.chat.render(self._conversation)
        ContextExceeded.check(len(self._rendered.ids), assistant.engine.context)
        self._parser = assistant.chat.parser(self._rendered)
        self._reasoning: list[str] = []
        self._untagged_found: list[ToolCall] = []
        self.token_ids: list[int] = []
        self.likelihood = Likelihood()
        self.thought_seconds = 0.0
        guide = assistant.guide(self._conversation, self._rendered, demands, self._held)
        if guide is not None:
            if sampling.constraint is not None:
                raise AssistantError(
                    "sampling.constraint was given for a conversation, expected None: it would hold thoughts and calls "
                    "as well. Say what the answer must be with response_schema or response_grammar."
                )
            sampling = replace(sampling, constraint=guide)
        self._speaks = guide is None or guide.speaks
        self._untagged = self._untagged_calls()
        self._own_stop_ids = sampling.stop_ids - assistant.chat.stop_ids
        self._sampling = replace(sampling, stop_ids=sampling.stop_ids | assistant.chat.stop_ids)
        self._scores = None if sampling.logprobs is None else Scores(assistant.vocabulary)
        self._generation = assistant.engine.generate(self._rendered.ids, self._sampling, timeout=timeout, owner=owner)
        self._events = self._written()

    def _untagged_calls(self) -> UntaggedCalls | None:
        """Where the model may call or answer as it likes, an answer that is nothing but a call's JSON is that call."""
        tools = {tool.name: tool for tool in self._conversation.tools}
        if not tools or self._demands.calls != "auto" or self._demands.answer is not None:
            return None

        def valid(call: WrittenCall) -> bool:
            parameters = tools[call.name].parameters
            return follows(json.loads(call.arguments), NO_ARGUMENTS if parameters is None else parameters)

        return UntaggedCalls(tools.keys(), valid)

    @property
    def loosened(self) -> tuple[str, ...]:
        """What of schemas that are not strict the answer is not held to: whose they are, the place, and what it is."""
        return tuple(self._held.loosened)

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The conversation as the model reads it."""
        return self._rendered.ids

    @property
    def thought_tokens(self) -> int:
        return self._parser.reasoning_tokens

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def __next__(self) -> Event:
        return next(self._events)

    def cancel(self) -> None:
        """End the answer before its next token; Finished still comes. Safe from any thread."""
        self._generation.cancel()

    def _written(self) -> Iterator[Event]:
        before: float | None = None  # when the token before came
        called = False
        if self._progress:
            yield from self._generation.reading()
        for token in self._generation:
            self.token_ids.append(token.id)
            self.likelihood.push(token)
            if self._scores is not None:
                self._scores.push(token)
            thought = self._parser.reasoning_tokens
            deltas = self._parser.push(token.id)
            now = time.perf_counter()
            if before is not None and self._parser.reasoning_tokens > thought:
                self.thought_seconds += now - before
            before = now
            yield from self._shown(deltas)
            called = self._demands.single and bool(self._parser.tool_calls)
            if self._stops.found is not None or called:
                self._generation.cancel()
                break
        stopped = self._generation.stopped
        reason: Literal["stop", "length", "repetition", "tool_calls", "cancelled", "timeout"] = stopped.reason
        if self._stops.found is None and not called:
            yield from self._shown(self._parser.finish(reason))
            yield from self._calls_without_tags(cut=reason != "stop")
            yield from self._flushed()
        tool_calls = tuple([*self._parser.tool_calls, *self._untagged_found][: 1 if self._demands.single else None])
        if self._stops.found is not None:
            reason = "stop"
        elif tool_calls and (reason == "stop" or called):
            reason = "tool_calls"
        usage = Usage(
            prompt=stopped.prompt_tokens,
            reused=stopped.reused_tokens,
            output=stopped.output_tokens,
            reasoning=self._parser.reasoning_tokens,
        )
        self._assistant.kept_reasoning.keep(tool_calls, "".join(self._reasoning), self._conversation, self._asker)
        self._held.thought_seconds = self.thought_seconds if usage.reasoning else None
        guard = self._assistant.guard
        receipt = write_receipt(
            self._assistant.identity_in(self._assistant.chat.for_conversation(self._conversation)),
            self._assistant.engine.facts,
            sent_by_message(self._conversation, self._rendered, self._restored, self.left_out),
            {**self._demands.facts(), **requested(self._conversation)},
            self._sampling,
            self._stop,
            stopped,
            usage,
            reason,
            self._stops.found,
            self._held,
            self._rendered.ids,
            self.token_ids,
            self.likelihood.mean,
            self._own_stop_ids,
            None if guard is None or self._before is None else guard.report(self._before),
        )
        kept, unrecorded = recorded(
            self._assistant.ledger,
            receipt,
            lambda: contents_of(self._conversation, self._demands, self._stop, self._rendered.ids, self.token_ids),
        )
        yield Finished(reason=reason, usage=usage, tool_calls=tool_calls, receipt=kept, unrecorded=unrecorded)

    def _shown(self, deltas: Sequence[Delta]) -> Iterator[Delta]:
        """The deltas as far as stop strings let them through."""
        for delta in deltas:
            if isinstance(delta, TextDelta):
                if not self._speaks:
                    continue  # the beginning of a call that was cut off
                text = delta.text if self._untagged is None else self._untagged.push(delta.text)
                if text := self._stops.push(text):
                    yield self._said(text)
            else:
                yield from self._flushed()
                if isinstance(delta, ReasoningDelta):
                    self._reasoning.append(delta.text)
                    if self._scores is not None:
                        self._scores.forget()
                if self._stops.found is None and not (self._demands.single and beyond_first_call(delta)):
                    yield delta

    def _flushed(self) -> Iterator[Delta]:
        """Text that was held back and proved harmless: the text goes no further here."""
        held = "" if self._untagged is None else self._untagged.give_up_what_is_held()
        if text := self._stops.push(held) + self._stops.flush():
            yield self._said(text)

    def _calls_without_tags(self, *, cut: bool) -> Iterator[Delta]:
        """What the text was that was held back all along: calls, or text after all."""
        if self._untagged is None:
            return
        text, written = self._untagged.finish(cut=cut)
        if shown := self._stops.push(text):
            yield self._said(shown)
        for index, each in enumerate(written):
            call = ToolCall(self._parser.call_id(), each.name, each.arguments)
            self._untagged_found.append(call)
            self._held.untagged = True
            if not (self._demands.single and index):
                yield ToolCallDelta(index, call.id, call.name, call.arguments)

    def _said(self, text: str) -> TextDelta:
        return TextDelta(text) if self._scores is None else self._scores.scored(text)


def beyond_first_call(delta: Delta) -> bool:
    return isinstance(delta, ToolCallDelta) and delta.index > 0
