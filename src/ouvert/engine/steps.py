"""Steps of the runner: what a plan says is computed, and whatever fails there harms as few requests as it can."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ouvert.engine import energy
from ouvert.engine.answers import Answers
from ouvert.engine.caches import Caches
from ouvert.engine.interface import EngineFailedError, ExpertUse, WeightsDamagedError
from ouvert.engine.queues import Queues
from ouvert.engine.request import NOT_WATCHED, Request, Scoring
from ouvert.engine.runners.interface import Runner, RunnerSequence, Wanted
from ouvert.engine.schedule import Plan
from ouvert.kernels import ExpertReads
from ouvert.packed import WeightsWatch

# Tokens of a step at most: large enough for matrix work, small enough that cancelling is felt at once.
STEP_TOKENS = 512
# While answers are in progress a prompt is read in pieces of about so many seconds, and of so many tokens at least.
PIECE_SECONDS = 0.25
PIECE_TOKENS = 64
# Rows of logits of texts that are scored, in one step. More are not quicker, and memory that is asked for in larger
# pieces comes as new pages every time: a tenth of a step of a small model.
ROW_BYTES = 30_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """A request's share of a step: the tokens to compute, and after which of them the logits are wanted."""

    request: Request
    ids: list[int]
    wanted: Wanted

    @property
    def rows(self) -> int:
        """How many rows of logits are wanted."""
        return {"none": 0, "last": 1, "all": len(self.ids)}[self.wanted]

    @property
    def watched(self) -> frozenset[str]:
        """The names of values that are kept of its last token."""
        return self.request.watched if self.wanted == "last" else NOT_WATCHED


Computed = list[tuple[Part, np.ndarray]]  # with the rows of logits that were wanted


class Steps:
    """`count`: steps since the engine was opened; `cache_bytes` were in use after the last; `experts`: what was read of
    experts on disk, if they are there. `most_rows`: of logits in a step, of texts that are scored."""

    def __init__(
        self, runner: Runner, caches: Caches, queues: Queues, answers: Answers, watch: WeightsWatch | None
    ) -> None:
        self.count = self.cache_bytes = 0
        self.experts = None if runner.expert_reads is None else ExpertUse()
        self._runner, self._caches, self._queues, self._answers = runner, caches, queues, answers
        self._watch = watch
        self._meter = energy.Meter(energy.POWERCAP)
        self._read_rate: float | None = None  # tokens of prompts a second, of late
        self.most_rows = max(1, ROW_BYTES // (4 * runner.width))

    @property
    def budget(self) -> int:
        """Tokens of the next step at most."""
        running = self._queues.running
        if all(each.stalled for each in running):
            return STEP_TOKENS
        piece = PIECE_TOKENS if self._read_rate is None else int(self._read_rate * PIECE_SECONDS)
        return min(STEP_TOKENS, len(running) + max(PIECE_TOKENS, piece))

    def take(self, plan: Plan) -> bool:
        """One step, and the tokens that come of it. False if the plan has none."""
        parts = self._parts(plan)
        if not parts:
            return False
        started, used, reads = time.perf_counter(), self._meter.read(), self._runner.expert_reads
        done = self._computed(parts)
        now = time.perf_counter()
        self.count += 1
        self._share_energy(used, [part for part, _ in done])
        self._share_reads(reads, [part for part, _ in done])
        self._measure_reading([part for part, _ in done], now - started)
        for part, rows in done:
            part.request.cached += len(part.ids)
            if not len(rows) and part.request.read is None:
                part.request.tell_reading(now)
        ready = [(part.request, rows[0]) for part, rows in done if part.wanted == "last"]
        for request, _ in ready:
            if request in self._queues.waiting:
                self._begin_answer(request, now)
        self._answers.go_on(ready)
        for part, rows in done:
            if part.request.scoring is not None:
                self._go_on_scoring(part.request, part.request.scoring, rows, now)
        self._caches.kept.trim()
        self.cache_bytes = self._runner.cache_bytes_in_use
        return True

    def compute(self, work: Sequence[tuple[Any, np.ndarray]], wanted: Wanted | list[Wanted]) -> np.ndarray:
        """A step of the runner, whose numbers are given to nobody if the weights turn out to be damaged."""
        rows = self._runner.step(work, wanted)
        self.refuse_damaged()
        return rows

    def compute_lent(self, work: Sequence[tuple[RunnerSequence, np.ndarray]], wanted: Wanted) -> np.ndarray:
        """Append ids to sequences that were lent. Requests make room if they must. Raises EngineError where there is no
        memory for it."""
        with self._room_for(work):
            return self.compute(work, wanted)

    def compute_watched(
        self, work: Sequence[tuple[RunnerSequence, np.ndarray]], wanted: Wanted, names: frozenset[str]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`compute_lent`, and these values of its tokens."""
        with self._room_for(work):
            kept = self._runner.step_watched(work, wanted, names)
            self.refuse_damaged()
            return kept

    @contextmanager
    def _room_for(self, work: Sequence[tuple[RunnerSequence, np.ndarray]]) -> Iterator[None]:
        after = [sequence.length + len(ids) for sequence, ids in work]
        grown = sum(
            self._caches.growth(sequence.length, length) for length, (sequence, _) in zip(after, work, strict=True)
        )
        self._caches.make_room_from_requests(grown)
        try:
            yield
        except MemoryError as problem:
            raise self._caches.out_of_memory(sum(after), problem) from problem

    def refuse_damaged(self) -> None:
        """Raises what ends the engine's thread, and with it every answer."""
        if self._watch is not None and (damage := self._watch.fault()) is not None:
            raise WeightsDamagedError(damage)

    def close(self) -> None:
        self._meter.close()

    def _parts(self, plan: Plan) -> list[Part]:
        parts = [Part(each, each.tokens[-1:], "last") for each in map(self._queues.find, plan.decode)]
        for number, count in plan.read:
            request = self._queues.find(number)
            if request.sequence is None:
                break  # no room even to begin it; nor for those after it
            ids = request.tokens[request.cached : request.cached + count]
            ends = request.cached + len(ids) == len(request.tokens)
            answering: Wanted = "last" if ends and request.scoring is None else "none"
            parts.append(Part(request, ids, "all" if request.gives_rows else answering))
        return parts

    def _go_on_scoring(self, request: Request, scoring: Scoring, rows: np.ndarray, now: float) -> None:
        """A piece of a text that is scored was read. Where its beginning is whole, others take that from here."""
        if len(rows):
            self._answers.report(request, rows)
        if request.sequence is None:
            return  # it failed
        if request.read is None and request.cached >= scoring.keeps:
            request.read = now
            if request.cached == scoring.keeps:
                self._caches.keep(request)
        if request.cached == len(request.tokens):
            self._answers.end(request, "stop")

    def _begin_answer(self, request: Request, now: float) -> None:
        """All its tokens are read: its prompt, or what it had to read again after a pause."""
        self._queues.run(request)
        if request.read is None:
            request.read = now
            self._caches.keep(request)

    def _measure_reading(self, parts: list[Part], seconds: float) -> None:
        read = sum(len(part.ids) for part in parts if len(part.ids) > 1)
        if read >= PIECE_TOKENS:
            rate = read / seconds
            self._read_rate = rate if self._read_rate is None else 0.5 * (self._read_rate + rate)

    def _share_energy(self, before: tuple[int, ...] | None, parts: list[Part]) -> None:
        """What this step used, among its requests by the tokens that were computed for each."""
        after = self._meter.read()
        if before is None or after is None:
            return
        tokens = sum(len(part.ids) for part in parts)
        for part in parts:
            share = self._meter.joules(before, after) * len(part.ids) / tokens
            part.request.joules = share + (part.request.joules or 0.0)

    def _share_reads(self, before: ExpertReads | None, parts: list[Part]) -> None:
        """What this step read of experts on disk, among its requests by the tokens that were computed for each."""
        after = self._runner.expert_reads
        if before is None or after is None:
            return
        self.experts = ExpertUse(read_bytes=after.bytes, lookups=after.lookups, hits=after.hits)
        read, tokens = after - before, sum(len(part.ids) for part in parts)
        for part in parts:
            share, used = len(part.ids) / tokens, part.request.experts or ExpertUse()
            part.request.experts = ExpertUse(
                read_bytes=used.read_bytes + round(read.bytes * share),
                lookups=used.lookups + read.lookups * share,
                hits=used.hits + read.hits * share,
            )

    def _run_watched(
        self,
        parts: list[Part],
        names: frozenset[str],
        work: Sequence[tuple[Any, np.ndarray]],
        wanted: list[Wanted],
    ) -> np.ndarray:
        """One step for all, by the program that shows what some of them watch: its rows have the same bits. Each of
        these keeps what its last token left."""
        rows, seen = self._runner.step_watched(work, wanted, names)
        self.refuse_damaged()
        last = -1
        for part in parts:
            last += len(part.ids)
            if part.watched:
                part.request.seen = {name: seen[name][last].copy() for name in part.watched}
        return rows

    # --- failures -----------------------------------------------------------------------------------------------------

    def _computed(self, parts: list[Part]) -> Computed:
        """The parts that could be computed. The others have ended or paused.

        A step that fails is tried again part by part, so that one request's failure is not the others'.
        """
        kept = self._caches.kept
        kept.make_room(
            sum(self._caches.growth(part.request.cached, part.request.cached + len(part.ids)) for part in parts)
        )
        try:
            return self._run(parts)
        except MemoryError:
            kept.tree.evict(sys.maxsize)
        except EngineFailedError:
            raise
        except Exception as problem:
            if len(parts) == 1:
                self._answers.fail(parts[0].request, problem, "computing")
                return []
        done: Computed = []
        for part in parts:
            done += self._computed_alone(part, [finished.request for finished, _ in done])
        return [(part, rows) for part, rows in done if part.request.sequence is not None]

    def _computed_alone(self, part: Part, done: list[Request]) -> Computed:
        """One part of a step that failed: tried again as it is, and with all the memory if it may have it."""
        request = part.request
        for everything_given in (False, True):
            if request.sequence is None:
                break  # it made room for one before it
            try:
                request.sequence.truncate(request.cached)
                return self._run([part])
            except MemoryError as problem:
                self._give_memory(request, done, everything_given, problem)
            except EngineFailedError:
                raise
            except Exception as problem:
                self._answers.fail(request, problem, "computing")
        return []

    def _give_memory(self, request: Request, done: list[Request], everything_given: bool, problem: MemoryError) -> None:
        """If memory is short, the oldest request goes on. The others pause, except those `done` in this step."""
        others = [each for each in self._queues if each.sequence and each is not request]
        oldest = all(request.place < each.place for each in others)
        if not oldest or (everything_given and self._caches.lent):
            self._caches.pause(request)  # its turn comes again
        elif everything_given:
            self._answers.fail(request, self._caches.out_of_memory(len(request.tokens), problem))
        else:
            for each in others:
                if each not in done:
                    self._caches.pause(each)
            self._caches.kept.tree.clear()

    def _run(self, parts: list[Part]) -> Computed:
        work = [(part.request.sequence, np.asarray(part.ids, np.int32)) for part in parts]
        wanted: list[Wanted] = [part.wanted for part in parts]
        names = frozenset[str]().union(*(part.watched for part in parts))
        rows = self._run_watched(parts, names, work, wanted) if names else self.compute(work, wanted)
        ends = np.cumsum([part.rows for part in parts])
        return list(zip(parts, np.split(rows, ends[:-1]), strict=True))
