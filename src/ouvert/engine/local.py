"""Our engine: one model on this machine.

Work happens in the thread that iterates a Generation, one step at a time, each step under the engine's lock: several
answers may be written at once and take turns. An answer nobody iterates costs nothing but its cache.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from ouvert.engine.constraints import merged
from ouvert.engine.runner import Runner, RunnerSequence
from ouvert.engine.sampler import Sampler, check, reported
from ouvert.engine.waist import EngineError, EngineFacts, Sampling, Stopped, Token

# Tokens of a prompt in one step: large enough for matrix work, small enough that cancelling is felt at once.
PROMPT_CHUNK = 512
# The same where every row of logits is wanted: a chunk of them stays under 256 MB at 200,000 words.
SCORED_CHUNK = 256


class LocalEngine:
    """`waist.Engine` over a runner. The sequence of the last answer is kept: a prompt that starts like it reuses it."""

    def __init__(self, runner: Runner, context: int, facts: Callable[[], EngineFacts]) -> None:
        """`context` is in tokens. `facts` is called when they are first asked for: a digest may take a while."""
        if context < 2:
            raise EngineError(
                f"opening an engine: context={context}, expected at least 2 tokens: a prompt and an answer."
            )
        self._runner: Runner | None = runner
        self._context = context
        self._vocabulary_size = runner.vocabulary_size
        self._make_facts = facts
        self._facts: EngineFacts | None = None
        self._lock = threading.Lock()  # held during a step and while sequences change hands
        self._kept: tuple[list[int], RunnerSequence] | None = None  # (the ids it holds, sequence)

    @property
    def context(self) -> int:
        return self._context

    @property
    def vocabulary_size(self) -> int:
        return self._vocabulary_size

    @property
    def facts(self) -> EngineFacts:
        if self._facts is None:
            self._facts = self._make_facts()
        return self._facts

    def generate(self, ids: Sequence[int], sampling: Sampling) -> "LocalGeneration":
        """Nothing is computed before the first token is asked for."""
        prompt = self._checked(ids, room=1)
        check(sampling, self._vocabulary_size)
        return LocalGeneration(self, prompt, sampling)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        given = self._checked(ids)
        scores = np.empty((len(given), self._vocabulary_size), np.float32)
        done = 0
        for rows in self._rows(given):
            scores[done : done + len(rows)] = rows
            done += len(rows)
        return scores

    def score(self, ids: Sequence[int], top: int = 0) -> list[Token]:
        given = self._checked(ids)
        scored: list[Token] = []
        for rows in self._rows(given[:-1]) if len(given) > 1 else ():
            scored += [reported(row, token, top) for row, token in zip(rows, given[len(scored) + 1 :], strict=False)]
        return scored

    def close(self) -> None:
        """Frees model and caches. Answers still being written end with EngineError."""
        with self._lock:
            if self._runner is not None:
                if self._kept is not None:
                    self._kept[1].close()
                self._kept = None
                self._runner.close()
                self._runner = None

    def _checked(self, ids: Sequence[int], room: int = 0) -> list[int]:
        checked = [int(i) for i in ids]
        if not checked:
            raise EngineError("reading a prompt: it has no tokens, expected at least one. Send some text.")
        if len(checked) + room > self._context:
            raise EngineError(
                f"reading a prompt: it has {len(checked)} tokens, and this engine's context holds "
                f"{self._context} for prompt and answer together. Shorten it, or load the model with a larger context."
            )
        strange = [i for i in checked if not 0 <= i < self._vocabulary_size]
        if strange:
            raise EngineError(
                f"reading a prompt: token {strange[0]} is not in the vocabulary of {self._vocabulary_size}. "
                "Use the tokenizer that belongs to this model."
            )
        return checked

    def _rows(self, ids: list[int]) -> Iterator[np.ndarray]:
        """Logits after each of `ids`, a chunk at a time."""
        with self._lock:
            sequence = self._open_runner().new_sequence(len(ids))
        try:
            for start in range(0, len(ids), SCORED_CHUNK):
                with self._lock:
                    rows = self._step(sequence, ids[start : start + SCORED_CHUNK], "all")
                yield rows
        finally:
            sequence.close()

    def _open_runner(self) -> Runner:
        if self._runner is None:
            raise EngineError("using an engine: it was closed. Load the model again.")
        return self._runner

    def _step(self, sequence: RunnerSequence, ids: list[int], wanted: Literal["last", "all", "none"]) -> np.ndarray:
        """The caller holds the lock."""
        return self._open_runner().step([(sequence, np.asarray(ids, np.int32))], wanted)

    def _take(self, prompt: list[int]) -> tuple[RunnerSequence, int]:
        """A sequence for this prompt and how many of its tokens it already holds. The caller holds the lock."""
        if self._kept is not None:
            held, sequence = self._kept
            # The last token is always computed: its logits are what the first choice needs.
            alike = shared_start(held, prompt[:-1])
            if alike:
                self._kept = None
                sequence.truncate(alike)
                return sequence, sequence.length  # less where a layer with a window has let go of what is needed
        return self._open_runner().new_sequence(self._context), 0

    def _give(self, held: list[int], sequence: RunnerSequence) -> None:
        """Keep the sequence for the next prompt in place of the one kept so far. The caller holds the lock."""
        if self._kept is not None:
            self._kept[1].close()
            self._kept = None
        if self._runner is None:
            sequence.close()
        else:
            self._kept = held, sequence


class LocalGeneration:
    """`waist.Generation`, pulled: each token is computed when it is asked for."""

    def __init__(self, engine: LocalEngine, prompt: list[int], sampling: Sampling) -> None:
        self._engine = engine
        self._prompt = prompt
        self._sampling = sampling
        self._sampler = Sampler(sampling, prompt, engine.vocabulary_size)
        self._following = None if sampling.constraint is None else sampling.constraint.begin()
        room = engine.context - len(prompt)
        self._most_tokens = room if sampling.max_tokens is None else min(room, sampling.max_tokens)
        self._turn = threading.Lock()  # whoever holds it may change what follows
        self._cancelled = threading.Event()
        self._sequence: RunnerSequence | None = None
        self._held: list[int] = []  # what the sequence has in its caches
        self._answer: list[int] = []
        self._stopped: Stopped | None = None
        self._reused = 0
        self._started = time.perf_counter()
        self._queued = self._prefill = self._decode = 0.0

    def __iter__(self) -> Iterator[Token]:
        while (token := self._next()) is not None:
            yield token

    def cancel(self) -> None:
        self._cancelled.set()
        self._settle()

    @property
    def stopped(self) -> Stopped:
        if self._stopped is None:
            raise RuntimeError(
                "asking why a generation stopped: tokens are still to come. Iterate to the end or cancel."
            )
        return self._stopped

    def _next(self) -> Token | None:
        with self._turn:
            token = self._advance() if self._stopped is None else None
        self._settle()
        return token

    def _settle(self) -> None:
        """End at once if cancelled. Where another thread is in the middle of a step, that thread does it after."""
        while self._cancelled.is_set() and self._stopped is None and self._turn.acquire(blocking=False):
            try:
                if self._stopped is None:
                    self._end("cancelled")
            finally:
                self._turn.release()

    def _advance(self) -> Token | None:
        try:
            if not self._answer:
                logits = self._read_prompt()
            else:
                began = time.perf_counter()
                logits = self._compute(self._answer[-1:], "last")
                self._decode += time.perf_counter() - began
            if logits is None:
                self._end("cancelled")
                return None
            if self._is_complete():  # before its first token: the constraint allows nothing but an empty answer
                self._end("stop")
                return None
            token = self._sampler.choose(logits[-1], self._allowed())
            if self._following is not None and token.id not in self._sampling.stop_ids:
                self._following.advance(token.id)
        except BaseException:
            self._end("cancelled", whole=False)
            raise
        self._answer.append(token.id)
        if token.id in self._sampling.stop_ids or self._is_complete():
            self._end("stop")
        elif len(self._answer) == self._most_tokens:
            self._end("length")
        return token

    def _allowed(self) -> np.ndarray | None:
        """The ids the constraint lets through, with those that end the answer where it may end."""
        if self._following is None:
            return None
        allowed = self._following.allowed()
        if allowed is None or not self._following.accepting:
            return allowed
        return merged(allowed, self._sampling.stop_ids)

    def _is_complete(self) -> bool:
        return self._following is not None and self._following.finished

    def _read_prompt(self) -> np.ndarray | None:
        """The logits after the prompt, or None if cancelled on the way."""
        with self._engine._lock:
            began = time.perf_counter()
            self._queued = began - self._started
            self._sequence, self._reused = self._engine._take(self._prompt)
        self._held = self._prompt[: self._reused]
        logits = None
        while len(self._held) < len(self._prompt):
            if self._cancelled.is_set():
                return None
            chunk = self._prompt[len(self._held) : len(self._held) + PROMPT_CHUNK]
            last = len(self._held) + len(chunk) == len(self._prompt)
            logits = self._compute(chunk, "last" if last else "none")
        self._prefill = time.perf_counter() - began
        return logits

    def _compute(self, ids: list[int], wanted: Literal["last", "none"]) -> np.ndarray | None:
        if self._cancelled.is_set() or self._sequence is None:
            return None
        with self._engine._lock:
            logits = self._engine._step(self._sequence, ids, wanted)
        self._held += ids
        return logits

    def _end(self, reason: Literal["stop", "length", "cancelled"], *, whole: bool = True) -> None:
        """`whole`: the caches agree with what they are said to hold. After an error they may not."""
        if self._sequence is not None:
            with self._engine._lock:
                if whole and self._held:
                    self._engine._give(self._held, self._sequence)
                else:
                    self._sequence.close()
            self._sequence = None
        self._stopped = Stopped(
            reason=reason,
            prompt_tokens=len(self._prompt),
            reused_tokens=self._reused,
            output_tokens=len(self._answer),
            seed=self._sampler.seed,
            seconds_queued=self._queued,
            seconds_prefill=self._prefill,
            seconds_decode=self._decode,
        )


def shared_start(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    for n, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return n
    return min(len(one), len(other))
