"""Our engine: one model on this machine, for any number of requests at once.

A thread of its own computes (`ouvert.engine.loop`); everything here hands it requests and takes tokens from it. What
belongs to a token never depends on what else runs: alone or among many, from a kept prefix or afresh, its numbers are
the same bits.
"""

import itertools
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ouvert.engine.asked import (
    check_beginning,
    check_timeout,
    check_top,
    checked_starts,
    prompt_ids,
    refuse_not_shown,
    state_behind,
)
from ouvert.engine.interface import EngineAdapters, EngineError, EngineFacts, Load, Reading, Sampling, Stopped, Token
from ouvert.engine.limits import Limits
from ouvert.engine.loop import Loop, nothing
from ouvert.engine.prefixes.disk import DiskPrefixes
from ouvert.engine.prefixes.scope import Scope
from ouvert.engine.request import MOST_UNREAD, Request, Scoring, expanded_tokens
from ouvert.engine.runners.interface import Runner
from ouvert.engine.runners.nonfinite import Locate
from ouvert.engine.sampler import Sampler, check, machinery
from ouvert.engine.scoring import Task, score_in_order, scoring_of
from ouvert.engine.steps import STEP_TOKENS
from ouvert.engine.variant import BASE, Variant
from ouvert.engine.watching import Watching
from ouvert.packed import WeightsWatch

# Rows of logits that are handed out at once: they stay under 256 MB at a vocabulary of 200,000.
SCORED_CHUNK = 256
NOTHING_WRITTEN = Sampling(temperature=0.0, seed=0)


class LocalEngine:
    """`interface.Engine` over a runner. Prefixes of sequences are kept in memory and, with `disk`, on disk.

    Its methods and properties mean what those of `Engine` mean, and raise what those raise.
    """

    def __init__(
        self,
        runner: Runner,
        context: int,
        facts: Callable[[], EngineFacts],
        *,
        limits: Limits = Limits(),  # noqa: B008 - a value that never changes
        disk: DiskPrefixes | None = None,
        locate: Locate | None = None,
        embeds: bool = False,
        watch: WeightsWatch | None = None,
    ) -> None:
        """`context` is in tokens. `facts` is called whenever they are asked for; the first time a digest may take a
        while. `watch` says whether the weights are what they should be; it is closed with the engine, and so is `disk`.

        `embeds`: the runner's rows are vectors of texts, not logits. `locate(ids)` says in which layer the numbers
        break, if they do. Raises EngineError for a context of fewer than 2 tokens.
        """
        if context < 2:
            raise EngineError(
                f"opening an engine: context={context}, expected at least 2 tokens: a prompt and an answer."
            )
        self._context = context
        self._runner = runner
        self._vocabulary_size = runner.vocabulary_size
        self._embedding_size = runner.width if embeds else None
        self._make_facts = facts
        self._numbers = itertools.count()
        self._loop = Loop(runner, limits, disk, locate, watch)
        machinery()  # now: at the limit of open files the engine's thread could not import it any more
        weakref.finalize(self, self._loop.let_go).atexit = False

    @property
    def context(self) -> int:
        return self._context

    @property
    def vocabulary_size(self) -> int:
        return self._vocabulary_size

    @property
    def embedding_size(self) -> int | None:
        return self._embedding_size

    @property
    def adapters(self) -> EngineAdapters:
        return self._runner.adapters

    @property
    def facts(self) -> EngineFacts:
        return self._make_facts()

    @property
    def failure(self) -> str | None:
        return self._loop.failure

    @property
    def shown(self) -> Mapping[str, int]:
        return self._runner.shown

    def check_weights(self) -> str | None:
        """What is wrong with the weights that compute, once all of them were compared with their digests; None if
        nothing is, or if no digest of theirs is known.

        Raises nothing.
        """
        return self._loop.check_weights()

    @property
    def load(self) -> Load:
        return self._loop.load()

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
    ) -> "LocalGeneration":
        """The answer is computed from now on, read or not; a few hundred tokens ahead of its reader at most."""
        self._must_write()
        held = self._runner.check_variant(variant)
        if sampling.watch is not None:
            refuse_not_shown(sampling.watch.names, self.shown)
        tokens = self._checked([*ids, *written], room=0 if written else 1)
        prompt = tokens[: len(tokens) - len(written)]
        check(sampling, self._vocabulary_size)
        check_beginning(prompt, written, sampling)
        check_timeout(timeout)
        room = self._context - len(prompt)
        most_tokens = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        beginning = tokens[len(prompt) :]
        request = Request(
            id=next(self._numbers),
            tokens=tokens,
            prompt_tokens=len(prompt),
            sampling=sampling,
            sampler=Sampler(sampling, prompt, self._vocabulary_size, beginning),
            constraint_state=state_behind(beginning, sampling),
            stop_ids=tuple(sorted(token for token in sampling.stop_ids if token < self._vocabulary_size)),
            most_tokens=most_tokens,
            deadline=None if timeout is None else time.perf_counter() + timeout,
            variant=variant,
            held=held,
            scope=Scope(owner, variant.digest),
            expanded=expanded_tokens(first_turn, len(prompt)) if self._runner.expands(variant) else 0,
        )
        if (reason := request.outcome) is not None:  # its last token was the last word, and that was all it lacked
            request.end(reason)
        else:
            self._loop.submit(request)
        return LocalGeneration(self, self._loop, request)

    def logits(self, ids: Sequence[int], variant: Variant = BASE, *, start: int = 0) -> np.ndarray:
        self._must_write()
        self._runner.check_variant(variant)
        given = self._checked(ids)
        if not 0 <= start < len(given):
            raise EngineError(
                f"reading logits: start={start} of a text of {len(given)} tokens, expected the position of one of them."
            )
        scores = np.empty((len(given) - start, self._vocabulary_size), np.float32)
        done = 0
        for rows in self._rows(given, variant, start):
            scores[done : done + len(rows)] = rows
            done += len(rows)
        return scores

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
        self._must_write()
        held = self._runner.check_variant(variant)
        given = [self._checked(ids) for ids in texts]
        check_top(top, self._vocabulary_size)
        scope = Scope(owner, variant.digest)

        def begin(ids: Sequence[int], task: Task) -> Request | None:
            scoring = scoring_of(ids, task, int(top))
            return None if scoring is None else self._begin_scoring(scoring, variant, held, scope)

        return score_in_order(given, checked_starts(given, starts), begin, self._loop.cancel)

    def _begin_scoring(self, scoring: Scoring, variant: Variant, held: object, scope: Scope) -> Request:
        request = Request(
            id=next(self._numbers),
            tokens=scoring.ids[:-1],
            prompt_tokens=len(scoring.ids) - 1,
            sampling=NOTHING_WRITTEN,
            sampler=Sampler(NOTHING_WRITTEN, (), self._vocabulary_size),
            constraint_state=None,
            stop_ids=(),
            most_tokens=0,
            deadline=None,
            variant=variant,
            held=held,
            scope=scope,
            scoring=scoring,
        )
        self._loop.submit(request)
        return request

    def watching(self, names: Iterable[str], variant: Variant = BASE) -> Watching:
        """Steps of this model that keep the values of these names (docs/formats/taps.md), beside its answers.

            with engine.watching(["layers.3.out"]) as watching:
                sequence = watching.new_sequence(capacity=len(ids))
                logits = watching.step([(sequence, ids)], "all")    # the same bits as `logits(ids)`
                stream = watching.seen("layers.3.out")              # float32 (tokens, hidden)

        At most 512 tokens a step. Raises EngineError for a name that this model does not show, for a variant that it
        does not compute, and once the engine was closed.
        """
        self._loop.refuse_if_closed()
        kept = frozenset(names)
        self._runner.check_names(kept)
        return Watching(self, self._loop, kept, variant, self._runner.check_variant(variant))

    def embed(self, texts: Sequence[Sequence[int]], variant: Variant = BASE) -> np.ndarray:
        if self._embedding_size is None:
            raise EngineError(
                "making embeddings: this model writes text, and vectors taken from its inside would compare badly. Use "
                "a model made for embeddings, such as Qwen3-Embedding."
            )
        self._runner.check_variant(variant)
        given = [self._checked(ids) for ids in texts]
        vectors = np.empty((len(given), self._embedding_size), np.float32)
        for batch in batches([len(ids) for ids in given]):
            vectors[batch] = self._last_rows([given[n] for n in batch], variant)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(lengths, np.finfo(np.float32).tiny)
        return vectors

    def forget(self, holds: Callable[[Sequence[int]], bool], owner: str = "") -> str | None:
        return self._loop.forget(holds, owner)

    def give_way(self, between: Callable[[], None] | None) -> None:
        self._loop.between = between or nothing

    def forget_all(self) -> None:
        self._loop.forget_all()

    def close(self) -> None:
        """Frees model and caches. Answers still being written end with EngineError; kept prefixes are written first."""
        self._loop.close()

    def _must_write(self) -> None:
        if self._embedding_size is not None:
            raise EngineError(
                "writing text: this model makes embeddings and writes none. Use a model that writes, or ask for "
                "embeddings."
            )

    def _checked(self, ids: Sequence[int], room: int = 0) -> list[int]:
        self._loop.refuse_if_closed()
        checked = prompt_ids(ids, context=self._context, vocabulary_size=self._vocabulary_size, room=room)
        needed, limit = self._runner.cache_bytes(len(checked) + room), self._loop.kept.limit
        if needed > limit:
            adapters = self._runner.adapters.nbytes
            beside = f" beside {adapters / 1e6:.1f} MB of adapters" if adapters else ""
            raise EngineError(
                f"reading a prompt: the caches of its {len(checked)} tokens take {needed / 1e6:.1f} MB, and this "
                f"engine has {limit / 1e6:.1f} MB for caches{beside}. Shorten it, or give the engine more."
            )
        return checked

    def _rows(self, ids: list[int], variant: Variant, start: int) -> Iterator[np.ndarray]:
        """Logits after each of `ids` from `start` on, a chunk at a time; answers go on between two chunks."""
        sequence = self._loop.lend(len(ids), variant)
        try:
            for first in range(0, start, STEP_TOKENS):
                self._loop.compute(
                    [(sequence, np.asarray(ids[first : min(first + STEP_TOKENS, start)], np.int32))], "none"
                )
            for first in range(start, len(ids), SCORED_CHUNK):
                chunk = np.asarray(ids[first : first + SCORED_CHUNK], np.int32)
                yield self._loop.compute([(sequence, chunk)], "all")
        finally:
            self._loop.give_back(sequence)

    def _last_rows(self, texts: list[list[int]], variant: Variant) -> np.ndarray:
        """The row of each text's last token, all computed side by side; a text of several steps comes alone."""
        sequences = [self._loop.lend(len(ids), variant) for ids in texts]
        try:
            rows = np.empty(0)
            for start in range(0, max(map(len, texts)), STEP_TOKENS):
                work = [
                    (sequence, np.asarray(ids[start : start + STEP_TOKENS], np.int32))
                    for sequence, ids in zip(sequences, texts, strict=True)
                ]
                rows = self._loop.compute(work, "last")
            return rows
        finally:
            for sequence in sequences:
                self._loop.give_back(sequence)


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Which texts are computed together: of similar length, STEP_TOKENS in all; one that has more is alone."""
    made: list[list[int]] = []
    room = 0
    for n in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if lengths[n] > room:
            made.append([])
            room = STEP_TOKENS
        made[-1].append(n)
        room -= lengths[n]
    return made


class LocalGeneration:
    """`interface.Generation`: takes what the engine's thread hands out. Dropping it cancels it."""

    def __init__(self, engine: LocalEngine, loop: Loop, request: Request) -> None:
        self._engine = engine  # lives as long as its answers
        self._loop = loop
        self._request = request
        self._given = 0  # tokens handed on
        self._ahead: list[Token | BaseException | None] = []  # what `reading` met behind the last of its own
        self._over = False
        weakref.finalize(self, loop.cancel, request).atexit = False

    def __iter__(self) -> Iterator[Token]:
        while (token := self._next()) is not None:
            yield token

    def reading(self) -> Iterator[Reading]:
        while not (self._ahead or self._given or self._over):
            taken = self._request.out.get()
            if isinstance(taken, Reading):
                yield taken
            else:
                self._ahead.append(taken)

    def cancel(self) -> None:
        self._loop.cancel(self._request)

    @property
    def stopped(self) -> Stopped:
        """Waits, after `cancel`, for the step that is being computed."""
        request = self._request
        if not self._over and not request.cancelled.is_set():
            raise RuntimeError(
                "asking why a generation stopped: tokens are still to come. Iterate to the end or cancel."
            )
        stopped = request.wait()
        if self._over:
            return stopped
        # What was computed ahead and nobody took is no part of the answer.
        return replace(stopped, reason="cancelled", output_tokens=self._given)

    def _next(self) -> Token | None:
        request = self._request
        if self._over or request.cancelled.is_set():
            return None
        taken = self._ahead.pop() if self._ahead else request.out.get()
        while isinstance(taken, Reading):
            taken = request.out.get()
        if request.out.qsize() == MOST_UNREAD // 2:
            self._loop.mailbox.wake()  # it may have waited for its reader
        if isinstance(taken, BaseException):
            self._over = True
            raise taken
        if taken is None:
            self._over = not request.cancelled.is_set()
            return None
        if request.cancelled.is_set():
            return None
        self._given += 1
        return taken
