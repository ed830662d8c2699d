"""A text continued, without a chat format: token ids in, typed events out, a receipt at the end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ouvert.assistant.demands import Demands
from ouvert.assistant.error import ContextExceeded
from ouvert.assistant.events import Event, Finished, Usage
from ouvert.assistant.likelihood import Likelihood
from ouvert.assistant.receipts.contents import contents_of
from ouvert.assistant.receipts.ledger import Ledger, recorded
from ouvert.assistant.receipts.receipt import Held, Identity, write_receipt
from ouvert.assistant.stops import StopStrings
from ouvert.chat import TextDelta
from ouvert.engine import Engine, Sampling, Token
from ouvert.safety import Guard
from ouvert.tokenization import Tokenizer

# A character may begin in the last tokens of the prompt: so many are enough for any.
PROMPT_TAIL = 8


@dataclass(frozen=True, slots=True)
class PlacedToken:
    """A token with the text it adds after all before it, and where that text begins, in characters."""

    token: Token
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class ContinuedText(TextDelta):
    """A piece of the text, with the tokens that came with it."""

    tokens: tuple[PlacedToken, ...]


class Continuation:
    """One text being continued. Iterate for ContinuedText; the last event is Finished.

    `prompt_ids` are read, `token_ids` are those written so far; the token that ends the text is among them and not
    shown. `likelihood` counts their log-probabilities where `sampling.logprobs` asks for them.
    """

    def __init__(
        self,
        engine: Engine,
        identity: Identity,
        tokenizer: Tokenizer,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        stop: Sequence[str],
        demands: Demands,
        timeout: float | None = None,
        control: bool = False,
        ledger: Ledger | None = None,
        guard: Guard | None = None,
        progress: bool = False,
        owner: str = "",
    ) -> None:
        """`sampling` is held to `demands` already, which the receipt names; `stop` texts end it and are not shown. With
        `control`, control tokens are, but for those that end the text. `progress`: Reading events come first. `owner`:
        as in `Engine.generate`.

        Raises EngineError if the prompt does not fit, ValueError for an empty stop string.
        """
        self._engine, self._identity, self._tokenizer = engine, identity, tokenizer
        self._sampling, self._demands, self._ledger, self._guard = sampling, demands, ledger, guard
        self._before = None if guard is None else guard.counts
        self._stop, self._stops = tuple(stop), StopStrings(stop)
        self.prompt_ids = tuple(prompt_ids)
        self.token_ids: list[int] = []
        self.likelihood = Likelihood()
        ContextExceeded.check(len(self.prompt_ids), engine.context)
        self._control, self._progress = control, progress
        self._generation = engine.generate(self.prompt_ids, sampling, timeout=timeout, owner=owner)
        self._events = self._written()

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def __next__(self) -> Event:
        return next(self._events)

    def cancel(self) -> None:
        """End it before its next token; Finished still comes. Safe from any thread."""
        self._generation.cancel()

    def _written(self) -> Iterator[Event]:
        decoder = self._tokenizer.decoder(control=self._control)
        for read in self.prompt_ids[-PROMPT_TAIL:]:
            decoder.push(read)
        held: list[PlacedToken] = []
        offset = 0
        if self._progress:
            yield from self._generation.reading()
        for token in self._generation:
            self.token_ids.append(token.id)
            self.likelihood.push(token)
            if token.id not in self._sampling.stop_ids:
                text = decoder.push(token.id)
                held.append(PlacedToken(token, text, offset))
                offset += len(text)
                if shown := self._stops.push(text):
                    yield ContinuedText(shown, tuple(held))
                    held = []
            if self._stops.found is not None:
                self._generation.cancel()
                break
        else:
            rest = self._stops.push(decoder.flush()) + self._stops.flush()
            if rest or (held and self._sampling.logprobs is not None):
                yield ContinuedText(rest, tuple(held))
        stopped = self._generation.stopped
        reason: Literal["stop", "length", "repetition", "cancelled", "timeout"] = (
            "stop" if self._stops.found is not None else stopped.reason
        )
        usage = Usage(
            prompt=stopped.prompt_tokens, reused=stopped.reused_tokens, output=stopped.output_tokens, reasoning=0
        )
        receipt = write_receipt(
            self._identity,
            self._engine.facts,
            [],
            self._demands.facts(),
            self._sampling,
            self._stop,
            stopped,
            usage,
            reason,
            self._stops.found,
            Held(),
            self.prompt_ids,
            self.token_ids,
            self.likelihood.mean,
            self._sampling.stop_ids,
            None if self._guard is None or self._before is None else self._guard.report(self._before),
        )
        kept, unrecorded = recorded(
            self._ledger,
            receipt,
            lambda: contents_of(None, self._demands, self._stop, self.prompt_ids, self.token_ids),
        )
        yield Finished(reason=reason, usage=usage, tool_calls=(), receipt=kept, unrecorded=unrecorded)
