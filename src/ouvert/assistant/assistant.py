"""The assistant's waist: one chat format joined to one engine. Conversation in, typed events out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from ouvert.assistant.events import Event, Finished, Usage
from ouvert.assistant.receipt import Identity, write_receipt
from ouvert.assistant.stops import StopStrings
from ouvert.chat import ChatFormat, Conversation, Delta, TextDelta
from ouvert.engine import Engine, Sampling, Token


class Assistant:
    """Answers conversations. Holds no conversation itself, and may write several answers at once."""

    def __init__(self, engine: Engine, chat: ChatFormat, model: str, tokenizer_digest: str) -> None:
        """`model` is its name for people; engine and chat format belong to the same model."""
        self.engine = engine
        self.chat = chat
        self.identity = Identity(
            model=model, format=chat.name, tokenizer_digest=tokenizer_digest, template_digest=chat.digest
        )

    def answer(self, conversation: Conversation, sampling: Sampling, stop: Sequence[str] = ()) -> "Answer":
        """The answer, as it is written. `stop`: texts that end it; they are not shown, not even in part.

        They are looked for in the answer's text, not in its reasoning nor in tool calls. The chat format's own end
        tokens are added to `sampling.stop_ids`. Raises EngineError if the conversation does not fit, and what the
        chat format raises for one it cannot write; ValueError for an empty stop string.
        """
        return Answer(self, conversation, sampling, stop)

    def score(self, ids: Sequence[int], top: int = 0) -> list[Token]:
        """`Engine.score`, handed on."""
        return self.engine.score(ids, top)


class Answer:
    """One answer being written. Iterate for events; the last one is Finished."""

    def __init__(
        self, assistant: Assistant, conversation: Conversation, sampling: Sampling, stop: Sequence[str]
    ) -> None:
        self._assistant = assistant
        self._conversation = conversation
        self._stop = tuple(stop)
        self._stops = StopStrings(stop)
        self._rendered = assistant.chat.render(conversation)
        self._parser = assistant.chat.parser(self._rendered)
        self._sampling = replace(sampling, stop_ids=sampling.stop_ids | assistant.chat.stop_ids)
        self._generation = assistant.engine.generate(self._rendered.ids, self._sampling)
        self._events = self._written()

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def __next__(self) -> Event:
        return next(self._events)

    def cancel(self) -> None:
        """End the answer before its next token; Finished still comes. Safe from any thread."""
        self._generation.cancel()

    def _written(self) -> Iterator[Event]:
        for token in self._generation:
            yield from self._shown(self._parser.push(token.id))
            if self._stops.found is not None:
                self._generation.cancel()
                break
        stopped = self._generation.stopped
        reason: Literal["stop", "length", "tool_calls", "cancelled"] = stopped.reason
        if self._stops.found is None:
            yield from self._shown(self._parser.finish(reason))
            yield from self._flushed()
        tool_calls = tuple(self._parser.tool_calls)
        if self._stops.found is not None:
            reason = "stop"
        elif tool_calls and reason == "stop":
            reason = "tool_calls"
        usage = Usage(
            prompt=stopped.prompt_tokens,
            reused=stopped.reused_tokens,
            output=stopped.output_tokens,
            reasoning=self._parser.reasoning_tokens,
        )
        receipt = write_receipt(
            self._assistant.identity,
            self._assistant.engine.facts,
            self._conversation,
            self._rendered,
            self._sampling,
            self._stop,
            stopped,
            usage,
            reason,
            self._stops.found,
        )
        yield Finished(reason=reason, usage=usage, tool_calls=tool_calls, receipt=receipt)

    def _shown(self, deltas: Sequence[Delta]) -> Iterator[Delta]:
        """The deltas as far as stop strings let them through."""
        for delta in deltas:
            if isinstance(delta, TextDelta):
                if text := self._stops.push(delta.text):
                    yield TextDelta(text)
            else:
                yield from self._flushed()
                if self._stops.found is None:
                    yield delta

    def _flushed(self) -> Iterator[Delta]:
        """Text that was held back and proved harmless: the text goes no further here."""
        if text := self._stops.flush():
            yield TextDelta(text)
