"""The engine's thread: it takes requests in, decides each step, computes it, and hands the tokens out.

What runs in that thread needs no lock; other threads reach it through its mailbox. A step is decided by
`schedule.plan_step`, which changes nothing; what follows does as the plan says.
"""

import atexit
import logging
import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np

from ouvert.engine.answers import Answers
from ouvert.engine.caches import Caches
from ouvert.engine.interface import EngineFailedError, Load, WeightsDamagedError
from ouvert.engine.limits import Limits
from ouvert.engine.mailbox import Mailbox, closed
from ouvert.engine.prefixes.disk import DiskPrefixes
from ouvert.engine.prefixes.kept import KeptPrefixes
from ouvert.engine.prompts import Prompts
from ouvert.engine.queues import Queues
from ouvert.engine.request import Request
from ouvert.engine.runners.interface import Runner, RunnerSequence, Wanted
from ouvert.engine.runners.nonfinite import Locate
from ouvert.engine.schedule import Plan, Running, Waiting, plan_step
from ouvert.engine.steps import Steps
from ouvert.engine.variant import Variant
from ouvert.packed import WeightsWatch

LOG = logging.getLogger("ouvert.engine")

_loops: "weakref.WeakSet[Loop]" = (
    weakref.WeakSet()
)  # a thread holds its own, so those whose thread still works are here


@atexit.register
def end_all() -> None:
    """Before the interpreter goes every thread has to end: it may be within a step, or write what is kept. Raises
    nothing."""
    for each in list(_loops):
        each.close()
        if (thread := each.mailbox.thread) is not None:
            thread.join()


def nothing() -> None:
    """What is done between two steps unless somebody else is waited for. Raises nothing."""


class Loop:
    """One model's requests. The thread begins with the first of them and ends with `close`."""

    def __init__(
        self,
        runner: Runner,
        limits: Limits,
        disk: DiskPrefixes | None,
        locate: Locate | None,
        watch: WeightsWatch | None,
    ) -> None:
        self.runner, self.limits, self.watch = runner, limits, watch
        self.between: Callable[[], None] = nothing
        self.mailbox = Mailbox(self._work)
        self.kept = KeptPrefixes(runner, disk, limits, self.mailbox.post)
        self.queues = Queues(
            runner.page_tokens, lambda request: self.kept.tree.match(request.reusable, request.scope).tokens
        )
        self.caches = Caches(runner, self.kept, self.queues)
        self.answers = Answers(self.caches, self.queues, locate)
        self.prompts = Prompts(runner, self.caches, self.queues, self.answers)
        self.steps = Steps(runner, self.caches, self.queues, self.answers, watch)
        if watch is not None:
            watch.on_damage = self.mailbox.wake
        _loops.add(self)

    # --- from any thread ----------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Raises EngineBusyError where too many wait already, EngineError if the engine was closed."""
        self.refuse_if_closed()
        alike = sum(each.place[0] == request.place[0] for each in self.queues.waiting)
        self.mailbox.submit(request, alike, self.limits.most_waiting)

    def cancel(self, request: Request) -> None:
        """End the request before the next step."""
        request.cancelled.set()
        self.mailbox.wake()

    def lend(self, capacity: int, variant: Variant) -> RunnerSequence:
        """A sequence for a caller who computes on it through `compute`, and gives it back."""
        self.refuse_if_closed()
        return self.mailbox.call(lambda: self.caches.lend(capacity, variant))

    def give_back(self, sequence: RunnerSequence) -> None:
        try:
            self.mailbox.call(lambda: self.caches.give_back(sequence))
        except EngineFailedError:
            return  # it was closed with the engine

    def compute(self, work: Sequence[tuple[RunnerSequence, np.ndarray]], wanted: Wanted) -> np.ndarray:
        """Append ids to sequences that were lent, and their rows. Others make room if they must."""
        self.refuse_if_closed()
        return self.mailbox.call(lambda: self.steps.compute_lent(work, wanted))

    def compute_watched(
        self, work: Sequence[tuple[RunnerSequence, np.ndarray]], wanted: Wanted, names: frozenset[str]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`compute`, and these values of its tokens."""
        self.refuse_if_closed()
        return self.mailbox.call(lambda: self.steps.compute_watched(work, wanted, names))

    def forget(self, holds: Callable[[Sequence[int]], bool], owner: str) -> str | None:
        """See `interface.Engine.forget`."""
        self.refuse_if_closed()
        self.mailbox.call(lambda: self._forget(holds, lambda each: each == owner))
        if self.kept.disk is None:
            return None
        self.kept.disk.forget(holds, owner)
        return self.kept.disk.base_root(owner)

    def forget_all(self) -> None:
        """See `interface.Engine.forget_all`."""
        self.refuse_if_closed()
        self.mailbox.call(lambda: self._forget(lambda ids: True, lambda owner: True))

    def close(self) -> None:
        """Requests end with EngineError; what is kept is written; memory is given back. May be called twice."""
        if not self.mailbox.close():
            return
        thread = self.mailbox.thread
        if thread is None:
            self._wind_up()
        elif thread is not threading.current_thread():
            thread.join()

    def let_go(self) -> None:
        """Nobody holds the engine any more. As `close`, but no thread is waited for: garbage is found in any thread,
        another engine's step among them."""
        if self.mailbox.close() and self.mailbox.thread is None:
            self._wind_up()

    def load(self) -> Load:
        """How busy it is, as far as it can be told while it works."""
        return Load(
            running=len(self.queues.running),
            waiting=len(self.queues.waiting) + self.mailbox.requests_waiting,
            cache_bytes=self.steps.cache_bytes,
            cache_limit=self.kept.limit,
            kept_bytes=self.kept.tree.bytes,
            steps=self.steps.count,
            prompt_tokens=self.prompts.tokens,
            reused_tokens=self.prompts.reused,
            output_tokens=self.answers.tokens,
            experts=self.steps.experts,
        )

    @property
    def failure(self) -> str | None:
        """What ended the engine or is about to, or None."""
        mailbox = self.mailbox
        if mailbox.failure is None and not mailbox.closing and self.watch and (damage := self.watch.fault()):
            return str(WeightsDamagedError(damage))
        return mailbox.failure

    def check_weights(self) -> str | None:
        damage = None if self.watch is None else self.watch.wait()
        return None if damage is None else str(WeightsDamagedError(damage))

    def refuse_if_closed(self) -> None:
        """Raises EngineFailedError, also for weights that are damaged."""
        self.mailbox.refuse_if_closed()
        self.steps.refuse_damaged()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self.mailbox.closing:
                if not self._turn():
                    self.mailbox.wait(self.queues.seconds_to_deadline)
        except BaseException as problem:  # said to everybody who waits, and to whoever asks from now on
            self._give_up(problem)
        else:
            self._wind_up()

    def _turn(self) -> bool:
        """One step and what belongs to it. False where there was nothing to do."""
        self.between()
        self.steps.refuse_damaged()
        for request in self.mailbox.take_requests():
            self.queues.add(request)
        for request, reason in self.queues.ended_from_outside():
            self.answers.end(request, reason)
        did_tasks = self.mailbox.do_tasks()
        budget = self.steps.budget
        self.prompts.begin(budget)
        plan = self._plan(budget)
        for number in plan.paused:
            self.caches.pause(self.queues.find(number))
        return self.steps.take(plan) or did_tasks or bool(plan.paused)

    def _plan(self, budget: int) -> Plan:
        waiting = [
            Waiting(
                each.id,
                each.cached,
                len(each.tokens),
                each.sequence is not None,
                self.queues.is_behind(each),
                each.piece,
                each.gives_rows,
            )
            for each in self.queues.waiting
        ]
        return plan_step(
            [Running(each.id, each.cached, each.stalled) for each in self.queues.running],
            waiting,
            free=self.kept.free,
            budget=budget,
            bytes_for=self.runner.cache_bytes,
            most_running=self.limits.most_running,
            most_rows=self.steps.most_rows,
        )

    def _forget(self, holds: Callable[[Sequence[int]], bool], whose: Callable[[str], bool]) -> None:
        for request in self.queues:
            if whose(request.scope.owner) and holds(request.tokens):
                request.leave_nothing()
        self.kept.forget(holds, whose)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _give_up(self, problem: BaseException) -> None:
        """The engine failed: everybody is told, and its memory is given back as far as that still goes."""
        LOG.critical("an engine failed; its answers end, and it has to be opened again", exc_info=problem)
        told = self.mailbox.fail(problem)
        for request in (*self.queues, *self.mailbox.take_requests()):
            request.end("cancelled", told)
        closing = [each.close for each in (self.kept.disk, self.watch) if each is not None]
        held = [each.sequence.close for each in self.queues if each.sequence is not None]
        lent = [sequence.close for sequence in self.caches.lent]
        last = (self.kept.tree.clear, self.steps.close, self.runner.close)
        for work in (*self.mailbox.take_tasks(), *closing, *held, *lent, *last):
            try:
                work()
            except Exception:  # of one piece; the others are still given back
                LOG.exception("winding up an engine that failed")

    def _wind_up(self) -> None:
        """Closed: everything ends."""
        for request in self.queues:
            self.caches.keep(request)
            self.answers.fail(request, closed())
        for request in self.mailbox.take_requests():
            request.end("cancelled", closed())
        if self.kept.disk is not None:
            self.kept.disk.close()
        self.mailbox.do_tasks()
        for sequence in self.caches.lent:
            sequence.close()
        self.kept.tree.clear()
        self.steps.close()
        self.runner.close()
        if self.watch is not None:
            self.watch.close()
