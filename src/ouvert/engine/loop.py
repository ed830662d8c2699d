"""The engine's thread: it takes requests in, decides each step, computes it, and hands the tokens out.

Everything here but what stands under "from any thread" runs in that one thread, so nothing in it needs a
lock. A step is decided by `schedule.plan_step`, which changes nothing; what follows does as the plan says.
"""

import logging
import sys
import threading
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ouvert.engine import energy
from ouvert.engine.interface import (
    EngineBusyError,
    EngineError,
    EngineFailedError,
    EngineFaultError,
    Load,
    Token,
    WeightsDamagedError,
)
from ouvert.engine.prefixes.disk import WORTH_FETCHING, WORTH_SAVING, DiskPrefixes, Filed
from ouvert.engine.prefixes.scope import Scope
from ouvert.engine.prefixes.tree import Node, PrefixTree, alike
from ouvert.engine.request import Reason, Request
from ouvert.engine.runners.interface import Runner, RunnerSequence, Wanted
from ouvert.engine.sampler import NotFiniteError, choose_all
from ouvert.engine.schedule import Plan, Running, Waiting, plan_step
from ouvert.engine.variant import BASE, Variant
from ouvert.packed import WeightsWatch

LOG = logging.getLogger("ouvert.engine")

# Tokens of a step at most: large enough for matrix work, small enough that cancelling is felt at once.
STEP_TOKENS = 512
# While answers are in progress a prompt is read in pieces of about so many seconds, and of so many tokens at least.
PIECE_SECONDS = 0.25
PIECE_TOKENS = 64
LONGEST_WAIT = 3600.0  # seconds; longer ones overflow in some systems

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Part:
    """A request's share of a step: the tokens to compute, and whether the logits after the last are wanted."""

    request: Request
    ids: list[int]
    wanted: bool


class Loop:
    """One model's requests. The thread begins with the first of them and ends with `close`."""

    def __init__(
        self,
        runner: Runner,
        *,
        cache_limit: int,
        kept_limit: int,
        most_running: int,
        most_waiting: int,
        shelf: DiskPrefixes | None,
        locate: Callable[[list[int]], str | None] | None,
        watch: WeightsWatch | None = None,
    ) -> None:
        self.runner, self.watch = runner, watch
        self.cache_limit, self.kept_limit = cache_limit, kept_limit
        self.most_running, self.most_waiting = most_running, most_waiting
        self.shelf = shelf
        self.locate = locate
        self.meter = energy.Meter(energy.POWERCAP)
        self.tree = PrefixTree(runner.page_tokens)
        self.running: list[Request] = []  # oldest first
        self.waiting: list[Request] = []  # the same
        self.counts = {"steps": 0, "prompt": 0, "reused": 0, "output": 0}
        self.lent: list[RunnerSequence] = []
        self._cache_bytes = 0  # after the last step
        self._read_rate: float | None = None  # tokens of prompts a second, of late
        self._arrived: deque[Request] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._woken = False
        self._closing = False
        self._failure: str | None = None  # what ended the thread, if something did
        self._thread: threading.Thread | None = None
        if watch is not None:
            watch.on_damage = self.wake

    # --- from any thread ----------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Raises EngineBusyError where too many wait already, EngineError if the engine was closed."""
        with self._changed:
            self.refuse_if_closed()
            waiting = len(self._arrived) + len(self.waiting)
            if waiting >= self.most_waiting:
                raise EngineBusyError(
                    f"taking in a request: {waiting} wait already, and this engine lets {self.most_waiting} wait. "
                    "Ask again in a while."
                )
            self._start_or_wake()
            self._arrived.append(request)

    def cancel(self, request: Request) -> None:
        """It ends before the next step."""
        request.cancelled.set()
        self.wake()

    def call(self, work: Callable[[], Result]) -> Result:
        """Run `work` in the engine's thread, between two steps. Returns what it returns, or raises what it raises."""
        done: Future[Result] = Future()

        def errand() -> None:
            try:
                if self._failure is not None:
                    raise failed(self._failure)
                done.set_result(work())
            except BaseException as problem:  # raised again in the caller's thread
                done.set_exception(problem)

        with self._changed:
            self.refuse_if_closed()
            self._start_or_wake()
            self._errands.append(errand)
        return done.result()

    def lend(self, capacity: int, variant: Variant) -> RunnerSequence:
        """A sequence for a caller who computes on it through `compute`, and gives it back."""

        def work() -> RunnerSequence:
            self.lent.append(self.runner.new_sequence(capacity, variant))
            return self.lent[-1]

        return self.call(work)

    def give_back(self, sequence: RunnerSequence) -> None:
        def work() -> None:
            self.lent.remove(sequence)
            sequence.close()

        try:
            self.call(work)
        except (EngineClosedError, EngineFailedError):
            return  # it was closed with the engine

    def compute(self, work: Sequence[tuple[RunnerSequence, np.ndarray]], wanted: Wanted) -> np.ndarray:
        """Append ids to sequences that were lent, and their rows. Others make room if they must."""

        def step() -> np.ndarray:
            after = [sequence.length + len(ids) for sequence, ids in work]
            size = self.runner.cache_bytes
            needed = sum(
                size(length) - size(sequence.length) for length, (sequence, _) in zip(after, work, strict=True)
            )
            self._make_room(needed, even_theirs=True)
            try:
                return self._stepped(work, wanted)
            except MemoryError as problem:
                raise out_of_memory(sum(after), self.runner, self.cache_limit, problem) from problem

        return self.call(step)

    def forget(self, holds: Callable[[Sequence[int]], bool], owner: str) -> str | None:
        """See `interface.Engine.forget`."""

        self.call(lambda: self._forget(holds, lambda each: each == owner))
        if self.shelf is None:
            return None
        self.shelf.forget(holds, owner)
        return self.shelf.base_root(owner)

    def forget_all(self) -> None:
        """See `interface.Engine.forget_all`."""
        self.call(lambda: self._forget(lambda ids: True, lambda owner: True))

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify()

    def close(self) -> None:
        """Requests end with EngineError; what is kept is written; memory is given back. May be called twice."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            thread = self._thread
            self._changed.notify()
        if thread is None:
            self._wind_up()
        elif thread is not threading.current_thread():
            thread.join()

    def load(self) -> Load:
        """How busy it is, as far as it can be told while it works."""
        return Load(
            running=len(self.running),
            waiting=len(self.waiting) + len(self._arrived),
            cache_bytes=self._cache_bytes,
            cache_limit=self.cache_limit,
            kept_bytes=self.tree.bytes,
            steps=self.counts["steps"],
            prompt_tokens=self.counts["prompt"],
            reused_tokens=self.counts["reused"],
            output_tokens=self.counts["output"],
        )

    @property
    def failure(self) -> str | None:
        """What ended the engine or is about to, or None."""
        if self._failure is None and not self._closing and self.watch is not None and (damage := self.watch.fault()):
            return str(WeightsDamagedError(damage))
        return self._failure

    def check_weights(self) -> str | None:
        damage = None if self.watch is None else self.watch.wait()
        return None if damage is None else str(WeightsDamagedError(damage))

    def refuse_if_closed(self) -> None:
        if self._failure is not None:
            raise failed(self._failure)
        if self._closing:
            raise closed()
        self._refuse_damaged()

    def _start_or_wake(self) -> None:
        """The caller holds the condition. Raises EngineBusyError where the system gives no thread now."""
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="ouvert-engine", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError) as problem:
                raise EngineBusyError(
                    f"beginning to compute: the system gives no thread for it ({problem}). Ask again in a while, close "
                    "other programs, or raise the limit of processes."
                ) from problem
            self._thread = thread
        self._woken = True
        self._changed.notify()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._closing:
                if not self._turn():
                    self._wait()
        except BaseException as problem:  # said to everybody who waits, and to whoever asks from now on
            self._give_up(problem)
        else:
            self._wind_up()

    def _wait(self) -> None:
        deadlines = [each.deadline for each in (*self.running, *self.waiting) if each.deadline is not None]
        timeout = min(LONGEST_WAIT, max(0.0, min(deadlines) - time.perf_counter())) if deadlines else None
        with self._changed:
            if not (self._woken or self._arrived or self._errands or self._closing):
                self._changed.wait(timeout)
            self._woken = False

    def _turn(self) -> bool:
        """One step and what belongs to it. False where there was nothing to do."""
        self._refuse_damaged()
        while self._arrived:
            self._take_in(self._arrived.popleft())
        self._let_go_of_ended()
        errands = len(self._errands)
        for _ in range(errands):
            self._errands.popleft()()
        budget = self._budget()
        self._begin_prompts(budget)
        plan = plan_step(
            [Running(each.id, each.cached, each.stalled) for each in self.running],
            [
                Waiting(each.id, each.cached, len(each.tokens), each.sequence is not None, self._is_behind(each))
                for each in self.waiting
            ],
            free=self._free(),
            budget=budget,
            bytes_for=self.runner.cache_bytes,
            most_running=self.most_running,
        )
        for number in plan.paused:
            self._pause(self._request(number))
        parts = self._parts(plan)
        if parts:
            self._step(parts)
        return bool(parts or errands or plan.paused)

    def _request(self, number: int) -> Request:
        return next(each for each in (*self.running, *self.waiting) if each.id == number)

    def _take_in(self, request: Request) -> None:
        self._line_up(request, self.waiting)
        self.waiting.append(request)

    def _line_up(self, request: Request, others: Sequence[Request]) -> None:
        """Behind the one of `others`, who wait and are older, that reads the most of what both begin with: if that is a
        page more than what is kept already, or half of what there is to read."""
        start = request.tokens[:-1]
        theirs = [each for each in others if each.scope == request.scope and each.leaves]
        reader = max(theirs, key=lambda each: alike(each.tokens, start), default=None)
        if reader is None:
            return
        kept = self.tree.match(start, request.scope).tokens
        more = alike(reader.tokens, start) - kept
        if more >= self.runner.page_tokens or (more > 0 and 2 * more >= len(start) - kept):
            request.behind = reader

    def _is_behind(self, request: Request) -> bool:
        """Whether it has to wait for another to read what both start with, or for pages from the disk."""
        if request.behind is not None and request.behind not in self.waiting:
            request.behind = None
        return request.behind is not None or request.fetching

    def _let_go_of_ended(self) -> None:
        now = time.perf_counter()
        for request in (*self.running, *self.waiting):
            if request.cancelled.is_set():
                self._end(request, "cancelled")
            elif request.deadline is not None and now >= request.deadline:
                self._end(request, "timeout")

    def _budget(self) -> int:
        """Tokens of the next step at most."""
        if all(each.stalled for each in self.running):
            return STEP_TOKENS
        piece = PIECE_TOKENS if self._read_rate is None else int(self._read_rate * PIECE_SECONDS)
        return min(STEP_TOKENS, len(self.running) + max(PIECE_TOKENS, piece))

    # --- room ---------------------------------------------------------------------------------------------------------

    def _free(self) -> int:
        """Bytes that caches may still take: what nobody uses is let go when it comes to it."""
        return self.cache_limit - self.runner.cache_bytes_in_use + self.tree.bytes_unused

    def _make_room(self, wanted: int, *, even_theirs: bool = False) -> None:
        """Let go of what nobody uses until there is room; `even_theirs`: then requests pause, the youngest first."""
        holders = [each for each in (*self.running, *self.waiting) if each.sequence is not None] if even_theirs else []
        while (short := wanted - (self.cache_limit - self.runner.cache_bytes_in_use)) > 0:
            if not self.tree.evict(short):
                if not holders:
                    break
                self._pause(holders.pop())

    def _keep(self, request: Request) -> list[Node]:
        """What the request has computed is kept for those that begin alike, and written to disk. Where there is no
        memory for that, it is not kept."""
        sequence = request.sequence
        if sequence is None or request.cached == 0 or not request.leaves:
            return []
        ids = request.tokens[: request.cached]
        self.tree.release(request.nodes)
        request.nodes = []
        try:
            nodes = self.tree.insert(ids, sequence.page, request.scope)
        except MemoryError:
            LOG.warning("no memory to keep the caches of %d tokens: who begins alike computes them again", len(ids))
            return []
        if self.shelf is not None and len(ids) >= WORTH_SAVING:
            new = [node for node in nodes if not node.saved]
            for node in new:
                node.saved = True
            self.tree.use(new)
            self.shelf.save(new, lambda done: self._post(lambda: self.tree.release(done)))
        return nodes

    def _forget(self, holds: Callable[[Sequence[int]], bool], whose: Callable[[str], bool]) -> None:
        if self.shelf is not None:
            self.shelf.wait_until_written()  # what is being written is being read
        for request in (*self.running, *self.waiting):
            if whose(request.scope.owner) and holds(request.tokens):
                request.leaves = False
        for scope in self.tree.scopes:
            if whose(scope.owner):
                self.tree.forget(holds, scope)

    def _trim_kept(self) -> None:
        if self.tree.bytes_unused > self.kept_limit:
            self.tree.evict(self.tree.bytes_unused - self.kept_limit)

    def _post(self, errand: Callable[[], None]) -> None:
        with self._changed:
            self._errands.append(errand)
            self._woken = True
            self._changed.notify()

    def _release(self, request: Request) -> None:
        """The caches and kept pages that a request holds."""
        if request.sequence is not None:
            request.sequence.close()
            request.sequence = None
        self.tree.release(request.nodes)
        request.nodes = []
        request.cached = 0

    def _pause(self, request: Request) -> None:
        """It makes room, and goes on from what of it is still kept when its turn comes."""
        self._keep(request)
        self._release(request)
        if request in self.running:
            self.running.remove(request)
            insort(self.waiting, request, key=lambda each: each.id)

    # --- prompts ------------------------------------------------------------------------------------------------------

    def _begin_prompts(self, budget: int) -> None:
        """Give a sequence, with whatever is kept of its beginning, to those whose turn may come in this step."""
        size = self.runner.cache_bytes
        free = self._free() - sum(size(each.cached + 1) - size(each.cached) for each in self.running)
        first = True
        for request in list(self.waiting):
            if budget <= 0:
                break
            if self._is_behind(request):
                continue
            cost = size(len(request.tokens) + 1) - size(request.cached)
            if request.sequence is None:
                match = self.tree.match(request.tokens[:-1], request.scope)
                # What it will use can no longer make room for others; of the last page it may need a copy of its own.
                cost += sum(node.page.nbytes for node in match.nodes if not node.users)
                cost += self.runner.page_bytes - size(match.tokens)
                if not first and cost > free:
                    break
                if not self._begun(request):
                    continue
            first = False
            budget -= len(request.tokens) - request.cached
            free -= cost

    def _begun(self, request: Request) -> bool:
        """`_begin`; a fault there ends this request, and not the engine."""
        try:
            return self._begin(request)
        except Exception as problem:
            self._fail(request, problem, "beginning an answer")
            return False

    def _begin(self, request: Request) -> bool:
        """False if pages have to come from the disk first, or there is no room even to begin."""
        # The last token is always computed: its logits are needed.
        match = self.tree.match(request.tokens[:-1], request.scope)
        if self.shelf is not None and not request.fetched and len(request.tokens) >= WORTH_SAVING:
            whole = match.nodes[: match.tokens // self.runner.page_tokens]
            filed = self.shelf.beyond(request.tokens, whole, request.scope)
            held = len(whole) * self.runner.page_tokens + sum(len(each.ids) for each in filed)
            request.fetched = True
            if held - match.tokens >= WORTH_FETCHING:
                self._fetch(self.shelf, request, whole, filed)
                return False
        sequence = self._resumed(match.nodes, match.tokens, request.variant)
        if sequence is None:
            return False
        request.sequence, request.cached = sequence, sequence.length
        request.nodes = match.nodes if sequence.length else []
        self.tree.use(request.nodes)
        if request.reused is None:
            request.begun = time.perf_counter()
            request.reused = request.cached
            self.counts["reused"] += request.cached
            self.counts["prompt"] += request.prompt_tokens
            request.tell_reading(request.begun)
        if self.shelf is not None and (saved := [node for node in request.nodes if node.saved]):
            self.shelf.touch(saved)
        return True

    def _resumed(self, nodes: list[Node], tokens: int, variant: Variant) -> RunnerSequence | None:
        """A sequence that holds so many tokens of those pages, or fewer; None where there is no room for it."""
        capacity = sys.maxsize
        if tokens == 0:
            return self.runner.new_sequence(capacity, variant)
        self.tree.use(nodes)
        try:
            self._make_room(self.runner.page_bytes)
            return self.runner.resume([node.page for node in nodes], tokens, capacity, variant)
        except MemoryError:
            return None if self.running else self.runner.new_sequence(capacity, variant)
        finally:
            self.tree.release(nodes)

    def _fetch(self, shelf: DiskPrefixes, request: Request, whole: list[Node], filed: list[Filed]) -> None:
        """Pages come from the disk, one by one, between steps; then the request's turn comes."""
        request.fetching = True
        request.begun = time.perf_counter()
        nodes = list(whole)
        self.tree.use(nodes)
        last = filed[-1]

        def place(each: Filed, data: memoryview | None) -> None:
            wanted = request.leaves and not request.ended.is_set()
            placed = wanted and data is not None and self._placed(nodes, each.ids, data, request.scope)
            if not placed or each is last:
                request.fetching = False
                self.tree.release(nodes)

        def handed(each: Filed, data: memoryview | None) -> bool:
            if self._closing:
                return False
            self._post(lambda: place(each, data))
            return request.fetching

        shelf.fetch(filed, handed)

    def _placed(self, nodes: list[Node], ids: tuple[int, ...], data: memoryview, scope: Scope) -> bool:
        """A page from the disk goes into the tree, after `nodes`, and becomes the last of them. False without room, or
        if it would follow one that was let go of meanwhile."""
        if nodes and nodes[-1] not in self.tree:
            return False
        path = [token for node in nodes for token in node.ids] + list(ids)
        try:
            self._make_room(self.runner.page_bytes)
            found = self.tree.insert(path, lambda _: self.runner.page_from(data), scope)
        except MemoryError:
            return False
        self.tree.use(found[-1:])
        found[-1].saved = True
        nodes.append(found[-1])
        return True

    # --- steps --------------------------------------------------------------------------------------------------------

    def _parts(self, plan: Plan) -> list[Part]:
        parts = [Part(each, each.tokens[-1:], True) for each in map(self._request, plan.decode)]
        for number, count in plan.read:
            request = self._request(number)
            if request.sequence is None:
                break  # no room even to begin it; nor for those after it
            ids = request.tokens[request.cached : request.cached + count]
            parts.append(Part(request, ids, request.cached + len(ids) == len(request.tokens)))
        return parts

    def _step(self, parts: list[Part]) -> None:
        started, used = time.perf_counter(), self.meter.read()
        done = self._computed(parts)
        now = time.perf_counter()
        self.counts["steps"] += 1
        self._share_energy(used, [part for part, _ in done])
        read = sum(len(part.ids) for part, _ in done if len(part.ids) > 1)
        if read >= PIECE_TOKENS:
            rate = read / (now - started)
            self._read_rate = rate if self._read_rate is None else 0.5 * (self._read_rate + rate)
        for part, row in done:
            part.request.cached += len(part.ids)
            if row is None and part.request.read is None:
                part.request.tell_reading(now)
        ready = [(part.request, row) for part, row in done if row is not None]
        for request, _ in ready:
            if request in self.waiting:
                self.waiting.remove(request)
                insort(self.running, request, key=lambda each: each.id)
                if request.read is None:
                    request.read = now
                    request.nodes = self._keep(request)
                    self.tree.use(request.nodes)
        self._choose(ready)
        self._trim_kept()
        self._cache_bytes = self.runner.cache_bytes_in_use

    def _share_energy(self, before: tuple[int, ...] | None, parts: list[Part]) -> None:
        """What this step used, among its requests by the tokens that were computed for each."""
        after = self.meter.read()
        if before is None or after is None:
            return
        tokens = sum(len(part.ids) for part in parts)
        for part in parts:
            share = self.meter.joules(before, after) * len(part.ids) / tokens
            part.request.joules = share + (part.request.joules or 0.0)

    def _computed(self, parts: list[Part]) -> list[tuple[Part, np.ndarray | None]]:
        """The parts that could be computed, with their logits where they are wanted. The others have ended or paused.

        A step that fails is tried again part by part, so that one request's failure is not the others'.
        """
        grown = sum(
            self.runner.cache_bytes(part.request.cached + len(part.ids)) - self.runner.cache_bytes(part.request.cached)
            for part in parts
        )
        self._make_room(grown)
        try:
            return self._run(parts)
        except MemoryError:
            self.tree.evict(sys.maxsize)
        except EngineFailedError:
            raise
        except Exception as problem:
            if len(parts) == 1:
                self._fail(parts[0].request, problem, "computing")
                return []
        done: list[tuple[Part, np.ndarray | None]] = []
        for part in parts:
            done += self._computed_alone(part, [finished.request for finished, _ in done])
        return [(part, row) for part, row in done if part.request.sequence is not None]

    def _computed_alone(self, part: Part, done: list[Request]) -> list[tuple[Part, np.ndarray | None]]:
        """One part of a step that failed. Where memory is short the oldest goes on; the others make room for it."""
        request = part.request
        for everything_given in (False, True):
            if request.sequence is None:
                break  # it made room for one before it
            try:
                request.sequence.truncate(request.cached)
                return self._run([part])
            except MemoryError as problem:
                others = [each for each in (*self.running, *self.waiting) if each.sequence and each is not request]
                oldest = all(request.id < each.id for each in others)
                if not oldest or (everything_given and self.lent):
                    self._pause(request)  # its turn comes again
                elif everything_given:
                    self._fail(request, out_of_memory(len(request.tokens), self.runner, self.cache_limit, problem))
                else:
                    for each in others:
                        if each not in done:
                            self._pause(each)
                    self.tree.clear()
            except EngineFailedError:
                raise
            except Exception as problem:
                self._fail(request, problem, "computing")
        return []

    def _stepped(self, work: Sequence[tuple[Any, np.ndarray]], wanted: Wanted | list[Wanted]) -> np.ndarray:
        """A step of the runner, whose numbers are given to nobody if the weights turn out to be damaged."""
        rows = self.runner.step(work, wanted)
        self._refuse_damaged()
        return rows

    def _refuse_damaged(self) -> None:
        """Raises what ends the engine's thread, and with it every answer."""
        if self.watch is not None and (damage := self.watch.fault()) is not None:
            raise WeightsDamagedError(damage)

    def _run(self, parts: list[Part]) -> list[tuple[Part, np.ndarray | None]]:
        work = [(part.request.sequence, np.asarray(part.ids, np.int32)) for part in parts]
        rows = iter(self._stepped(work, ["last" if part.wanted else "none" for part in parts]))
        return [(part, next(rows) if part.wanted else None) for part in parts]

    def _choose(self, ready: list[tuple[Request, np.ndarray]]) -> None:
        """The next token of each, handed out. Whatever a constraint raises ends its own answer and no other."""
        rows: list[np.ndarray] = []
        masks: list[np.ndarray | None] = []
        asked: list[Request] = []
        for request, row in ready:
            try:
                if request.complete:  # before its first token: the constraint allows nothing but an empty answer
                    self._end(request, "stop")
                    continue
                mask = request.allowed()
            except BaseException as problem:  # a panic of a library in Rust is no Exception
                self._fail(request, problem, "following a constraint")
                continue
            masks.append(mask)
            rows.append(row)
            asked.append(request)
        if not asked:
            return
        chosen = choose_all(rows, [request.sampler for request in asked], masks)
        for request, token in zip(asked, chosen, strict=True):
            if isinstance(token, EngineError):
                self._fail(request, self._explained(token, request))
                continue
            try:
                self._hand_out(request, token)
            except BaseException as problem:  # as above
                self._fail(request, problem, "following a constraint")

    def _hand_out(self, request: Request, token: Token) -> None:
        """Raises what the constraint raises where it cannot follow."""
        stops = token.id in request.sampling.stop_ids
        if request.constraint_state is not None and not stops:
            request.constraint_state.advance(token.id)
        complete = request.complete
        request.tokens.append(token.id)
        self.counts["output"] += 1
        request.out.put(token)
        if stops or complete:
            self._end(request, "stop")
        elif request.answer_tokens == request.most_tokens:
            self._end(request, "length")
        elif request.circling:
            self._end(request, "repetition")

    def _explained(self, problem: EngineError, request: Request) -> EngineError:
        """Numbers that are none: in which layer they came up, if that can be found."""
        # `locate` computes the base.
        if isinstance(problem, NotFiniteError) and self.locate is not None and request.variant == BASE:
            try:
                layer = self.locate(request.tokens[: request.cached])
            except Exception:  # the error says less, and that is all
                LOG.exception("finding the layer whose numbers are not finite")
                return problem
            if layer is not None:
                return NotFiniteError(f"{problem} The first value that is not a finite number is {layer}.")
        return problem

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _end(self, request: Request, reason: Reason) -> None:
        self._keep(request)
        self._leave(request)
        request.end(reason)

    def _fail(self, request: Request, problem: BaseException, operation: str = "answering") -> None:
        """Its caches may not hold what they are said to hold, so nothing of them is kept."""
        self._leave(request)
        fault = EngineFaultError.of(operation, problem)
        if isinstance(fault, EngineFaultError):
            LOG.error("an answer ended by a fault of the program, %s", operation, exc_info=problem)
        request.end("cancelled", fault)

    def _leave(self, request: Request) -> None:
        self._release(request)
        for queue in (self.running, self.waiting):
            if request in queue:
                queue.remove(request)
        if request.read is None:  # it left before it had read: the oldest of those behind it reads in its place
            heirs = [each for each in self.waiting if each.behind is request]
            for heir in heirs:
                heir.behind = None
            for heir in heirs[1:]:
                self._line_up(heir, heirs[:1])

    def _give_up(self, problem: BaseException) -> None:
        """The engine failed: everybody is told, and its memory is given back as far as that still goes."""
        LOG.critical("an engine failed; its answers end, and it has to be opened again", exc_info=problem)
        with self._changed:
            self._failure = f"{type(problem).__name__}: {problem!s:.300}"
            self._closing = True
        told = problem if isinstance(problem, EngineFailedError) else failed(self._failure)
        for request in (*self.running, *self.waiting, *self._arrived):
            request.end("cancelled", told)
        errands, self._errands = self._errands, deque()
        closing = [each.close for each in (self.shelf, self.watch) if each is not None]
        held = [each.sequence.close for each in (*self.running, *self.waiting) if each.sequence is not None]
        lent = [sequence.close for sequence in self.lent]
        for work in (*errands, *closing, *held, *lent, self.tree.clear, self.meter.close, self.runner.close):
            try:
                work()
            except Exception:  # of one piece; the others are still given back
                LOG.exception("winding up an engine that failed")

    def _wind_up(self) -> None:
        """Closed: everything ends."""
        for request in (*self.running, *self.waiting):
            self._keep(request)
            self._fail(request, closed())
        while self._arrived:
            self._arrived.popleft().end("cancelled", closed())
        if self.shelf is not None:
            self.shelf.close()
        while self._errands:
            self._errands.popleft()()
        for sequence in self.lent:
            sequence.close()
        self.tree.clear()
        self.meter.close()
        self.runner.close()
        if self.watch is not None:
            self.watch.close()


class EngineClosedError(EngineFailedError):
    """The engine was closed before or while it was used."""


def failed(failure: str) -> EngineFailedError:
    return EngineFailedError(
        f"using an engine: it failed ({failure}), and has to be loaded again. A server does that by itself: ask again "
        "in a few seconds. The log says where it failed."
    )


def closed() -> EngineClosedError:
    return EngineClosedError("using an engine: it was closed. Load the model again.")


def out_of_memory(tokens: int, runner: Runner, limit: int, problem: MemoryError) -> EngineError:
    return EngineError(
        f"computing: no memory for the caches of {tokens} tokens "
        f"({runner.cache_bytes(tokens) / 1e6:.0f} MB; the limit is {limit / 1e6:.0f} MB: {problem}). "
        "Shorten the conversation, load the model with a smaller context, or close other programs."
    )
