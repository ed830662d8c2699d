"""A text continued, without a chat format: token ids in, typed events out, a receipt at the end."""

from collections.abc import Iterator
from dataclasses import dataclass

from ouvert.assistant.error import ContextExceeded
from ouvert.assistant.events import Event, Finished
from ouvert.assistant.likelihood import Likelihood
from ouvert.assistant.receipts.ended import Ended, Identity
from ouvert.assistant.receipts.writer import ReceiptWriter
from ouvert.assistant.request import TextRequest
from ouvert.assistant.stops import StopStrings
from ouvert.chat import TextDelta
from ouvert.engine import Engine, Sampling, Stopped, Token
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
        request: TextRequest,
        sampling: Sampling,
        engine: Engine,
        tokenizer: Tokenizer,
        identity: Identity,
        receipts: ReceiptWriter,
    ) -> None:
        """`Model.continuation` makes one. `sampling` is the model's with the changes of the request, and held to its
        demands.

        Raises EngineError if the prompt does not fit, ValueError for an empty stop string.
        """
        self._request, self._sampling = request, sampling
        self._tokenizer, self._identity, self._receipts = tokenizer, identity, receipts
        self._connections_before = receipts.connections_before()
        self._stops = StopStrings(request.stop)
        self.prompt_ids = request.prompt_ids
        self.token_ids: list[int] = []
        self.likelihood = Likelihood()
        ContextExceeded.check(len(self.prompt_ids), engine.context)
        self._generation = engine.generate(
            self.prompt_ids,
            sampling,
            request.variant,
            first_turn=len(self.prompt_ids),
            timeout=request.timeout,
            owner=request.owner,
        )
        self._events = self._written()

    def __iter__(self) -> Iterator[Event]:
        """The events as they come. Raises EngineError if the text cannot go on: logits that are not finite, damaged
        weights, a model that was closed."""
        return self._events

    def __next__(self) -> Event:
        return next(self._events)

    def cancel(self) -> None:
        """End it before its next token; Finished still comes. Safe from any thread. Raises nothing."""
        self._generation.cancel()

    def _written(self) -> Iterator[Event]:
        if self._request.progress:
            yield from self._generation.reading()
        yield from self._pieces()
        yield self._finished(self._generation.stopped)

    def _pieces(self) -> Iterator[ContinuedText]:
        """The text as far as stop strings let it through."""
        decoder = self._tokenizer.decoder(control=self._request.control)
        for read in self.prompt_ids[-PROMPT_TAIL:]:
            decoder.push(read)
        waiting: list[PlacedToken] = []  # for text that may be shown
        offset = 0
        for token in self._generation:
            self.token_ids.append(token.id)
            self.likelihood.push(token)
            if token.id not in self._sampling.stop_ids:
                text = decoder.push(token.id)
                waiting.append(PlacedToken(token, text, offset))
                offset += len(text)
                if shown := self._stops.push(text):
                    yield ContinuedText(shown, tuple(waiting))
                    waiting = []
            if self._stops.found is not None:
                self._generation.cancel()
                return
        rest = self._stops.push(decoder.flush()) + self._stops.flush()
        if rest or (waiting and self._sampling.logprobs is not None):
            yield ContinuedText(rest, tuple(waiting))

    def _finished(self, stopped: Stopped) -> Finished:
        ended = Ended(
            identity=self._identity,
            prompt_ids=self.prompt_ids,
            output_ids=self.token_ids,
            sampling=self._sampling,
            own_stop_ids=self._sampling.stop_ids,
            stop=self._request.stop,
            demands=self._request.demands,
            stopped=stopped,
            reason=stopped.reason if self._stops.found is None else "stop",
            stop_string=self._stops.found,
            mean_logprob=self.likelihood.mean,
        )
        return self._receipts.finish(ended, self._connections_before)
