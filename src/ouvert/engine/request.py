"""One answer on its way through the engine: what was asked, how far it has come, what it holds.

A request is of the engine; its `sequence` is of the runner, which knows tokens and caches alone.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Literal

import numpy as np

from ouvert.engine.constraints.grammar import merged_ids
from ouvert.engine.interface import ConstraintState, ExpertUse, Reading, Sampling, Stopped, Token
from ouvert.engine.prefixes.kept import Fetch
from ouvert.engine.prefixes.scope import Scope
from ouvert.engine.prefixes.tree import EXPANDED, Node
from ouvert.engine.runners.interface import RunnerSequence
from ouvert.engine.sampler import Sampler
from ouvert.engine.variant import Variant

Reason = Literal["stop", "length", "repetition", "cancelled", "timeout"]

# Tokens that may lie ready before an answer waits for its reader.
MOST_UNREAD = 512
# Tokens that are computed in the expanded form come in so many: what follows the last of them is cheaper in the other.
EXPANDED_STEP = 256
NOT_WATCHED: frozenset[str] = frozenset()
LOOKED_EVERY = 16  # tokens of an answer, between two looks at whether it goes in circles


@dataclass(slots=True)
class Scoring:
    """A text that is scored: `ids`, whose tokens from `start` on (1 or later) are reported with the `top` likeliest.

    Its beginning of `keeps` tokens, `start` - 1 or more, is left for others. `found`: the tokens reported so far.
    """

    ids: list[int]
    start: int
    top: int
    keeps: int
    found: list[Token] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Request:
    """Belongs to the engine's thread once it is submitted, but for `out`, `cancelled` and `ended`.

    `tokens` are the prompt's `prompt_tokens`, then the answer's; the caches of `sequence` hold the first `cached` of
    them. `out` takes how far the prompt is read, the answer's tokens, and at the end None or the error that ended it.
    `deadline` is on time.perf_counter's clock. With `scoring` nothing is written: `tokens` are all ids but the last,
    and it ends when they are read; such requests wait behind those that write.
    """

    id: int
    tokens: list[int]
    prompt_tokens: int
    sampling: Sampling
    sampler: Sampler
    constraint_state: ConstraintState | None
    stop_ids: tuple[int, ...]  # those of `sampling` that this vocabulary has
    most_tokens: int
    deadline: float | None
    variant: Variant
    scope: Scope  # whose kept prefixes it may use, and adds to: of its owner and its variant
    scoring: Scoring | None = None
    held: object = None  # what the runner needs for its variant
    expanded: int = 0  # tokens of the prompt, from the first on, that are computed in the expanded form
    out: "SimpleQueue[Reading | Token | BaseException | None]" = field(default_factory=SimpleQueue)
    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    stopped: Stopped | None = None

    sequence: RunnerSequence | None = None
    cached: int = 0
    nodes: list[Node] = field(default_factory=list)  # kept pages that it uses
    behind: "Request | None" = None  # reads now what this one starts with
    leaves: bool = True  # what it computed is kept; False: it holds what was to be forgotten
    fetch: Fetch | None = None  # of pages that the disk has
    asked_disk: bool = False
    reused: int | None = None  # tokens found in a cache when it was first begun

    submitted: float = field(default_factory=time.perf_counter)
    begun: float | None = None
    read: float | None = None  # when its first logits were there
    joules: float | None = None  # its share of what steps used; None where the machine does not say
    experts: ExpertUse | None = None  # its share of what steps read of experts on disk
    seen: Mapping[str, np.ndarray] | None = None  # watched values of the last token that was computed

    @property
    def place(self) -> tuple[bool, int]:
        """Its place in the queues, the smallest first."""
        return self.scoring is not None, self.id

    @property
    def is_fetching(self) -> bool:
        """Whether pages are on their way from the disk."""
        return self.fetch is not None and not self.fetch.over

    @property
    def keys(self) -> list[int]:
        """The tokens as kept prefixes know them: those of the expanded form are others than the same in the other."""
        if not self.expanded:
            return self.tokens
        return [token + EXPANDED for token in self.tokens[: self.expanded]] + self.tokens[self.expanded :]

    @property
    def reusable(self) -> list[int]:
        """The keys that may come from a cache: before the first token whose logits are needed."""
        return self.keys[: len(self.tokens) - 1 if self.scoring is None else self.next_row]

    @property
    def left(self) -> list[int]:
        """The keys that it will leave for others."""
        return self.keys if self.scoring is None else self.keys[: self.scoring.keeps]

    @property
    def next_row(self) -> int:
        """Of a text that is scored: the first position whose logits are still needed."""
        return 0 if self.scoring is None else self.scoring.start - 1 + len(self.scoring.found)

    @property
    def gives_rows(self) -> bool:
        """Whether each token that is read next gives a row of logits."""
        return self.scoring is not None and self.cached >= self.next_row

    @property
    def piece(self) -> int:
        """Tokens that one step may read: a text that is scored is cut where logits begin to be needed, and where its
        beginning is left for others."""
        cuts = () if self.scoring is None else (self.next_row, self.scoring.keeps)
        return min((cut for cut in cuts if cut > self.cached), default=len(self.tokens)) - self.cached

    @property
    def watched(self) -> frozenset[str]:
        """The names of values that come with its tokens."""
        return NOT_WATCHED if self.sampling.watch is None else self.sampling.watch.names

    @property
    def answer_tokens(self) -> int:
        return len(self.tokens) - self.prompt_tokens

    @property
    def stalled(self) -> bool:
        return self.out.qsize() >= MOST_UNREAD

    @property
    def complete(self) -> bool:
        """Whether its constraint lets nothing follow."""
        return self.constraint_state is not None and self.constraint_state.finished

    @property
    def outcome(self) -> Reason | None:
        """Why the answer ends behind its last token; None if it goes on."""
        if not self.answer_tokens:
            return None
        if self.tokens[-1] in self.sampling.stop_ids or self.complete:
            return "stop"
        if self.answer_tokens >= self.most_tokens:
            return "length"
        return "repetition" if self.circling else None

    @property
    def circling(self) -> bool:
        """Whether its repetition guard ends the answer here."""
        guard = self.sampling.repetition_guard
        # Looked at now and then, by the answer's own count: so it ends at the same token however steps fall.
        if not guard or self.answer_tokens % LOOKED_EVERY:
            return False
        return goes_in_circles(self.tokens[self.prompt_tokens :], guard)

    def tell_reading(self, now: float) -> None:
        """How far its prompt is read, unless its reader has not yet taken what was said before."""
        if self.scoring is None and self.out.empty() and self.begun is not None:
            reading = Reading(
                done=min(self.cached, self.prompt_tokens),
                total=self.prompt_tokens,
                reused=min(self.reused or 0, self.prompt_tokens),
                seconds=now - self.begun,
            )
            self.out.put(reading)

    def allowed(self) -> np.ndarray | None:
        """The ids its constraint lets through, with those that end the answer where it may end; None if any may come.

        Raises EngineError where the constraint cannot be followed further.
        """
        if self.constraint_state is None:
            return None
        allowed = self.constraint_state.allowed()
        if allowed is None or not self.constraint_state.accepting:
            return allowed
        return merged_ids(allowed, self.stop_ids)

    def leave_nothing(self) -> None:
        """Let nothing of the request be kept: it holds what is to be forgotten."""
        self.leaves = False
        if self.fetch is not None:
            self.fetch.wanted = False

    def wait(self) -> Stopped:
        """Wait until the request has left the engine. Safe from any thread."""
        self.ended.wait()
        if self.stopped is None:
            raise RuntimeError("a request ended without saying why")
        return self.stopped

    def end(self, reason: Reason, error: BaseException | None = None) -> None:
        """The request leaves the engine, and its reader is told."""
        now = time.perf_counter()
        begun = self.begun or now
        read = self.read or now
        self.stopped = Stopped(
            reason=reason,
            prompt_tokens=self.prompt_tokens,
            reused_tokens=self.reused or 0,
            output_tokens=self.answer_tokens,
            seed=self.sampler.seed,
            seconds_queued=begun - self.submitted,
            seconds_prefill=read - begun if self.begun else 0.0,
            seconds_decode=now - read if self.read else 0.0,
            joules=self.joules,
            experts=self.experts,
            variant=self.variant,
            expanded_tokens=self.expanded,
        )
        if self.fetch is not None:
            self.fetch.wanted = False
        self.ended.set()
        self.out.put(error)


def expanded_tokens(first_turn: int, prompt: int) -> int:
    """How many tokens of a prompt are computed in the expanded form. It follows from the request alone, so neither how
    the prompt is cut nor what is kept of it changes a number. docs/decisions/0012."""
    return max(0, min(first_turn, prompt)) // EXPANDED_STEP * EXPANDED_STEP


def goes_in_circles(tokens: Sequence[int], guard: int) -> bool:
    """Whether the end is one round of at most `guard` tokens again and again: for `guard` tokens, and three rounds."""
    for period in range(1, min(guard, len(tokens) // 3) + 1):
        again = max(guard, 3 * period) - period  # tokens that are what stood one round before
        if len(tokens) >= again + period and tokens[-again:] == tokens[-again - period : -period]:
            return True
    return False
