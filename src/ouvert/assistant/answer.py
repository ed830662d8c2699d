"""An answer to a conversation while it is written: the engine's tokens become typed events."""

import json
import time
from collections.abc import Iterator, Sequence

from ouvert.assistant.arguments import follows
from ouvert.assistant.cited import Cited, as_events
from ouvert.assistant.events import Event, Finished, Reason
from ouvert.assistant.kept_reasoning import KeptReasoning
from ouvert.assistant.likelihood import Likelihood
from ouvert.assistant.meaning import Note
from ouvert.assistant.plan import AnswerPlan
from ouvert.assistant.receipts.ended import Ended
from ouvert.assistant.receipts.receipt import sent_by_message
from ouvert.assistant.receipts.writer import ReceiptWriter
from ouvert.assistant.request import ChatRequest
from ouvert.assistant.scores import Scores
from ouvert.assistant.stops import StopStrings
from ouvert.assistant.truncation import LeftOut
from ouvert.assistant.watching import Watched
from ouvert.chat import (
    NO_ARGUMENTS,
    Conversation,
    Delta,
    Parser,
    ReasoningDelta,
    Rendered,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    UntaggedCalls,
    WrittenCall,
)
from ouvert.engine import Engine, Stopped, Token, Vocabulary


class Answer:
    """One answer being written. Iterate for events; the last one is Finished.

    `token_ids` are the tokens so far, those of headers and ends among them; `likelihood` counts their log-probabilities
    where `logprobs` asks for them; `thought_seconds` says how long the model has thought so far.

    Its properties raise nothing.
    """

    def __init__(
        self,
        plan: AnswerPlan,
        engine: Engine,
        parser: Parser,
        scores: Scores | None,
        receipts: ReceiptWriter,
        kept_reasoning: KeptReasoning,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """`Assistant.answer` makes one; with a `vocabulary` where the answer is watched. Raises EngineError, and
        ValueError for an empty stop string."""
        self._plan, self._parser, self._scores = plan, parser, scores
        self._receipts, self._kept_reasoning = receipts, kept_reasoning
        self._vocabulary = vocabulary
        self._connections_before = receipts.connections_before()
        self._stops = StopStrings(plan.request.stop)
        self._single = plan.request.demands.single
        self._speaks = plan.constraint is None or plan.constraint.speaks
        self._untagged = untagged_calls(plan)
        self._untagged_found: list[ToolCall] = []
        self._reasoning: list[str] = []
        self._token_came: float | None = None  # on time.perf_counter's clock
        self._called = False  # the only call that is wanted is whole
        self.token_ids: list[int] = []
        self.likelihood = Likelihood()
        self.thought_seconds = 0.0
        self._generation = engine.generate(
            plan.rendered.ids,
            plan.sampling,
            plan.request.variant,
            first_turn=plan.rendered.first_turn,
            timeout=plan.request.timeout,
            owner=plan.request.owner,
        )
        self._events = self._written()

    @property
    def loosened(self) -> tuple[str, ...]:
        """What of schemas that are not strict the answer is not held to: whose they are, the place, and what it is."""
        return tuple(self._plan.outcome.loosened)

    @property
    def left_out(self) -> LeftOut:
        """Messages that were not sent, by their place."""
        return self._plan.left_out

    @property
    def notes(self) -> tuple[Note, ...]:
        """What of the request is not promised."""
        return self._plan.notes

    @property
    def request(self) -> ChatRequest:
        """What was asked, as it is meant for this model."""
        return self._plan.request

    @property
    def conversation(self) -> Conversation:
        """The conversation as it was sent: without what was left out, with thoughts that were put back."""
        return self._plan.conversation

    @property
    def rendered(self) -> Rendered:
        """The conversation as the model reads it."""
        return self._plan.rendered

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The tokens of that."""
        return self._plan.rendered.ids

    @property
    def thought_tokens(self) -> int:
        """How many tokens the model has thought so far."""
        return self._parser.reasoning_tokens

    def __iter__(self) -> Iterator[Event]:
        """The events as they come. Raises EngineError if the answer cannot go on: logits that are not finite, damaged
        weights, a model that was closed."""
        return self._events

    def __next__(self) -> Event:
        return next(self._events)

    def cancel(self) -> None:
        """End the answer before its next token; Finished still comes. Safe from any thread. Raises nothing."""
        self._generation.cancel()

    def _written(self) -> Iterator[Event]:
        if self._plan.request.progress:
            yield from self._generation.reading()
        for token in self._generation:
            yield from self._seen(token)
            yield from self._shown(self._parsed(token))
            self._called = self._single and bool(self._parser.tool_calls)
            if self._stops.found is not None or self._called:
                self._generation.cancel()
                break
        stopped = self._generation.stopped
        if self._stops.found is None and not self._called:
            yield from self._shown(self._parser.finish(stopped.reason))
            yield from self._calls_without_tags(cut=stopped.reason != "stop")
            yield from self._flushed()
        if self._plan.citer is not None:
            yield from as_events(self._plan.citer.finish())
        yield self._finished(stopped)

    def _seen(self, token: Token) -> Iterator[Watched]:
        """What was seen of the token, where that was asked for."""
        if self._plan.watcher is not None and self._vocabulary is not None:
            place = len(self._plan.rendered.ids) + len(self.token_ids)
            yield self._plan.watcher.saw(place, token, self._vocabulary)

    def _parsed(self, token: Token) -> list[Delta]:
        """What the token adds to the answer. It is counted, and so is the time it took if it is one of thought."""
        self.token_ids.append(token.id)
        self.likelihood.push(token)
        if self._scores is not None:
            self._scores.push(token)
        thought = self._parser.reasoning_tokens
        deltas = self._parser.push(token.id)
        before, self._token_came = self._token_came, time.perf_counter()
        if before is not None and self._parser.reasoning_tokens > thought:
            self.thought_seconds += self._token_came - before
        return deltas

    def _finished(self, stopped: Stopped) -> Finished:
        plan, request = self._plan, self._plan.request
        calls = [*self._parser.tool_calls, *self._untagged_found][: 1 if self._single else None]
        self._kept_reasoning.keep(calls, "".join(self._reasoning), plan.conversation, request.asker)
        reasoning_tokens = self._parser.reasoning_tokens
        plan.outcome.thought_seconds = self.thought_seconds if reasoning_tokens else None
        ended = Ended(
            identity=plan.identity,
            prompt_ids=plan.rendered.ids,
            output_ids=self.token_ids,
            sampling=plan.sampling,
            own_stop_ids=plan.own_stop_ids,
            stop=request.stop,
            demands=request.demands,
            stopped=stopped,
            reason=self._reason(stopped, calls),
            stop_string=self._stops.found,
            reasoning_tokens=reasoning_tokens,
            tool_calls=tuple(calls),
            mean_logprob=self.likelihood.mean,
            conversation=plan.conversation,
            messages=sent_by_message(plan.conversation, plan.rendered, plan.restored, plan.left_out),
            left_out={place: request.conversation.messages[place] for place in plan.left_out},
            outcome=plan.outcome,
            watched=None if plan.watcher is None else plan.watcher.summary,
            cited={} if plan.citer is None else plan.citer.facts,
        )
        return self._receipts.finish(ended, self._connections_before)

    def _reason(self, stopped: Stopped, calls: Sequence[ToolCall]) -> Reason:
        if self._stops.found is not None:
            return "stop"
        return "tool_calls" if calls and (stopped.reason == "stop" or self._called) else stopped.reason

    def _shown(self, deltas: Sequence[Delta]) -> Iterator[Delta | Cited]:
        """The deltas as far as stop strings let them through."""
        for delta in deltas:
            if isinstance(delta, TextDelta):
                if not self._speaks:
                    continue  # the beginning of a call that was cut off
                text = delta.text if self._untagged is None else self._untagged.push(delta.text)
                if text := self._stops.push(text):
                    yield from self._said(text)
            else:
                yield from self._flushed()
                if isinstance(delta, ReasoningDelta):
                    self._reasoning.append(delta.text)
                    if self._scores is not None:
                        self._scores.forget()
                if self._stops.found is None and not (self._single and beyond_first_call(delta)):
                    yield delta

    def _flushed(self) -> Iterator[Delta | Cited]:
        """Text that was held back and proved harmless: the text goes no further here."""
        held = "" if self._untagged is None else self._untagged.give_up_what_is_held()
        if text := self._stops.push(held) + self._stops.flush():
            yield from self._said(text)

    def _calls_without_tags(self, *, cut: bool) -> Iterator[Delta | Cited]:
        """What the text was that was held back all along: calls, or text after all."""
        if self._untagged is None:
            return
        text, written = self._untagged.finish(cut=cut)
        if shown := self._stops.push(text):
            yield from self._said(shown)
        for index, each in enumerate(written):
            call = ToolCall(self._parser.call_id(), each.name, each.arguments)
            self._untagged_found.append(call)
            self._plan.outcome.untagged = True
            if not (self._single and index):
                yield ToolCallDelta(index, call.id, call.name, call.arguments)

    def _said(self, text: str) -> Iterator[TextDelta | Cited]:
        if self._plan.citer is not None:
            yield from as_events(self._plan.citer.push(text))
        else:
            yield TextDelta(text) if self._scores is None else self._scores.scored(text)


def untagged_calls(plan: AnswerPlan) -> UntaggedCalls | None:
    """A reader of calls without tags, if the model may call: an answer that is only a call's JSON is a call."""
    tools = {tool.name: tool for tool in plan.conversation.tools}
    demands = plan.request.demands
    if not tools or demands.calls != "auto" or demands.answer is not None:
        return None

    def valid(call: WrittenCall) -> bool:
        parameters = tools[call.name].parameters
        return follows(json.loads(call.arguments), NO_ARGUMENTS if parameters is None else parameters)

    return UntaggedCalls(tools.keys(), valid)


def beyond_first_call(delta: Delta) -> bool:
    return isinstance(delta, ToolCallDelta) and delta.index > 0
