"""An answer of a remote engine, asked for in one request, or in several where its form wants that.

A form that the other server can hold an answer to is passed on. In any case every token is checked here. Where one
does not fit, the request is closed, the other server is asked for one token among those that do, and then goes on by
itself: so the answer follows every form, also those that have no words over there, and is chosen by the model as it
would be under a mask. Where only one token may come, nobody is asked.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ouvert.engine.asked import state_behind
from ouvert.engine.constraints.grammar import Grammar, merged_ids
from ouvert.engine.interface import (
    Constraint,
    EngineBusyError,
    EngineError,
    EngineUnreachableError,
    Reading,
    Sampling,
    Stopped,
    Token,
)
from ouvert.engine.mailbox import closed
from ouvert.engine.remote.endpoint import Ask, Chunk
from ouvert.engine.remote.sampling_params import held_to, one_of_these, sampling_params
from ouvert.engine.remote.source import Stream, TokenSource
from ouvert.engine.request import LOOKED_EVERY, Reason, goes_in_circles

# Tokens that are asked for one by one after a request whose first token did not fit, doubled each time.
MOST_ALONE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be written. `written`: how the answer began elsewhere; `deadline` is on time.monotonic's clock;
    `salt`: of the owner's caches."""

    prompt: Sequence[int]
    written: Sequence[int]
    sampling: Sampling
    seed: int
    most_tokens: int
    vocabulary_size: int
    deadline: float | None
    salt: str | None


class Line:
    """The request that an answer waits for now; whoever ends the answer closes it. Safe from any thread."""

    def __init__(self, ended: Callable[[], None]) -> None:
        """`ended` is called once."""
        self.cancelled = threading.Event()
        self.engine_closed = False
        self._ended: Callable[[], None] | None = ended
        self._lock = threading.Lock()
        self._stream: Stream | None = None

    def hold(self, stream: Stream) -> None:
        """This is the request now, unless nobody waits any more."""
        with self._lock:
            self._stream = stream
            over = self.cancelled.is_set()
        if over:
            stream.close()

    def let_go(self) -> None:
        """Nobody wants the rest of this request."""
        with self._lock:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def end(self) -> None:
        """The answer is over."""
        self.let_go()
        with self._lock:
            ended, self._ended = self._ended, None
        if ended is not None:
            ended()

    def cancel(self) -> None:
        self.cancelled.set()
        self.end()


# A token that came, or the version of the weights that wrote them.
Noted = Callable[[Token | None, str | None], None]


@dataclass(slots=True)
class Written:
    """What has come so far. `began`, `read` (the first token) and `over` are on time.perf_counter's clock."""

    ids: list[int] = field(default_factory=list)
    cached: int | None = None
    began: float = field(default_factory=time.perf_counter)
    read: float | None = None
    over: float | None = None


class Writing:
    """The tokens of one answer as the other server writes them, held to its form. Belongs to whoever iterates it.

    `reason`: why it ended, None while it did not.
    """

    def __init__(self, source: TokenSource, order: Order, line: Line, noted: Noted) -> None:
        """`noted` is called with what comes. Raises EngineError as `Engine.generate` does."""
        self._source, self._order, self._line, self._noted = source, order, line, noted
        self.written = Written(ids=list(order.written))
        self._state = state_behind(order.written, order.sampling)
        self.reason = self._outcome()
        self._stop_ids = tuple(sorted(token for token in order.sampling.stop_ids if token < order.vocabulary_size))
        self._alone = self._next_alone = 0  # tokens that are asked for one by one
        self._passed_on = False  # the form, to the first request
        self._ended_there = False  # the other server knows by itself that it is over, and has a last word
        self._first = self._begun()

    # --- asking -------------------------------------------------------------------------------------------------------

    def _begun(self) -> Stream | None:
        """The first request, at once, so that what is wrong with it is known at once; None where the first tokens are
        no question."""
        if self.reason is not None or (self._state is not None and self._state.finished):
            return None
        if self._forced(self._allowed()) is not None:
            return None
        grammar = grammar_of(self._order.sampling.constraint)
        if grammar is None or self._order.written:
            return self._ask({})
        try:
            stream = self._ask({"structured_outputs": held_to(grammar)})
        except (EngineUnreachableError, EngineBusyError):
            raise
        except EngineError:  # it has no words for this form, which is followed here then
            return self._ask({})
        self._passed_on = True
        return stream

    def _ask(self, more: Mapping[str, Any]) -> Stream:
        """A request for what follows. Raises EngineError."""
        order, written = self._order, self.written.ids
        params = sampling_params(order.sampling, seed=order.seed, max_tokens=order.most_tokens - len(written))
        params["stop_token_ids"] = list(self._stop_ids)  # one that is not in its vocabulary would be refused
        ask = Ask(ids=[*order.prompt, *written], params={**params, **more}, salt=order.salt, written=len(written))
        stream = self._source.generate(ask, order.deadline)
        self._line.hold(stream)
        return stream

    # --- writing ------------------------------------------------------------------------------------------------------

    def tokens(self) -> Iterator[Token]:
        """Once. Raises EngineError where the answer cannot go on."""
        try:
            while self.reason is None:
                yield from self._more()
        except TimeoutError:
            self.reason = "timeout"
        finally:
            self.written.over = time.perf_counter()
            self._line.end()
        if self._line.engine_closed:
            raise closed()

    def _more(self) -> Iterator[Token]:
        """At least one token, or an end, or another way to ask."""
        allowed = self._allowed()
        if self._line.cancelled.is_set():
            self.reason = "cancelled"
        elif self._state is not None and self._state.finished:
            self.reason = "stop"
        elif (token := self._forced(allowed)) is not None:
            yield self._took(Token(token))
        elif self._alone and allowed is not None:
            self._alone -= 1
            yield from self._streamed(self._ask(one_of_these(allowed)), wanted=1)
        else:
            stream, self._first = self._first or self._ask({}), None
            yield from self._first_streamed(stream) if self._passed_on else self._streamed(stream)

    def _first_streamed(self, stream: Stream) -> Iterator[Token]:
        """A form that was passed on may be refused when the stream has begun. It is followed here then."""
        self._passed_on = False
        try:
            yield from self._streamed(stream)
        except (EngineUnreachableError, EngineBusyError):
            raise
        except EngineError:
            if self.written.ids:
                raise
            self._line.let_go()

    def _streamed(self, stream: Stream, wanted: int | None = None) -> Iterator[Token]:
        """The tokens of one request, as far as they fit. `wanted`: so many and no more."""
        before = len(self.written.ids)
        for chunk in stream:
            self._note(chunk)
            if self.reason is not None and chunk.tokens:
                break
            for token in chunk.tokens:
                if not self._fits(token.id):
                    if wanted is not None:
                        raise self._ignored(token.id)
                    self._line.let_go()
                    self._doubt(came=len(self.written.ids) - before)
                    return
                yield self._took(token)
                if self.reason is not None:
                    break
            if self.reason is None and chunk.finish_reason is not None:
                came = len(self.written.ids) - before
                if wanted and not came:
                    raise self._ignored(None)
                if came != wanted:
                    self._finish(chunk.finish_reason, came)
            if self.reason is not None and not self._ended_there:
                break
        self._line.let_go()

    def _ignored(self, token: int | None) -> EngineError:
        wrote = "no token" if token is None else f"token {token}"
        return EngineError(
            f"holding an answer to its form: the engine wrote {wrote}, expected one of the allowed_token_ids of the "
            "request. It does not honour them: use vLLM 0.32 or newer there, or leave the form out."
        )

    def _note(self, chunk: Chunk) -> None:
        if chunk.cached_tokens is not None and self.written.cached is None:
            self.written.cached = chunk.cached_tokens
        if self.written.read is None and chunk.tokens:
            self.written.read = time.perf_counter()
        if chunk.weights_version is not None:
            self._noted(None, chunk.weights_version)

    def _doubt(self, came: int) -> None:
        """The next token is asked for among those that fit; several, where it does not come to fit by itself."""
        self._next_alone = 1 if came else min(MOST_ALONE, max(1, 2 * self._next_alone))
        self._alone = self._next_alone

    def _finish(self, reason: str, came: int) -> None:
        """The other server ended the request. It ends the answer where that may end."""
        if reason in ("abort", "error"):
            raise EngineUnreachableError(
                f"reading an answer: the engine ended it ({reason}). Its own log says why; ask again when it is well."
            )
        if reason == "length":
            self.reason = "length"
        elif self._state is None or self._state.accepting:
            self.reason = "stop"
        else:
            self._doubt(came)

    # --- following the form -------------------------------------------------------------------------------------------

    def _allowed(self) -> np.ndarray | None:
        """The ids that may come next, with those that end the answer where it may end; None if any may.

        Raises EngineError where none may.
        """
        if self._state is None or self._state.finished:
            return None
        allowed = self._state.allowed()
        if allowed is not None and self._state.accepting:
            allowed = merged_ids(allowed, self._stop_ids)
        if allowed is not None and not allowed.size:
            raise EngineError(
                "sampling under a constraint: no token of the vocabulary may come next, and the answer may not end "
                "here. Change the grammar so that this vocabulary can spell it."
            )
        return allowed

    def _forced(self, allowed: np.ndarray | None) -> int | None:
        """The only token that may come, unless its log-probability is wanted, which only the model knows."""
        if allowed is None or allowed.size != 1 or self._order.sampling.logprobs is not None:
            return None
        return int(allowed[0])

    def _fits(self, token: int) -> bool:
        """Raises EngineError for a token that the vocabulary has not."""
        if not 0 <= token < self._order.vocabulary_size:
            raise EngineError(
                f"reading an answer: the engine wrote token {token}, and the vocabulary has "
                f"{self._order.vocabulary_size}. Does it serve another model? Name the same here and there."
            )
        allowed = self._allowed()
        if allowed is None:
            return True
        place = int(np.searchsorted(allowed, token))
        return place < allowed.size and int(allowed[place]) == token

    def _took(self, token: Token) -> Token:
        """The token is of the answer, which may be over with it."""
        sampling, ids = self._order.sampling, self.written.ids
        stops = token.id in sampling.stop_ids
        if self._state is not None and not stops:
            self._state.advance(token.id)
        ids.append(token.id)
        self._noted(token, None)
        if self.written.read is None:
            self.written.read = time.perf_counter()
        self._ended_there = stops or len(ids) >= self._order.most_tokens
        self.reason = self._outcome()
        return token if sampling.logprobs is None else Token(token.id, token.logprob, token.top[: sampling.logprobs])

    def _outcome(self) -> Reason | None:
        """Why the answer ends behind its last token; None if it goes on."""
        sampling, ids = self._order.sampling, self.written.ids
        if not ids:
            return None
        if ids[-1] in sampling.stop_ids or (self._state is not None and self._state.finished):
            return "stop"
        if len(ids) >= self._order.most_tokens:
            return "length"
        circles = not len(ids) % LOOKED_EVERY and goes_in_circles(ids, sampling.repetition_guard)
        return "repetition" if circles else None


class RemoteGeneration:
    """`interface.Generation`. Its tokens are read when they are asked for; dropping it ends the request."""

    def __init__(self, writing: Writing, order: Order, line: Line) -> None:
        self._writing, self._order, self._line = writing, order, line
        self._tokens = writing.tokens()
        self._ahead: list[Token] = []
        self._given = len(order.written)  # tokens handed on, here and elsewhere
        weakref.finalize(self, line.cancel).atexit = False

    def __iter__(self) -> Iterator[Token]:
        while (token := self._next()) is not None:
            yield token

    def reading(self) -> Iterator[Reading]:
        """Another server does not say how far it has read: there is nothing to iterate, until a token is there."""
        if not self._ahead and self._given == len(self._order.written):
            token = next(self._tokens, None)
            if token is not None:
                self._ahead.append(token)
        yield from ()

    def cancel(self) -> None:
        self._line.cancel()

    @property
    def stopped(self) -> Stopped:
        reason, written = self._writing.reason, self._writing.written
        if reason is None and not self._line.cancelled.is_set():
            raise RuntimeError(
                "asking why a generation stopped: tokens are still to come. Iterate to the end or cancel."
            )
        over = written.over or time.perf_counter()
        read = written.read or over
        return Stopped(
            reason=reason if reason is not None and self._given == len(written.ids) else "cancelled",
            prompt_tokens=len(self._order.prompt),
            reused_tokens=min(written.cached or 0, len(self._order.prompt)),
            output_tokens=self._given,
            seed=self._order.seed,
            seconds_queued=0.0,
            seconds_prefill=read - written.began,
            seconds_decode=over - read,
        )

    def _next(self) -> Token | None:
        token = self._ahead.pop() if self._ahead else next(self._tokens, None)
        if token is None or self._line.cancelled.is_set():
            return None
        self._given += 1
        return token


def grammar_of(constraint: Constraint | None) -> Grammar | None:
    """The grammar that is all of the form, if there is one: also of an answer in a chat format that has nothing else.

    Raises nothing.
    """
    source = {} if constraint is None else constraint.source
    stated = source.get("grammar")
    if (outline := source.get("outline")) is not None:
        segments = outline["segments"]
        bare = len(segments) == 1 and not (segments[0]["header"] or segments[0]["ends"] or outline["inside"])
        stated = segments[0]["contents"] if bare and outline["think_budget"] is None else None
    return None if stated is None else Grammar(**stated)
