"""A traced model, ready to run: sequences, steps, and what they cost."""

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Ordered
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakSet

import numpy as np

from ouvert.arithmetic import WeightShape
from ouvert.kernels.looking import KeptRows, Looking, Tokens
from ouvert.kernels.pages import PAGE_TOKENS, Layer, PageHeader, PageShape, check_resumption

if TYPE_CHECKING:
    from ouvert.kernels.adapters import Adapters
    from ouvert.kernels.edits import Edits

Array = np.ndarray[Any, np.dtype[Any]]
Wanted = Literal["last", "all", "none"]
CacheType = Literal["f16", "f32", "q8"]  # how keys and values are kept: docs/formats/cache.md

WANTED: dict[str, int] = {"none": 0, "last": 1, "all": 2}
# Tokens of one native step. More are cut up: the numbers stay the same, and the work area small.
MOST_TOKENS = 512


class GroupUse(NamedTuple):
    """For layers that look equally far back: how many blocks are in use, and how many references to them there are."""

    blocks: int
    references: int


class Page:
    """What 64 tokens of a sequence left in the caches, or its last few tokens. Never changes.

    Holds the blocks it shares until it is closed, whatever becomes of the sequence. Layers with a window that had let
    go of them leave a hole. Belongs to the program that made it; read() may run in another thread beside steps.

    `Sequence.page` and `Program.page_from` make one. Its methods and properties raise ValueError once it is closed;
    closing raises nothing.
    """

    __slots__ = ("_native", "_shape")

    def __init__(self, native: Any, shape: PageShape) -> None:
        self._native, self._shape = native, shape

    @property
    def tokens(self) -> int:
        """How many tokens: 1 to 64."""
        tokens: int = self._open().tokens
        return tokens

    @property
    def nbytes(self) -> int:
        """Bytes of the blocks it holds, shared or not."""
        size: int = self._open().bytes
        return size

    @property
    def blocks_held(self) -> tuple[int, ...]:
        """By group: 1, or 0 for a hole."""
        native = self._open()
        return tuple(int(native.holds(group)) for group in range(len(self._shape.block_bytes)))

    def read(self) -> memoryview:
        """A copy to keep elsewhere: `Program.page_from` makes a page of it again. docs/formats/cache.md."""
        native = self._open()
        header = PageHeader(self._shape, native.tokens, tuple(map(bool, self.blocks_held)))
        data = np.empty(header.size + header.bytes_of_blocks, np.uint8)
        data[: header.size] = np.frombuffer(header.to_bytes(), np.uint8)
        native.read(data[header.size :])
        return data.data

    def close(self) -> None:
        """Let go of the blocks. It cannot be used afterwards; closing again does nothing."""
        if self._native is not None:
            self._native.close()
            self._native = None

    def _open(self) -> Any:
        if self._native is None:
            raise ValueError("using a page: it was closed, expected an open one. Close pages after their last use.")
        return self._native


class Sequence:
    """The cache of one sequence. Belongs to the program that made it.

    `Program.new_sequence` and `Program.resume` make one. Its properties raise nothing.
    """

    __slots__ = ("_adapters", "_edits", "_program", "_shape", "capacity", "native")

    def __init__(self, native: Any, capacity: int, program: Any, shape: PageShape) -> None:
        self.native, self.capacity = native, capacity
        self._program, self._shape = program, shape
        self._edits: Edits | None = None
        self._adapters: tuple[Adapters, ...] = ()

    @property
    def edits(self) -> "Edits | None":
        """What is changed of named values while its tokens are computed, from the next step on. None at first."""
        return self._edits

    @edits.setter
    def edits(self, edits: "Edits | None") -> None:
        self.native.edit(None if edits is None else edits.native)
        self._edits = edits

    @property
    def adapters(self) -> "tuple[Adapters, ...]":
        """What is added to products while its tokens are computed, from the next step on, in this order."""
        return self._adapters

    @adapters.setter
    def adapters(self, adapters: "Ordered[Adapters]") -> None:
        self.native.adapt([each.native for each in adapters])
        self._adapters = tuple(adapters)

    @property
    def length(self) -> int:
        """Tokens it holds."""
        length: int = self.native.length
        return length

    @property
    def expanded(self) -> int:
        """Tokens before this position are computed in the expanded form: `Tracer.attend_expanded`. 0 at first."""
        expanded: int = self.native.expanded
        return expanded

    @expanded.setter
    def expanded(self, tokens: int) -> None:
        self.native.expanded = tokens

    def truncate(self, length: int) -> int:
        """Forget every token from `length` on. Returns the length that is left.

        That is `length` (or what there was, if less), except where a layer with a window has let go of keys that the
        next token would look at: then it is 0, and the sequence starts afresh. See Tracer.finish. Raises ValueError for
        a length below 0.
        """
        if length < 0:
            raise ValueError(f"truncate: length is {length}, expected 0 or more.")
        left: int = self.native.truncate(length)
        return left

    def page(self, n: int) -> Page:
        """Its n-th 64 tokens, shared: the sequence goes on, and leaves them as they are. The last may be fewer.

        Raises ValueError for a page that it does not have.
        """
        if not 0 <= n * PAGE_TOKENS < self.length:
            raise ValueError(
                f"page: n is {n}, expected 0 to {-(-self.length // PAGE_TOKENS) - 1} for a sequence of {self.length} "
                f"tokens in pages of {PAGE_TOKENS}."
            )
        return Page(self._program.page(self.native, n), self._shape)

    @property
    def blocks_held(self) -> tuple[int, ...]:
        """By group: how many blocks it holds, shared or not."""
        return tuple(self.native.blocks_held(group) for group in range(len(self._shape.block_bytes)))

    def close(self) -> None:
        """Give the memory back. The sequence is empty afterwards. Raises nothing."""
        self.native.close()


class Program:
    """One model over any number of sequences: `engine`'s Runner. Steps run without the interpreter's lock.

    Not for use from several threads at once. A token's logits are the same bit for bit, whatever shares its step,
    however its prompt was cut, and for every number of threads and every instruction set.

    `Tracer.finish` and `kernels.build` make one. Its properties raise nothing.
    """

    def __init__(
        self,
        native: Any,
        *,
        vocabulary: int,
        width: int,
        cache_type: CacheType,
        layers: Iterable[Layer],
        looking: Looking,
        holds: list[Any],
        places: frozenset[str] = frozenset(),
        adaptable: Mapping[str, WeightShape] | None = None,
    ) -> None:
        self._native = native
        self._looking = looking
        self._holds = holds  # packed weights: the native program points into them
        self.vocabulary_size, self.width = vocabulary, width
        self.places = places  # names of values that it edits, of sequences that have edits
        self.adaptable = dict(adaptable or {})  # weights that adapters of sequences may add to
        self._fitting: WeakSet[Adapters] = WeakSet()  # adapters that were found to fit them
        self.cache_type = cache_type
        self._shape = PageShape(cache_type, tuple(layers), tuple(size for size, *_ in native.groups))
        self.threads: int = native.threads
        self.instruction_set: str = native.instruction_set

    def new_sequence(self, capacity: int) -> Sequence:
        """A sequence of up to `capacity` tokens; its memory grows as tokens come. Raises nothing."""
        return Sequence(self._native.new_sequence(), capacity, self._native, self._shape)

    def step(self, work: Ordered[tuple[Sequence, Array]], wanted: Wanted | Ordered[Wanted]) -> Array:
        """Append each sequence's new ids (int32) and compute. float32 (rows, width).

        Rows: for every sequence the one after its last new token ("last"), after each of them ("all"), or none; one
        wish for all sequences, or one for each. They come in the order of the sequences.

        Raises ValueError if a sequence would outgrow its capacity, comes twice, has nothing new, or an id is not in
        the vocabulary, or has edits or adapters that this program has no place for, and MemoryError if the caches
        cannot grow. Either way nothing has changed.
        """
        counts = [len(ids) for _, ids in work]
        each = [wanted] * len(work) if isinstance(wanted, str) else list(wanted)
        if len(each) != len(work) or not WANTED.keys() >= set(each):
            raise ValueError(
                f"step: wanted is {wanted} for {len(work)} sequences, expected one of {sorted(WANTED)}, or one of them "
                "for each sequence."
            )
        for (sequence, _), count in zip(work, counts, strict=True):
            if count == 0 or sequence.length + count > sequence.capacity:
                raise ValueError(
                    f"step: {count} tokens for a sequence that holds {sequence.length} of at most "
                    f"{sequence.capacity}, expected at least one and room for all. Make it with a larger capacity."
                )
        self._check_places(work)
        self._check_adapters(work)
        if len(work) > 1 and len({id(sequence.native) for sequence, _ in work}) != len(work):
            raise ValueError("step: a sequence appears twice. Join its tokens, or use two steps.")
        if self._looking.kept:
            self._looking.begin(Tokens(counts, [sequence.length for sequence, _ in work], each))
        try:
            if sum(counts) <= MOST_TOKENS:
                return self._run(work, counts, each)
            return self._run_in_turns(work, each)
        except MemoryError:
            limit = "no limit" if self.cache_limit is None else f"a limit of {self.cache_limit}"
            raise MemoryError(
                f"step: {sum(counts)} tokens need more than the caches can grow; they have {self.cache_bytes_in_use} "
                f"bytes in use and {limit}. Close sequences or pages, or raise cache_limit."
            ) from None

    def _check_places(self, work: Ordered[tuple[Sequence, Array]]) -> None:
        for sequence, _ in work:
            if sequence.edits is not None and not sequence.edits.places <= self.places:
                raise ValueError(
                    f"step: a sequence has edits of {sorted(sequence.edits.places)}, and this program has places for "
                    f"{sorted(self.places)}. Take the sibling with these places: Programs.sibling(places=...)."
                )

    def _check_adapters(self, work: Ordered[tuple[Sequence, Array]]) -> None:
        for sequence, _ in work:
            for adapter in sequence.adapters:
                if adapter not in self._fitting:
                    adapter.check(self.adaptable)
                    self._fitting.add(adapter)

    def _run(
        self, work: Ordered[tuple[Sequence, Array]], counts: list[int], wanted: list[Wanted], ends: bool = True
    ) -> Array:
        rows = sum(count if rows == "all" else rows == "last" for count, rows in zip(counts, wanted, strict=True))
        logits = np.empty((rows, self.width), np.float32)
        ids = work[0][1] if len(work) == 1 else np.concatenate([new for _, new in work]) if work else np.empty(0)
        ids = np.ascontiguousarray(ids, np.int32)
        natives = [sequence.native for sequence, _ in work]
        if self._looking.kept:
            self._looking.before(Tokens(counts, [sequence.length for sequence, _ in work], wanted, ends))
        self._native.step(natives, counts, [WANTED[rows] for rows in wanted], ids, logits)
        self._looking.after(logits)
        return logits

    def _run_in_turns(self, work: Ordered[tuple[Sequence, Array]], wanted: list[Wanted]) -> Array:
        """Sequence after sequence, MOST_TOKENS at a time. What they hold now is held until the end, to go back to."""
        self._native.check(np.ascontiguousarray(np.concatenate([new for _, new in work]), np.int32))
        before = [self._native.fork(sequence.native) for sequence, _ in work]
        rows = []
        try:
            for (sequence, ids), wish in zip(work, wanted, strict=True):
                for start in range(0, len(ids), MOST_TOKENS):
                    chunk = ids[start : start + MOST_TOKENS]
                    ends = start + len(chunk) == len(ids)
                    now: Wanted = "none" if wish == "last" and not ends else wish
                    rows.append(self._run([(sequence, chunk)], [len(chunk)], [now], ends))
        except MemoryError:
            for (sequence, _), held in zip(work, before, strict=True):
                sequence.native.swap(held)
            raise
        finally:
            for held in before:
                held.close()
        return np.concatenate(rows)

    # --- pages ---

    @property
    def page_tokens(self) -> int:
        """Tokens of a whole page."""
        return PAGE_TOKENS

    @property
    def page_bytes(self) -> int:
        """Bytes of a page without holes."""
        return sum(self._shape.block_bytes)

    def page_from(self, data: Any) -> Page:
        """The page that `Page.read` gave these bytes for (anything with a buffer).

        Raises ValueError if they are not a page of this model and cache type, and MemoryError. Damage within keys and
        values is not noticed: whoever stores pages keeps a digest.
        """
        view = memoryview(data).cast("B")
        header = PageHeader.of(self._shape, view)
        blocks = np.frombuffer(view, np.uint8)[header.size :]
        return Page(
            self._native.page_from(header.tokens, [int(there) for there in header.present], blocks), self._shape
        )

    def resume(self, pages: Ordered[Page], length: int, capacity: int) -> Sequence:
        """A sequence of up to `capacity` tokens that holds the first `length` that these pages describe.

        Or fewer, where layers with a window left holes: the longest start from which the next token finds all that it
        looks at, 0 if there is none. See `Sequence.length`. Whole pages are shared, a last one of which only a part is
        used is copied, and all stay as they are. Raises ValueError if the pages hold less, are closed or of another
        program, and MemoryError.
        """
        natives = [page._open() for page in pages]
        if strange := [n for n, native in enumerate(natives) if not self._native.owns(native)]:
            raise ValueError(f"resume: page {strange[0]} is of another program. Take its bytes to this one: page_from.")
        check_resumption([native.tokens for native in natives], length, capacity)
        return Sequence(self._native.resume(natives, length), capacity, self._native, self._shape)

    # --- memory ---

    @property
    def expands(self) -> bool:
        """Whether it has the expanded form: `Sequence.expanded` then means something."""
        return "attend expanded" in self.kinds

    def cache_bytes(self, tokens: int) -> int:
        """Bytes that the cache of one sequence of so many tokens takes at most. Raises nothing."""
        size: int = self._native.bytes_for(tokens)
        return size

    @property
    def cache_bytes_in_use(self) -> int:
        """Bytes of all blocks that sequences and pages hold now; a block they share counts once."""
        size: int = self._native.cache_bytes_in_use
        return size

    def blocks_in_use(self) -> tuple[GroupUse, ...]:
        """By group. The references are the sum of `blocks_held` of all sequences and pages. Raises nothing."""
        return tuple(GroupUse(blocks, references) for _, blocks, references in self._native.groups)

    @property
    def cache_limit(self) -> int | None:
        """Most bytes of blocks in use, or None. A step or page that needs more raises MemoryError."""
        limit: int = self._native.cache_limit
        return None if limit < 0 else limit

    @cache_limit.setter
    def cache_limit(self, limit: int | None) -> None:
        if limit is not None and limit < 0:
            raise ValueError(f"cache_limit: {limit} bytes, expected 0 or more, or None for no limit.")
        self._native.cache_limit = -1 if limit is None else limit

    # --- looking inside ---

    def seen(self, name: str) -> Array:
        """A value that was watched when tracing, of the last step: (rows, width), those of all its tokens in order.

        Or of the rows that `keep_rows` has named. docs/formats/taps.md has the width; rows of attention are as long as
        the longest sequence of the step, and 0 beyond what a token sees. Raises LookupError for a name that is not
        watched.
        """
        return self._looking.seen(name)

    def seen_positions(self, name: str) -> Array:
        """The position of each row of `seen(name)` in its sequence: int64 (rows,). Raises LookupError as `seen`."""
        return self._looking.positions(name)

    def keep_rows(self, rows: KeptRows, *names: str) -> None:
        """Which rows of these watched values the steps from now on keep; without names, of all of them.

        "all" (as it is at first), "last" (of every sequence the one of its last new token), or positions: whole
        numbers, those of every sequence that are among a step's new tokens. Values that have only the wanted rows are
        left as they are. Only these rows of attention are computed. Raises LookupError for a name that is not watched,
        and ValueError for other words.
        """
        self._looking.keep(rows, names)

    @property
    def seen_limit(self) -> int:
        """Most bytes of what one step may keep for `seen`; a step that would keep more raises ValueError."""
        return self._looking.limit

    @seen_limit.setter
    def seen_limit(self, limit: int) -> None:
        self._looking.limit = limit

    @property
    def kinds(self) -> list[str]:
        """The kinds of its instructions, in their order."""
        return [kind for kind, _, _ in self._native.profile()]

    def profile(self, work: Ordered[tuple[Sequence, Array]], wanted: Wanted) -> list[tuple[str, float, int]]:
        """Run a step and say where its time went: (kind of instruction, seconds, instructions), the longest first.

        Raises what `step` raises.
        """
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
        """A step whose instructions are handed out and do nothing: what remains is overhead. The caches are spoilt.

        Raises what `step` raises.
        """
        self._native.empty = True
        try:
            return self.step(work, wanted)
        finally:
            self._native.empty = False

    def native_sibling(self) -> Any:
        """An empty native program over the same threads and caches. Raises nothing."""
        return self._native.sibling()

    def close(self) -> None:
        """Let go of weights and threads. Neither it nor its sequences can be used afterwards. Raises nothing."""
        self._native = None
        self._holds = []
