"""A recorded model, ready to run: sequences, steps, and what they cost."""

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Wanted = Literal["last", "all", "none"]

WANTED: dict[str, int] = {"none": 0, "last": 1, "all": 2}
# Tokens of one native step. More are cut up: the numbers stay the same, and the work area small.
MOST_TOKENS = 512


class Sequence:
    """The past of one sequence. Belongs to the program that made it."""

    __slots__ = ("capacity", "native")

    def __init__(self, native: Any, capacity: int) -> None:
        self.native, self.capacity = native, capacity

    @property
    def length(self) -> int:
        """Tokens it holds."""
        length: int = self.native.length
        return length

    def truncate(self, length: int) -> int:
        """Forget every token from `length` on. Returns the length that is left.

        That is `length` (or what there was, if less), except where a layer with a window has let go of keys that the
        next token would look at: then it is 0, and the sequence starts afresh. See Recorder.finish.
        """
        if length < 0:
            raise ValueError(f"truncate: length is {length}, expected 0 or more.")
        left: int = self.native.truncate(length)
        return left

    def close(self) -> None:
        """Give the memory back. The sequence is empty afterwards."""
        self.native.close()


class Program:
    """One model over any number of sequences: `engine`'s Runner. Steps run without the interpreter's lock.

    Not for use from several threads at once. A token's logits are the same bit for bit, whatever shares its step,
    however its prompt was cut, and for every number of threads and every instruction set.
    """

    def __init__(
        self, native: Any, *, width: int, cache_type: Literal["f16", "f32"], seen: Mapping[str, Any], holds: list[Any]
    ) -> None:
        self._native = native
        self._seen = dict(seen)
        self._holds = holds  # packed weights: the native program points into them
        self.vocabulary_size = width
        self.cache_type = cache_type
        self.threads: int = native.threads
        self.instruction_set: str = native.instruction_set

    def new_sequence(self, capacity: int) -> Sequence:
        """A sequence of up to `capacity` tokens; its memory grows as tokens come."""
        return Sequence(self._native.new_sequence(), capacity)

    def step(self, work: Ordered[tuple[Sequence, Array]], wanted: Wanted) -> Array:
        """Append each sequence's new ids (int32) and compute. float32 (rows, vocabulary).

        Rows: for every sequence the one after its last new token ("last"), after each of them ("all"), or none.
        Raises ValueError, and changes nothing, if a sequence would outgrow its capacity, comes twice, has nothing new,
        or an id is not in the vocabulary.
        """
        counts = [len(ids) for _, ids in work]
        for (sequence, _), count in zip(work, counts, strict=True):
            if count == 0 or sequence.length + count > sequence.capacity:
                raise ValueError(
                    f"step: {count} tokens for a sequence that holds {sequence.length} of at most "
                    f"{sequence.capacity}, expected at least one and room for all. Make it with a larger capacity."
                )
        if len(work) > 1 and len({id(sequence.native) for sequence, _ in work}) != len(work):
            raise ValueError("step: a sequence appears twice. Join its tokens, or use two steps.")
        total = sum(counts)
        if total <= MOST_TOKENS:
            return self._run(work, counts, wanted)
        return self._run_in_turns(work, wanted)

    def _run(self, work: Ordered[tuple[Sequence, Array]], counts: list[int], wanted: Wanted) -> Array:
        rows = len(work) if wanted == "last" else sum(counts) if wanted == "all" else 0
        logits = np.empty((rows, self.vocabulary_size), np.float32)
        ids = work[0][1] if len(work) == 1 else np.concatenate([new for _, new in work]) if work else np.empty(0)
        ids = np.ascontiguousarray(ids, np.int32)
        self._native.step([sequence.native for sequence, _ in work], counts, ids, WANTED[wanted], logits)
        return logits

    def _run_in_turns(self, work: Ordered[tuple[Sequence, Array]], wanted: Wanted) -> Array:
        """Sequence after sequence, MOST_TOKENS at a time."""
        self._native.check(np.ascontiguousarray(np.concatenate([new for _, new in work]), np.int32))
        rows = []
        for sequence, ids in work:
            for start in range(0, len(ids), MOST_TOKENS):
                chunk = ids[start : start + MOST_TOKENS]
                ends = start + len(chunk) == len(ids)
                now: Wanted = "none" if wanted == "last" and not ends else wanted
                rows.append(self._run([(sequence, chunk)], [len(chunk)], now))
        return np.concatenate(rows)

    def seen(self, name: str) -> Array:
        """A value that was watched when recording, as the last native step left it: (tokens, width)."""
        if name not in self._seen:
            raise LookupError(
                f"seen: {name} is not watched; watched are {sorted(self._seen)}. Watch it when recording."
            )
        value, integers = self._seen[name]
        out = np.empty((self._native.rows_of(value), value.width), np.float32)
        self._native.read(value, out)
        return out.view(np.int32) if integers else out

    def cache_bytes(self, tokens: int) -> int:
        """Bytes that the past of one sequence of so many tokens takes at most."""
        size: int = self._native.bytes_for(tokens)
        return size

    @property
    def cache_bytes_in_use(self) -> int:
        """Bytes of all sequences' pasts now."""
        size: int = self._native.cache_bytes_in_use
        return size

    @property
    def kinds(self) -> list[str]:
        """The kinds of its instructions, in their order."""
        return [kind for kind, _, _ in self._native.profile()]

    def profile(self, work: Ordered[tuple[Sequence, Array]], wanted: Wanted) -> list[tuple[str, float, int]]:
        """Run a step and say where its time went: (kind of instruction, seconds, instructions), the longest first."""
        self._native.profile()
        self._native.timed = True
        try:
            self.step(work, wanted)
        finally:
            self._native.timed = False
        kinds: dict[str, tuple[float, int]] = {}
        for kind, seconds, runs in self._native.profile():
            before = kinds.get(kind, (0.0, 0))
            kinds[kind] = (before[0] + seconds, before[1] + runs)
        return sorted(((kind, *both) for kind, both in kinds.items()), key=lambda row: -row[1])

    def step_without_work(self, work: Ordered[tuple[Sequence, Array]], wanted: Wanted) -> Array:
        """A step whose instructions are handed out and do nothing: what remains is overhead. The pasts are spoilt."""
        self._native.empty = True
        try:
            return self.step(work, wanted)
        finally:
            self._native.empty = False

    def close(self) -> None:
        """Let go of weights and threads. Neither it nor its sequences can be used afterwards."""
        self._native = None
        self._holds = []
