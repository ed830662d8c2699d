"""An answer of a pool: written by one member, and where that one is lost, by the next, from the same token on."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ouvert.engine.interface import (
    Engine,
    EngineBusyError,
    EngineError,
    EngineFailedError,
    EngineUnreachableError,
    Generation,
    Part,
    Reading,
    Sampling,
    Stopped,
    Token,
)
from ouvert.engine.pool.members import Member, MemberError, Members
from ouvert.engine.pool.placing import ranked
from ouvert.engine.variant import Variant

# What ends an answer because of where it is written, and not because of what was asked.
LOST = (EngineUnreachableError, EngineFailedError, MemberError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a pool decides. `overflow`: so many answers more may wait for the first choice than for the second. `wait`:
    seconds that a request waits for a member where none is in."""

    overflow: int = 4
    wait: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRequest:
    """What is asked. `deadline` is on time.monotonic's clock."""

    ids: Sequence[int]
    sampling: Sampling
    variant: Variant
    written: Sequence[int]
    owner: str
    deadline: float | None

    @property
    def seconds_left(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


@dataclass(slots=True)
class Held:
    """The part that is being written, and where: given back once, by whoever lets go of the answer first."""

    members: Members
    cancelled: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    member: Member | None = None
    engine: Engine | None = None
    inner: Generation | None = None

    def let_go(self) -> None:
        with self.lock:
            member, self.member = self.member, None
        if member is not None:
            self.members.give_back(member)

    def cancel(self) -> None:
        self.cancelled.set()
        with self.lock:
            inner = self.inner
        if inner is not None:
            inner.cancel()

    def drop(self) -> None:
        self.cancel()
        self.let_go()


class PoolGeneration:
    """`interface.Generation`. One thread iterates; any may cancel. Dropping it cancels it."""

    def __init__(self, members: Members, rules: Rules, request: PoolRequest, on_token: Callable[[], None]) -> None:
        """Raises EngineError as `Engine.generate` does, and EngineUnreachableError where no member is to be had."""
        self._members, self._rules, self._request, self._on_token = members, rules, request, on_token
        self._ranking = ranked(members.names, request.ids, request.owner)
        self._written = list(request.written)
        self._parts: list[Part] = []
        self._tried: frozenset[str] = frozenset()  # that failed since the last token
        self._begun = time.perf_counter()
        self._read: float | None = None
        self._stopped: Stopped | None = None
        self._held = Held(members)
        weakref.finalize(self, self._held.drop).atexit = False
        self._begin()

    def __iter__(self) -> Iterator[Token]:
        while (token := self._next()) is not None:
            yield token

    def reading(self) -> Iterator[Reading]:
        while self._read is None and self._stopped is None and not self._held.cancelled.is_set():
            inner = self._inner
            try:
                yield from inner.reading()
            except LOST as problem:
                self._move(problem)
            else:
                return

    def cancel(self) -> None:
        self._held.cancel()

    @property
    def stopped(self) -> Stopped:
        if self._stopped is not None:
            return self._stopped
        if not self._held.cancelled.is_set():
            raise RuntimeError(
                "asking why a generation stopped: tokens are still to come. Iterate to the end or cancel."
            )
        return self._cut("cancelled")

    @property
    def _inner(self) -> Generation:
        if self._held.inner is None:
            raise AssertionError("an answer of a pool that nobody writes")
        return self._held.inner

    def _next(self) -> Token | None:
        while self._stopped is None and not self._held.cancelled.is_set():
            try:
                token = next(self._tokens, None)
            except LOST as problem:
                self._move(problem)
                continue
            except EngineError:
                self._held.let_go()
                raise
            if token is None:
                self._end()
                return None
            if self._held.cancelled.is_set():
                break
            self._took(token)
            return token
        self._held.let_go()
        return None

    def _took(self, token: Token) -> None:
        self._written.append(token.id)
        self._tried = frozenset()
        if self._read is None:
            self._read = time.perf_counter()
        self._on_token()

    def _end(self) -> None:
        self._held.let_go()
        if self._held.cancelled.is_set():
            return
        stopped = self._inner.stopped
        if len(self._parts) == 1:
            self._stopped = replace(stopped, parts=tuple(self._parts))
        else:
            self._stopped = replace(self._cut(stopped.reason), reused_tokens=stopped.reused_tokens)

    def _cut(self, reason: str) -> Stopped:
        """What can be said from here: of what a lost member did, nothing else is known."""
        now = time.perf_counter()
        read = self._read or now
        return Stopped(
            reason=reason,  # type: ignore[arg-type]
            prompt_tokens=len(self._request.ids),
            reused_tokens=0,
            output_tokens=len(self._written),
            seed=self._request.sampling.seed or 0,
            seconds_queued=0.0,
            seconds_prefill=read - self._begun,
            seconds_decode=now - read,
            variant=self._request.variant,
            parts=tuple(self._parts),
        )

    # --- where it is written ------------------------------------------------------------------------------------------

    def _move(self, problem: EngineError) -> None:
        """The member that wrote is lost: another goes on behind the last token. Raises EngineError where none can."""
        held = self._held
        if held.member is not None and held.engine is not None:
            self._members.failed(held.member, held.engine, problem)
            self._tried |= {held.member.name}
        held.let_go()
        if not held.cancelled.is_set():
            self._begin(problem)

    def _begin(self, problem: EngineError | None = None) -> None:
        """Ask the member whose turn it is; where it cannot, the next one. `problem`: why the one before could not."""
        until = time.monotonic() + self._rules.wait
        if self._request.deadline is not None:
            until = min(until, self._request.deadline)
        while not self._held.cancelled.is_set():
            begun = len(self._written) > len(self._request.written)
            identity = self._parts[-1].facts.identity.digest if begun else ""
            taken = self._members.take(
                self._ranking, overflow=self._rules.overflow, tried=self._tried, identity=identity
            )
            if taken is None:
                self._wait(until, problem)
                continue
            try:
                self._ask(*taken)
            except (*LOST, EngineBusyError) as found:
                problem = found
                self._members.give_back(taken[0])
                self._tried |= {taken[0].name}
                if not isinstance(found, EngineBusyError):
                    self._members.failed(*taken, found)
            except BaseException:
                self._members.give_back(taken[0])
                raise
            else:
                return

    def _ask(self, member: Member, engine: Engine) -> None:
        request, facts = self._request, engine.facts
        inner = engine.generate(
            request.ids,
            request.sampling,
            request.variant,
            written=tuple(self._written),
            timeout=request.seconds_left,
            owner=request.owner,
        )
        self._members.began(member)
        held = self._held
        with held.lock:
            held.member, held.engine, held.inner = member, engine, inner
        self._tokens = iter(inner)
        if self._parts and self._parts[-1].start == len(self._written):
            self._parts.pop()  # it wrote nothing
        self._parts.append(Part(member.name, len(self._written), facts))
        if held.cancelled.is_set():
            inner.cancel()

    def _wait(self, until: float, problem: EngineError | None) -> None:
        """Nobody can be asked now. Raises EngineError when that lasts."""
        if isinstance(problem, EngineBusyError) and not self._parts:
            raise problem
        if not self._members.wait(until) and time.monotonic() >= until:
            if problem is not None:
                raise problem
            raise EngineUnreachableError(
                f"asking a pool: none of its members has been in for {self._rules.wait:g} s "
                f"({', '.join(self._members.names)}). `ouvert pool` and the log say why; ask again when one is."
            )
        self._tried = frozenset()  # who failed may have come back
