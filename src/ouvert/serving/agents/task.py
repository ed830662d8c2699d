"""A run of an agent as an answer of the server: its steps are thoughts, its end is the text."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from ouvert.agents import AgentError, Run, said_at_the_end
from ouvert.agents import Event as RunEvent
from ouvert.assistant import (
    BASE,
    Answer,
    ChatRequest,
    Cited,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from ouvert.chat import ChatFormat
from ouvert.serving.loaded_models import Lease

SHOWN = 500  # characters of a result among the thoughts
REASONS: Mapping[str, Any] = {"done": "stop", "waiting": "stop", "budget": "length", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True)
class LeasedSpeaker:
    """A model that was borrowed, for one caller's caches."""

    lease: Lease
    asker: str

    @property
    def chat_format(self) -> ChatFormat:
        return self.lease.model.chat_format

    def answer(self, request: ChatRequest) -> Answer:
        return self.lease.model.answer(self.lease.asked(replace(request, asker=self.asker)))

    def named(self, name: str) -> "LeasedSpeaker":
        """Every agent of a run is answered by the model that was borrowed for it. Raises AgentError for another."""
        if name != self.lease.name:
            raise AgentError(
                f"running an agent: one that it asks is answered by {name}, expected {self.lease.name}, "
                "as it is itself: a server borrows one model for a run. Give both the same."
            )
        return self


class Opening:
    """How a run is opened, in the thread that goes through it. `verdict`: said to the call that waits, first."""

    def __init__(self, model: str, asker: str) -> None:
        self.model, self.asker = model, asker

    def run(self, speaker: LeasedSpeaker) -> AbstractContextManager[Run]:
        raise NotImplementedError


class RunTask:
    """What `Service.begin` is given for a run of an agent."""

    choices, variant = 1, BASE

    def __init__(self, opening: Opening, notes: Sequence[str] = ()) -> None:
        self.model, self.notes = opening.model, [*notes]
        self.prompt_tokens = 0
        self._opening = opening

    def start(self, lease: Lease, number: int) -> "RunInProgress":
        return RunInProgress(self._opening, LeasedSpeaker(lease, self._opening.asker))


class RunInProgress:
    """A run while it goes on: iterate it in one thread, cancel it from any."""

    def __init__(self, opening: Opening, speaker: LeasedSpeaker) -> None:
        """Opens the run. Raises AgentError, and what opening its tools raises."""
        self._context = opening.run(speaker)
        self._run = self._context.__enter__()
        self._usage = Usage(prompt=0, reused=0, output=0, reasoning=0)
        self._receipt: Mapping[str, Any] | None = None

    def cancel(self) -> None:
        """End it before the next token or call. Raises nothing."""
        self._run.cancel()

    def __iter__(self) -> Iterator[Event]:
        try:
            for event in self._run.steps():
                if isinstance(event, RunEvent):
                    yield from told(event)
                else:
                    yield from self._passed_on(event)
            yield TextDelta(self._ending())
            for place in self._places():
                yield Cited(place)
            yield self._finished()
        finally:
            self._context.__exit__(None, None, None)

    def _passed_on(self, event: Event) -> Iterator[Event]:
        match event:
            case Finished():
                added = event.usage
                self._receipt = event.receipt
                self._usage = Usage(
                    prompt=self._usage.prompt + added.prompt,
                    reused=self._usage.reused + added.reused,
                    output=self._usage.output + added.output,
                    reasoning=self._usage.reasoning + added.reasoning,
                )
            case TextDelta() | ToolCallDelta():
                pass  # shown when it is known what they were
            case _:
                yield event

    def _ending(self) -> str:
        state = self._run.state
        if (question := state.question) is not None:
            return (
                f"I need your word before I go on ({self._run.id}). I want to use {question.call.name} with "
                f"{question.call.arguments}. Why I ask: {question.why}. Say yes or no with POST "
                f"/ouvert/agents/runs/{self._run.id}/verdicts, call {question.call.id}."
            )
        stopped = state.stopped or {"reason": "stopped", "text": ""}
        text = said_at_the_end(stopped)
        return text if stopped["reason"] == "done" else f"I stopped ({stopped['reason']}): {text}"

    def _places(self) -> Sequence[Mapping[str, Any]]:
        """What the citations of the answer lead to."""
        stopped = self._run.state.stopped or {}
        places: Sequence[Mapping[str, Any]] = stopped.get("cited", {}).get("places", ())
        return places

    def _finished(self) -> Finished:
        """The receipt is that of the last answer, with what the run was beside it; its record has all of them."""
        state = self._run.state
        facts = {"run": self._run.id, "state": state.name, "head": self._run.log.head, "tainted": state.tainted}
        receipt = {**(self._receipt or {"ended": {}}), "agent": facts}
        return Finished(reason=REASONS.get(state.name, "stop"), usage=self._usage, tool_calls=(), receipt=receipt)


def told(event: RunEvent) -> Iterator[Event]:
    """What the reader of an answer sees of a step, among the thoughts."""
    match event.kind:
        case "answer":
            if event["calls"] and event["text"]:
                yield ReasoningDelta(f"{event['text']}\n")
            for call in event["calls"]:
                yield ReasoningDelta(f"→ {call['name']} {call['arguments']}\n")
        case "result" | "refused":
            text = event["text"]
            yield ReasoningDelta(f"← {text if len(text) <= SHOWN else text[:SHOWN] + '…'}\n")
