"""What a server is asked to find out and takes its time for: one at a time in a thread, results kept in memory."""

import asyncio
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from ouvert import inspection
from ouvert.assistant import Forgotten, Model
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.giving_way import giving_way
from ouvert.serving.loaded_models import Lease

LOG = logging.getLogger("ouvert.serving")

Kind = Literal["patch", "ablation", "microscope", "direction", "direction_test"]
State = Literal["queued", "running", "done", "failed"]
MOST_KEPT = 32
LOOK_SECONDS = 0.1  # between looks at how far a study is


class Stopped(Exception):  # noqa: N818 - it says what is the case
    """Nobody wants this study any more."""


class Study:
    """One question: being looked into, answered, or failed. Its thread writes, the loop reads.

    `work(models, study)` finds out, with the models that were lent, and gives JSON. `words`: the texts in the question;
    None where some of them are token ids.
    """

    def __init__(self, kind: Kind, whose: str, work: "Work", words: str | None = None) -> None:
        self.id = f"{kind}_{secrets.token_hex(12)}"
        self.kind, self.whose, self._work, self.words = kind, whose, work, words
        self.state: State = "queued"
        self.done, self.total = 0, 0
        self.plan: inspection.PatchPrice | inspection.Price | None = None
        self.refusal: Refusal | None = None
        self.result: Mapping[str, Any] | None = None
        self.ended = asyncio.Event()
        self._dropped = threading.Event()

    def drop(self) -> None:
        """It ends soon, and is shown no more. Raises nothing."""
        self._dropped.set()

    def progress(self, done: int, total: int) -> None:
        """Raises Stopped if it was dropped."""
        if self._dropped.is_set():
            raise Stopped
        self.done, self.total = done, total

    def price(self, plan: inspection.PatchPrice | inspection.Price) -> None:
        """Told before the work. Raises Stopped if it was dropped."""
        self.plan = plan
        self.progress(0, plan.cells if isinstance(plan, inspection.PatchPrice) else self.total)

    def facts(self) -> dict[str, Any]:
        """For clients. `result` once it is done. Raises nothing."""
        facts: dict[str, Any] = {
            "id": self.id,
            "object": self.kind,
            "state": self.state,
            "plan": None if self.plan is None else asdict(self.plan),
            "progress": {"done": self.done, "total": self.total},
        }
        if self.refusal is not None:
            facts["fault"] = self.refusal.message
        return facts if self.result is None else {**facts, "result": self.result}

    def find_out(self, models: Sequence[Model]) -> None:
        """Takes its time. Raises what the work raises, and Stopped."""
        self.progress(0, self.total)
        self.result = self._work(models, self)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """How far it is, whenever that changes; the last one is its end. Raises nothing."""
        before: tuple[State, int, bool] | None = None
        while True:
            ended = self.ended.is_set()
            now = (self.state, self.done, self.plan is None)
            if ended or before != now:
                before = now
                yield self.facts()
            if ended:
                return
            try:
                await asyncio.wait_for(self.ended.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue


Work = Callable[[Sequence[Model], Study], Mapping[str, Any]]


class Studies:
    """All studies of a server. Belongs to one event loop."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[str, Study] = OrderedDict()
        self._one = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, study: Study, leases: Sequence[Lease]) -> None:
        """Find out when those before it are found out; the leases are given back in the end. Raises nothing."""
        self._kept[study.id] = study
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)[1].drop()
        task = asyncio.create_task(self._run(study, leases))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, study: Study, leases: Sequence[Lease]) -> None:
        try:
            async with self._one:
                study.state = "running"
                await giving_way(study.find_out, [lease.model for lease in leases])
                study.state = "done"
        except Exception as problem:
            study.state, study.refusal = "failed", failure_of(problem)
        finally:
            for lease in leases:
                lease.give_back()
            study.ended.set()

    def of(self, study_id: str, kind: Kind, whose: str) -> Study:
        """Raises Refusal for a study that is not here, or another caller's."""
        study = self._kept.get(study_id)
        if study is None or study.whose != whose or study.kind != kind:
            raise Refusal(
                404,
                f"No {kind.replace('_', ' ')} {study_id!r:.60} is kept here. The last {self._most} are, while the "
                "server runs. Ask for it again.",
                code="not_found",
            )
        return study

    def all_of(self, kind: Kind, whose: str) -> list[Study]:
        """The latest last. Raises nothing."""
        return [study for study in self._kept.values() if (study.kind, study.whose) == (kind, whose)]

    def remove(self, study: Study) -> None:
        """Raises nothing."""
        study.drop()
        self._kept.pop(study.id, None)

    def forget(self, texts: Sequence[str] | None, whose: str) -> None:
        """Remove this caller's studies of one of `texts`, or of which that cannot be told; all of them if that is
        None. Raises nothing."""
        gone = None if texts is None else Forgotten(texts)
        for study in [each for each in self._kept.values() if each.whose == whose]:
            if gone is None or (gone and (study.words is None or gone.in_text(study.words))):
                self.remove(study)

    async def close(self) -> None:
        """Drop all, and wait for the one that is being found out. Raises nothing."""
        for study in self._kept.values():
            study.drop()
        self._kept.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def failure_of(problem: Exception) -> Refusal:
    """What is said of a study that could not be done."""
    if isinstance(problem, Stopped):
        return Refusal(410, "This was removed while it was worked on.", code="not_found")
    refusal = refusal_of(problem)
    if refusal is None:
        LOG.error("looking for causes: %s", problem, exc_info=problem)
        refusal = Refusal(500, "This could not be done: a fault of the program. The log has it.", code="internal")
    return refusal
