"""What takes its time when somebody looks inside: done one at a time in a thread, kept in memory, the oldest dropped
first."""

import asyncio
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Any, Generic, Literal, TypeVar

from ouvert.assistant import Forgotten, Model
from ouvert.serving.callers import refuse_without_scope
from ouvert.serving.endpoints import Call, Endpoint, Handler
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.giving_way import giving_way
from ouvert.serving.loaded_models import Lease

LOG = logging.getLogger("ouvert.serving")

State = Literal["queued", "running", "done", "failed"]
LOOK_SECONDS = 0.1  # between looks at how far it is


class Stopped(Exception):  # noqa: N818 - it says what is the case
    """Nobody wants this any more."""


class LongWork:
    """One piece of work: queued, running, done, or failed. Its thread writes, the loop reads."""

    def __init__(self, kind: str, whose: str, total: int = 0) -> None:
        self.id = f"{kind}_{secrets.token_hex(12)}"
        self.whose = whose
        self.state: State = "queued"
        self.done, self.total = 0, total
        self.refusal: Refusal | None = None
        self.ended = asyncio.Event()
        self._dropped = threading.Event()

    @property
    def words(self) -> str | None:
        """All texts that it is about; None where that is not known here. Raises nothing."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """For clients. Raises nothing."""
        raise NotImplementedError

    def compute(self, models: Sequence[Model]) -> None:
        """Takes its time. Raises what cannot be done, and Stopped."""
        raise NotImplementedError

    def drop(self) -> None:
        """It ends soon, and is shown no more. Raises nothing."""
        self._dropped.set()

    def progress(self, done: int, total: int) -> None:
        """Raises Stopped if it was dropped."""
        if self._dropped.is_set():
            raise Stopped
        self.done, self.total = done, total

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """How far it is, whenever that changes; the last one is its end. Raises nothing."""
        before: dict[str, Any] | None = None
        while True:
            ended, now = self.ended.is_set(), self.facts()
            if ended or before != now:
                before = now
                yield now
            if ended:
                return
            try:
                await asyncio.wait_for(self.ended.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue


W = TypeVar("W", bound=LongWork)


class LongWorks(Generic[W]):
    """All work of one kind that a server keeps, the last `most`. Belongs to one event loop."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: OrderedDict[str, W] = OrderedDict()
        self._one = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def too_many(self) -> bool:
        """Whether the oldest has to go. Raises nothing."""
        return len(self.kept) > self.most

    def begin(self, work: W, leases: Sequence[Lease]) -> None:
        """Do it when those before it are done; the leases are given back in the end. Raises nothing."""
        self.kept[work.id] = work
        while self.too_many:
            self.kept.popitem(last=False)[1].drop()
        task = asyncio.create_task(self._do(work, leases))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, work: W, leases: Sequence[Lease]) -> None:
        try:
            async with self._one:
                work.state = "running"
                await giving_way(work.compute, [lease.model for lease in leases])
                work.state = "done"
        except Exception as problem:
            work.state, work.refusal = "failed", failure_of(problem)
        finally:
            for lease in leases:
                lease.give_back()
            work.ended.set()

    def remove(self, work: W) -> None:
        """Raises nothing."""
        work.drop()
        self.kept.pop(work.id, None)

    def forget(self, texts: Sequence[str] | None, whose: str) -> None:
        """Remove this caller's work about one of `texts`, or of which that cannot be told; all of it if that is None.
        Raises nothing."""
        gone = None if texts is None else Forgotten(texts)
        for work in [each for each in self.kept.values() if each.whose == whose]:
            if gone is None or (gone and (work.words is None or gone.in_text(work.words))):
                self.remove(work)

    async def close(self) -> None:
        """Drop all, and wait for the one that is being done. Raises nothing."""
        for work in self.kept.values():
            work.drop()
        self.kept.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def failure_of(problem: Exception) -> Refusal:
    """What is said of work that could not be done."""
    if isinstance(problem, Stopped):
        return Refusal(410, "This was removed while it was worked on.", code="not_found")
    refusal = refusal_of(problem)
    if refusal is None:
        LOG.error("looking inside: %s", problem, exc_info=problem)
        refusal = Refusal(500, "This could not be done: a fault of the program. The log has it.", code="internal")
    return refusal


def inside_endpoint(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Endpoint:
    """For the owner of this server, and for keys with the scope inspect: each their own, for what is kept holds
    conversations."""

    async def within_scope(call: Call) -> Any:
        refuse_without_scope(call.caller, "inspect")
        return await handler(call)

    return Endpoint(
        method=method,
        path=f"/ouvert/{path}",
        handler=within_scope,
        summary=summary,
        private=True,
        versioned=False,
        both_ways=False,
        **more,
    )
