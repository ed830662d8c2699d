"""Our own engine on another machine (`ouvert serve MODEL --engine-only`), behind the engine's interface.

Its endpoint is vLLM's with a field `ouvert`, in which the rest of what our engine takes is said: so an answer is the
one that would be written here, whatever it is held to. Facts: docs/formats/engine-http.md.
"""

import hashlib
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from ouvert.engine.asked import (
    NoAdapters,
    asked_elsewhere,
    check_top,
    checked_starts,
    prompt_ids,
    refuse_variant,
    state_behind,
)
from ouvert.engine.interface import (
    Constraint,
    EngineError,
    EngineFacts,
    EngineUnreachableError,
    Load,
    Reading,
    Reason,
    Sampling,
    Stopped,
    Token,
)
from ouvert.engine.mailbox import closed
from ouvert.engine.remote.connection import Connection
from ouvert.engine.remote.endpoint import GENERATE, Chunk, TokenStream
from ouvert.engine.remote.engine import Tally
from ouvert.engine.remote.scoring import SCORING_WITHIN, score_at_member
from ouvert.engine.remote.statement import MemberStatement, require_types, statement_of
from ouvert.engine.variant import BASE, Variant

EMBED, FORGET = "/inference/v1/embed", "/inference/v1/forget"
GRACE = 10.0  # seconds beyond an answer's time, in which the other side ends it

ENDING_TYPES: Mapping[str, tuple[type, ...]] = {
    "reason": (str,),
    "seed": (int,),
    **dict.fromkeys(("seconds_queued", "seconds_prefill", "seconds_decode"), (int, float)),
    "joules": (int, float, type(None)),
}
READING_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("done", "total", "reused"), (int,)),
    "seconds": (int, float),
}
REASONS = frozenset(get_args(Reason))


class MemberEngine:
    """`interface.Engine` over one such server. Safe from any thread; has no thread of its own.

    Its methods and properties mean what those of `Engine` mean, and raise what those raise; everything that asks
    raises EngineUnreachableError where nobody answers, or where another engine does than the one that was opened.
    """

    def __init__(self, connection: Connection) -> None:
        """Asks the other side what it is. Raises EngineError as `MemberStatement.of` and for a server that is no
        member, EngineUnreachableError."""
        self.connection = connection
        self.statement = statement_of(connection)
        self._tally = Tally()
        self._streams: weakref.WeakSet[MemberGeneration] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def context(self) -> int:
        return self.statement.context

    @property
    def vocabulary_size(self) -> int:
        return self.statement.vocabulary_size

    @property
    def embedding_size(self) -> int | None:
        return self.statement.embedding_size

    @property
    def adapters(self) -> NoAdapters:
        return NoAdapters()

    @property
    def facts(self) -> EngineFacts:
        return self.statement.facts

    @property
    def failure(self) -> str | None:
        """A connection that is lost ends the answers that came over it, and no others: nothing here has failed."""
        return None

    @property
    def load(self) -> Load:
        return self._tally.load()

    @property
    def shown(self) -> Mapping[str, int]:
        return {}

    def check_weights(self) -> str | None:
        """The other side does that."""
        return None

    def generate(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        variant: Variant = BASE,
        *,
        written: Sequence[int] = (),
        first_turn: int = 0,
        timeout: float | None = None,
        owner: str = "",
    ) -> "MemberGeneration":
        self._refuse_if_closed()
        refuse_variant(variant)
        prompt, beginning = asked_elsewhere(
            ids, written, sampling, timeout, context=self.context, vocabulary_size=self.vocabulary_size
        )
        if sampling.seed is None:
            sampling = replace(sampling, seed=secrets.randbits(32))
        order = MemberOrder(prompt, sampling, tuple(beginning), timeout, salt_of(owner), self.statement)
        generation = MemberGeneration(MemberAnswer(self.connection, order, self._tally))
        with self._lock:
            self._streams.add(generation)
        return generation

    def logits(self, ids: Sequence[int], variant: Variant = BASE, *, start: int = 0) -> np.ndarray:
        raise EngineError(
            "reading logits: another machine computes this model, and it gives log-probabilities of tokens alone. Use "
            "`score`, or load the model into this process."
        )

    def score(self, ids: Sequence[int], top: int = 0, variant: Variant = BASE) -> list[Token]:
        return self.score_all([ids], top, variant)[0]

    def score_all(
        self,
        texts: Sequence[Sequence[int]],
        top: int = 0,
        variant: Variant = BASE,
        *,
        starts: Sequence[int] | None = None,
        owner: str = "",
    ) -> list[list[Token]]:
        self._refuse_if_closed()
        refuse_variant(variant)
        given = [prompt_ids(ids, context=self.context, vocabulary_size=self.vocabulary_size) for ids in texts]
        check_top(top, self.vocabulary_size)
        body = {"top": top, "identity": self.facts.identity.digest, "cache_salt": salt_of(owner)}
        return score_at_member(self.connection, given, checked_starts(given, starts), body)

    def embed(self, texts: Sequence[Sequence[int]], variant: Variant = BASE) -> np.ndarray:
        self._refuse_if_closed()
        refuse_variant(variant)
        body = {"token_ids": [[int(i) for i in text] for text in texts]}
        answer = self.connection.post(EMBED, body, within=SCORING_WITHIN)
        try:
            return np.array(answer["embeddings"], np.float32)
        except (KeyError, TypeError, ValueError) as problem:
            raise EngineError(
                f"asking {self.connection.address}{EMBED}: the answer is {answer!r:.200}, expected embeddings. Is an "
                "engine of this version there?"
            ) from problem

    def forget(self, holds: Callable[[Sequence[int]], bool], owner: str = "") -> str | None:
        """The other side lets go of all that it keeps of this owner's prompts. Raises EngineError where it cannot be
        told."""
        self.connection.post(FORGET, {"cache_salt": salt_of(owner)})
        return None

    def give_way(self, between: Callable[[], None] | None) -> None:
        """The other program gives way as it likes."""

    def forget_all(self) -> None:
        """The other side makes room when that is needed."""

    def close(self) -> None:
        """End what was asked from here. The other side goes on."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        for stream in streams:
            stream.engine_closed = True
            stream.cancel()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise closed()


@dataclass(frozen=True, slots=True)
class MemberOrder:
    """What is to be written, by whom."""

    prompt: Sequence[int]
    sampling: Sampling
    written: tuple[int, ...]
    timeout: float | None
    salt: str
    statement: MemberStatement

    def body(self, source: Mapping[str, Any] | None) -> dict[str, Any]:
        """The request as JSON. `source`: of what the answer is held to."""
        sampling = self.sampling
        params: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "logit_bias": {str(token): bias for token, bias in sampling.logit_bias.items()} or None,
            "seed": sampling.seed,
            "max_tokens": sampling.max_tokens,
            "stop_token_ids": sorted(int(token) for token in sampling.stop_ids),
            "ignore_eos": True,
            "logprobs": sampling.logprobs,
        }
        beside = {
            "identity": self.statement.facts.identity.digest,
            "written": list(self.written) or None,
            "constraint": source,
            "repetition_guard": sampling.repetition_guard or None,
            "timeout": self.timeout,
            "reading": True,
        }
        return {
            "token_ids": list(self.prompt),
            "sampling_params": without_absent(params),
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_salt": self.salt,
            "ouvert": without_absent(beside),
        }


class MemberAnswer:
    """What comes of one request, in order. Belongs to whoever iterates it; `let_go` is safe from any thread.

    What the answer is held to is followed here, too: a token that does not fit is never handed on.
    """

    def __init__(self, connection: Connection, order: MemberOrder, tally: Tally) -> None:
        """Raises EngineError as `Engine.generate` does."""
        constraint = order.sampling.constraint
        self.order, self._tally = order, tally
        self._state = state_behind(order.written, order.sampling)
        self.begun, self.read = time.perf_counter(), 0.0
        self.came = 0  # tokens
        self.stopped: Stopped | None = None
        self.cancelled = threading.Event()
        deadline = None if order.timeout is None else time.monotonic() + order.timeout + GRACE
        lines = connection.stream(GENERATE, order.body(None if constraint is None else source_of(constraint)))
        self._stream = TokenStream(str(connection.address), lines, deadline)
        self._lock, self._open = threading.Lock(), True
        tally.begin(len(order.prompt))

    def cancel(self) -> None:
        self.cancelled.set()
        self.let_go()

    def let_go(self) -> None:
        with self._lock:
            was_open, self._open = self._open, False
        if was_open:
            self._stream.close()
            self._tally.end()

    def said(self) -> Iterator[Reading | Token]:
        """Once. Raises EngineError."""
        try:
            for chunk in self._stream:
                for token in chunk.tokens:
                    self._follow(token.id)
                    # The chosen token is always among those that come, however unlikely it is.
                    yield replace(token, top=token.top[: self.order.sampling.logprobs or 0])
                if (reading := self._reading(chunk)) is not None:
                    yield reading
        finally:
            self.let_go()
        if self.stopped is None and not self.cancelled.is_set():
            raise EngineUnreachableError(
                "reading an answer of a member: it ended before it said why. The engine there was stopped, or failed; "
                "its own log says why."
            )

    def _reading(self, chunk: Chunk) -> Reading | None:
        """How far the prompt is read, if the event says so; one that says why the answer ended is noted.

        Raises EngineUnreachableError for what is not understood: another member may do better.
        """
        try:
            if (ending := chunk.beside.get("stopped")) is not None:
                self.stopped = self._ended(ending, chunk.cached_tokens or 0)
            reading = chunk.beside.get("reading")
            if reading is None:
                return None
            require_types(reading, READING_TYPES)
            return Reading(**reading)
        except (AttributeError, KeyError, TypeError, ValueError) as problem:
            raise EngineUnreachableError(
                f"reading an answer of a member: an event has {chunk.beside!r:.200} ({problem}), expected what "
                "docs/formats/engine-http.md has. Is an engine of this version there?"
            ) from problem

    def _follow(self, token: int) -> None:
        written, most = len(self.order.written) + self.came, self.order.sampling.max_tokens
        if most is not None and written >= most:
            raise EngineUnreachableError(
                f"reading an answer of a member: it wrote more than the {most} tokens that were asked for. This is a "
                "fault of the member; its log may say more."
            )
        if not 0 <= token < self.order.statement.vocabulary_size:
            raise EngineUnreachableError(
                f"reading an answer of a member: it wrote token {token}, and the vocabulary has "
                f"{self.order.statement.vocabulary_size}. This is a fault of the member; its log may say more."
            )
        if self._state is not None and token not in self.order.sampling.stop_ids:
            self._state.advance(token)
        if not self.read:
            self.read = time.perf_counter()
        self.came += 1
        self._tally.wrote()

    def _ended(self, ending: Mapping[str, Any], reused: int) -> Stopped:
        require_types(ending, ENDING_TYPES)
        if ending["reason"] not in REASONS or len(ending) != len(ENDING_TYPES):
            raise ValueError(f"reason is {ending['reason']!r:.40}, with {len(ending)} facts")
        if ending["reason"] == "cancelled" and not self.cancelled.is_set():
            raise EngineUnreachableError(
                "reading an answer of a member: the member ended it, as it does when it is told to stop. Ask again."
            )
        return Stopped(
            prompt_tokens=len(self.order.prompt),
            reused_tokens=max(0, min(reused, len(self.order.prompt))),
            output_tokens=len(self.order.written) + self.came,
            **ending,
        )


class MemberGeneration:
    """`interface.Generation`. Its tokens are read when they are asked for; dropping it ends the request."""

    def __init__(self, answer: MemberAnswer) -> None:
        self.answer = answer
        self.engine_closed = False
        self._items = answer.said()
        self._ahead: list[Token] = []
        self._given = 0  # tokens handed on
        weakref.finalize(self, answer.cancel).atexit = False

    def __iter__(self) -> Iterator[Token]:
        while (token := self._next()) is not None:
            yield token

    def reading(self) -> Iterator[Reading]:
        answer = self.answer
        while not (self._ahead or self._given or answer.stopped or answer.cancelled.is_set()):
            item = next(self._items, None)
            if isinstance(item, Reading):
                yield item
            elif item is not None:
                self._ahead.append(item)
            else:
                return

    def cancel(self) -> None:
        self.answer.cancel()

    @property
    def stopped(self) -> Stopped:
        answer = self.answer
        if answer.stopped is not None and not self._ahead:
            return answer.stopped
        if not answer.cancelled.is_set():
            raise RuntimeError(
                "asking why a generation stopped: tokens are still to come. Iterate to the end or cancel."
            )
        now = time.perf_counter()
        read = answer.read or now
        return Stopped(
            reason="cancelled",
            prompt_tokens=len(answer.order.prompt),
            reused_tokens=0,
            output_tokens=len(answer.order.written) + self._given,
            seed=answer.order.sampling.seed or 0,
            seconds_queued=0.0,
            seconds_prefill=read - answer.begun,
            seconds_decode=now - read,
        )

    def _next(self) -> Token | None:
        while not self.answer.cancelled.is_set():
            item = self._ahead.pop() if self._ahead else next(self._items, None)
            if isinstance(item, Reading):
                continue
            if item is None or self.answer.cancelled.is_set():
                break
            self._given += 1
            return item
        if self.engine_closed:
            raise closed()
        return None


def without_absent(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def salt_of(owner: str) -> str:
    """What keeps an owner's prompts apart over there; it tells nobody who that is."""
    return hashlib.sha256(b"ouvert owner " + owner.encode()).hexdigest()


def source_of(constraint: Constraint) -> Mapping[str, Any]:
    """Raises EngineError for a form that cannot be sent."""
    source: Mapping[str, Any] | None = getattr(constraint, "source", None)
    if source is None:
        raise EngineError(
            f"sending what an answer is held to: {type(constraint).__name__} has no source, expected a grammar or the "
            "outline of a chat format. Load the model into this process to hold it to a form of your own."
        )
    return source
