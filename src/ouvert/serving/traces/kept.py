"""The traces of a server: made one at a time in a thread, kept in memory, the oldest dropped first."""

import asyncio
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

from ouvert import inspection
from ouvert.assistant import Forgotten, Model
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.giving_way import giving_way
from ouvert.serving.loaded_models import Lease
from ouvert.serving.traces.request import MOST_BYTES, Asked

LOG = logging.getLogger("ouvert.serving")

State = Literal["queued", "running", "done", "failed"]
MOST_KEPT = 8
LOOK_SECONDS = 0.1  # between looks at how far a trace is


class Stopped(Exception):  # noqa: N818 - it says what is the case
    """Nobody wants this trace any more."""


class KeptTrace:
    """One trace: being made, made, or failed. Its thread writes, the loop reads."""

    def __init__(self, whose: str, asked: Asked, plan: inspection.Price, with_lens: inspection.Price) -> None:
        self.id = f"trace_{secrets.token_hex(12)}"
        self.whose, self.asked, self.plan, self.with_lens = whose, asked, plan, with_lens
        self.state: State = "queued"
        self.done, self.total = 0, plan.tokens
        self.refusal: Refusal | None = None
        self.trace: inspection.Trace | None = None
        self.model: Model | None = None  # whose weights it was computed with
        self.ended = asyncio.Event()
        self._dropped = threading.Event()

    def drop(self) -> None:
        """It ends soon, and is shown no more."""
        self._dropped.set()

    def progress(self, done: int, total: int) -> None:
        """Raises Stopped if it was dropped."""
        if self._dropped.is_set():
            raise Stopped
        self.done, self.total = done, total

    def made(self) -> inspection.Trace:
        """Raises Refusal while it is not done, and where it failed."""
        if self.refusal is not None:
            raise self.refusal
        if self.trace is None:
            raise Refusal(
                409, f"The trace {self.id} is {self.state}: {self.done} of {self.total} tokens. Ask again when it is "
                "done; its events say when.", code="trace_not_done", retry_after=1,
            )  # fmt: skip
        return self.trace

    @property
    def words(self) -> str | None:
        """All that was read and written in it; None where that is not known here. Raises nothing."""
        said = "" if self.trace is None else "".join(token.text for token in self.trace.tokens)
        return said or None

    def facts(self) -> dict[str, Any]:
        """For clients: the summary of docs/formats/trace.md, once it is done."""
        facts: dict[str, Any] = {
            "id": self.id,
            "object": "trace",
            "state": self.state,
            "plan": plan_facts(self.plan, self.with_lens),
            "progress": {"done": self.done, "total": self.total},
        }
        if self.refusal is not None:
            facts["fault"] = self.refusal.message
        return facts if self.trace is None else {**facts, **self.trace.json()}

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """How far it is, whenever that changes; the last one is its end."""
        before: tuple[State, int] | None = None
        while True:
            ended = self.ended.is_set()
            if ended or before != (self.state, self.done):
                before = (self.state, self.done)
                yield self.facts()
            if ended:
                return
            try:
                await asyncio.wait_for(self.ended.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue

    def make(self, model: Model) -> None:
        """Compute it. Takes its time. Raises what cannot be looked into, and Stopped."""
        asked = self.asked
        self.progress(0, self.total)
        transcript = asked.transcript(model)
        subject = inspection.subject_of(model, transcript.variant)
        self.trace = inspection.trace_of(
            subject,
            transcript,
            record=asked.request.record,
            positions=asked.request.positions,
            max_bytes=asked.request.max_bytes,
            progress=self.progress,
        )
        self.model = model


class Traces:
    """All traces of a server. Belongs to one event loop."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[str, KeptTrace] = OrderedDict()
        self._one = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, kept: KeptTrace, lease: Lease) -> None:
        """Make it when those before it are made; the lease is given back in the end."""
        self._kept[kept.id] = kept
        while len(self._kept) > self._most or sum(each.plan.bytes for each in self._kept.values()) > MOST_BYTES:
            self._kept.popitem(last=False)[1].drop()
        task = asyncio.create_task(self._make(kept, lease))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make(self, kept: KeptTrace, lease: Lease) -> None:
        try:
            async with self._one:
                kept.state = "running"
                await giving_way(kept.make, lease.model)
                kept.state = "done"
        except Exception as problem:
            kept.state, kept.refusal = "failed", failure_of(problem)
        finally:
            lease.give_back()
            kept.ended.set()

    def of(self, trace_id: str, whose: str) -> KeptTrace:
        """Raises Refusal for a trace that is not here, or another caller's."""
        kept = self._kept.get(trace_id)
        if kept is None or kept.whose != whose:
            raise Refusal(
                404,
                f"No trace {trace_id!r:.60} is kept here. The last {self._most} are, while the server runs. Make it "
                "again: POST /ouvert/traces.",
                code="not_found",
            )
        return kept

    def all_of(self, whose: str) -> list[KeptTrace]:
        """The latest last. Raises nothing."""
        return [kept for kept in self._kept.values() if kept.whose == whose]

    def remove(self, kept: KeptTrace) -> None:
        """Raises nothing."""
        kept.drop()
        self._kept.pop(kept.id, None)

    def forget(self, texts: Sequence[str] | None, whose: str) -> None:
        """Remove this caller's traces in which one of `texts` stands, or of which that cannot be told yet; all of them
        if that is None. Raises nothing."""
        gone = None if texts is None else Forgotten(texts)
        for kept in self.all_of(whose):
            if gone is None or (gone and (kept.words is None or gone.in_text(kept.words))):
                self.remove(kept)

    async def close(self) -> None:
        """Drop all, and wait for the one that is being made. Raises nothing."""
        for kept in self._kept.values():
            kept.drop()
        self._kept.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def failure_of(problem: Exception) -> Refusal:
    """What is said of a trace that could not be made."""
    if isinstance(problem, Stopped):
        return Refusal(410, "This trace was removed while it was made.", code="not_found")
    refusal = refusal_of(problem)
    if refusal is None:
        LOG.error("making a trace: %s", problem, exc_info=problem)
        refusal = Refusal(500, "This trace could not be made: a fault of the program. The log has it.", code="internal")
    return refusal


def plan_facts(plan: inspection.Price, with_lens: inspection.Price) -> dict[str, Any]:
    """`lens_seconds`: what the whole lens takes besides, when it is asked for."""
    lens = with_lens.seconds - plan.seconds
    return {
        "tokens": plan.tokens,
        "bytes": plan.bytes,
        "seconds": round(plan.seconds, 2),
        "lens_seconds": round(lens, 2),
    }


async def with_its_model(kept: KeptTrace, lease: Lease, look: Callable[[inspection.Trace], Any]) -> Any:
    """`look(trace)` in a thread, while its model is lent. Raises Refusal where the model was loaded anew since."""
    trace = kept.made()
    if lease.model is not kept.model:
        raise Refusal(
            410,
            f"The model of the trace {kept.id} was loaded anew since. Make the trace again: POST /ouvert/traces.",
            code="not_found",
        )
    return await giving_way(look, trace)
