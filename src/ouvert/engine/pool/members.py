"""The members of a pool: which are in, how much waits for each, and a thread that asks after those that are out."""

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ouvert.engine.interface import Engine, EngineError, EngineUnreachableError, MemberLoad
from ouvert.engine.mailbox import closed
from ouvert.engine.pool.breaker import Breaker, Patience
from ouvert.engine.pool.placing import MemberState, placed

LOG = logging.getLogger("ouvert.engine")

LOOK_SECONDS = 0.25  # between looks at whether a member that is out is to be tried


class MemberError(EngineError):
    """A member is not what the pool was promised. The message says what differs and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What members have to be. `weights`: the digest of the weights, None where any are taken as they come."""

    weights: str | None
    vocabulary_size: int

    def check(self, name: str, engine: Engine) -> None:
        """Raises MemberError for another engine, EngineUnreachableError where it does not say."""
        weights = engine.facts.identity.weights
        if self.weights is not None and weights != self.weights:
            raise MemberError(
                f"member {name}: its weights are {weights}, expected {self.weights}. Serve the same file there, or say "
                "allow_other_weights = true in the pool's file: answers then depend on who gives them."
            )
        if engine.vocabulary_size != self.vocabulary_size:
            raise MemberError(
                f"member {name}: its vocabulary has {engine.vocabulary_size} tokens, expected {self.vocabulary_size}: "
                "ids mean something else there. Serve the same model there."
            )


class Member:
    """One engine of a pool. What changes is changed by `Members` alone.

    `open` makes the engine anew: it raises EngineUnreachableError where nobody is there, EngineError for what is not
    the engine that was meant. `answers` were begun here, `lost` of them ended by a failure.
    """

    def __init__(self, name: str, open: Callable[[], Engine]) -> None:  # noqa: A002 - the verb of a file's
        self.name, self.open = name, open
        self.engine: Engine | None = None
        self.identity = ""
        self.breaker = Breaker()
        self.load = self.answers = self.lost = 0
        self.to_forget: set[str] = set()  # owners whose prompts it has to let go of, and was not told yet


class Members:
    """All members of one pool. Safe from any thread; it has one of its own, which ends with `close`."""

    def __init__(self, members: Sequence[Member], expected: Expected, patience: Patience) -> None:
        """Raises MemberError for a member that is there and is not what is expected, EngineUnreachableError where not
        one is there."""
        self._members = {member.name: member for member in members}
        self._expected, self._patience = expected, patience
        self._changed = threading.Condition()
        self._closing = threading.Event()
        for member in members:
            self._try(member, starting=True)
        if not any(member.breaker.open for member in members):
            reasons = "; ".join(f"{member.name}: {member.breaker.why}" for member in members)
            raise EngineUnreachableError(
                f"opening a pool: none of its {len(members)} members is there ({reasons}). Start one with `ouvert "
                "serve MODEL --engine-only`, or correct the pool's file."
            )
        self._thread = threading.Thread(target=watch, args=(weakref.ref(self), self._closing), daemon=True)
        self._thread.name = "ouvert-pool"
        self._thread.start()

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    @property
    def names(self) -> list[str]:
        return list(self._members)

    @property
    def engines(self) -> list[Engine]:
        """Those that are in."""
        return [member.engine for member in self if member.engine is not None and member.breaker.open]

    def loads(self) -> tuple[MemberLoad, ...]:
        """How each is now, in the order in which they were named."""
        with self._changed:
            return tuple(
                MemberLoad(
                    name=member.name,
                    is_in=member.breaker.open,
                    running=member.load,
                    answers=member.answers,
                    lost=member.lost,
                    identity=member.identity,
                    why=None if member.breaker.open else member.breaker.why,
                )
                for member in self
            )

    def take(
        self, ranking: Sequence[str], *, overflow: int, tried: frozenset[str], identity: str = ""
    ) -> tuple[Member, Engine] | None:
        """The member that is asked, and counted as asked until `give_back`; None where there is none."""
        with self._changed:
            self._refuse_if_closed()
            name = placed(ranking, self._states(), overflow=overflow, tried=tried, identity=identity)
            if name is None:
                return None
            member = self._members[name]
            if member.engine is None:
                raise AssertionError(f"{name} is in and has no engine")
            member.load += 1
            return member, member.engine

    def alike(self, ranking: Sequence[str]) -> tuple[str, list[str]]:
        """The identity of the first member of a ranking that is in, and the names of all that are in and have it."""
        with self._changed:
            states = self._states()
        able = [name for name in ranking if states[name].open]
        identity = states[able[0]].identity if able else ""
        return identity, [name for name in able if states[name].identity == identity]

    def give_back(self, member: Member) -> None:
        with self._changed:
            member.load -= 1

    def began(self, member: Member) -> None:
        """It took a request: whatever failed before has passed."""
        with self._changed:
            member.answers += 1
            if member.breaker.open:
                member.breaker = Breaker()

    def failed(self, member: Member, engine: Engine, problem: EngineError) -> None:
        """An answer, or the asking for one, was lost there. One that was opened anew meanwhile is not blamed."""
        with self._changed:
            if member.engine is not engine:
                return
            member.lost += 1
            before, now = member.breaker, time.monotonic()
            fails = before.refused if isinstance(problem, MemberError) else before.failed
            member.breaker = fails(str(problem), now, self._patience)
            if before.open and not member.breaker.open:
                LOG.error("member %s is out: %s", member.name, problem)

    def forget(self, holds: Callable[[Sequence[int]], bool], owner: str) -> None:
        """Have every member forget, now or when it is in again."""
        for member in self:
            with self._changed:
                member.to_forget.add(owner)
                engine = member.engine if member.breaker.open else None
            if engine is not None:
                self._tell(member, engine, holds, owner)

    def moved(self, name: str) -> None:
        """It is somewhere else now, and out until it was opened there, which is tried at once."""
        member, now = self._members[name], time.monotonic()
        with self._changed:
            why = f"member {name} is at another address now"
            member.breaker = Breaker(failures=self._patience.failures, until=now, why=why)

    def _tell(self, member: Member, engine: Engine, holds: Callable[[Sequence[int]], bool], owner: str) -> None:
        try:
            engine.forget(holds, owner)
        except EngineError as problem:
            LOG.error("member %s could not be told to forget, and is told again: %s", member.name, problem)
            self.failed(member, engine, problem)
            return
        with self._changed:
            member.to_forget.discard(owner)

    def wait(self, until: float) -> bool:
        """Until something changes about who is in, or that time on time.monotonic's clock has come: then False."""
        with self._changed:
            self._refuse_if_closed()
            return self._changed.wait(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Close every engine; answers end with EngineError. May be called twice."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        for member in self:
            if member.engine is not None:
                member.engine.close()

    def look(self) -> None:
        """Try those that are out and due; tell those that are in what they were not told."""
        for member in self:
            if member.breaker.open and member.engine is not None:
                for owner in tuple(member.to_forget):
                    self._tell(member, member.engine, lambda ids: True, owner)
            if member.breaker.due(time.monotonic()) and not self._closing.is_set():
                self._try(member, starting=False)

    def _try(self, member: Member, *, starting: bool) -> None:
        """Open it, and see whether it is what was promised."""
        opened: Engine | None = None
        try:
            opened = member.open()
            self._expected.check(member.name, opened)
            identity = opened.facts.identity.digest
        except EngineError as problem:
            if opened is not None:
                opened.close()
            if starting and not isinstance(problem, EngineUnreachableError):
                raise
            self._out(member, problem)
            return
        with self._changed:
            before, member.engine = member.engine, opened
            member.identity, member.breaker = identity, Breaker()
            self._changed.notify_all()
        if before is not None:
            before.close()
        for owner in tuple(member.to_forget):
            self._tell(member, opened, lambda ids: True, owner)
        if not starting:
            LOG.warning("member %s is in again.", member.name)
        if self._closing.is_set():
            opened.close()

    def _out(self, member: Member, problem: EngineError) -> None:
        with self._changed:
            first = member.breaker.open
            member.breaker = member.breaker.refused(str(problem), time.monotonic(), self._patience)
        if first:
            LOG.error("member %s is out: %s", member.name, problem)

    def _states(self) -> Mapping[str, MemberState]:
        return {
            member.name: MemberState(open=member.breaker.open, load=member.load, identity=member.identity)
            for member in self
        }

    def _refuse_if_closed(self) -> None:
        if self._closing.is_set():
            raise closed()


def watch(members: "weakref.ref[Members]", closing: threading.Event) -> None:
    """The thread of a pool: it does not keep it alive."""
    while not closing.wait(LOOK_SECONDS):
        found = members()
        if found is None:
            return
        found.look()
        del found
