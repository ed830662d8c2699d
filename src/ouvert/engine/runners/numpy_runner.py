"""A runner over NumPy's operations: the definition of what a model computes, and what runs where nothing faster can."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any
from weakref import WeakSet

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from ouvert.arithmetic import Cache, Carrier, ChangingTap, Latents, LowRank, Ops, Recorder, State, Tap
from ouvert.engine.runners.adapters import RunnerAdapters
from ouvert.engine.runners.changes import NONE, Changes, VariantChanges
from ouvert.engine.runners.interface import Wanted, shown_of, unknown_names
from ouvert.engine.variant import BASE, Variant
from ouvert.kernels import LATENTS, PAGE_TOKENS, STATE, Layer, PageHeader, PageShape, check_resumption
from ouvert.models import Model, Weight, carrying


class NumpyPage:
    """A copy of what up to PAGE_TOKENS tokens left in all layers, in one array, zeros where there is nothing.

    Laid out layer after layer: keys, then values, (kv_heads, PAGE_TOKENS, head_dim) each; latents, (PAGE_TOKENS,
    width); or the last inputs of the convolution and then the state after the last of these tokens, in one vector.
    """

    def __init__(self, shape: PageShape, tokens: int, blocks: np.ndarray, holders: "Holders") -> None:
        self.shape, self._tokens = shape, tokens
        self._blocks: np.ndarray | None = blocks
        holders.add(self)

    @property
    def tokens(self) -> int:
        self.layers()
        return self._tokens

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part in self.layers())

    def layers(self) -> list[np.ndarray]:
        """A view of each layer's part, of dims_of it."""
        if self._blocks is None:
            raise ValueError("using a page: it was closed, expected an open one. Close pages after their last use.")
        views, at = [], 0
        for layer in self.shape.layers:
            dims = dims_of(layer)
            views.append(self._blocks[at : at + math.prod(dims)].reshape(dims))
            at += math.prod(dims)
        return views

    def read(self) -> memoryview:
        self.layers()
        header = PageHeader(self.shape, self._tokens, (True,)).to_bytes()
        return memoryview(header + np.asarray(self._blocks).tobytes())

    def close(self) -> None:
        self._blocks = None

    @property
    def pages_held(self) -> int:
        return int(self._blocks is not None)


def dims_of(layer: Layer) -> tuple[int, ...]:
    """The shape of a layer's part of a page."""
    if layer.kind == LATENTS:
        return PAGE_TOKENS, layer.dim
    return (layer.dim,) if layer.kind == STATE else (2, layer.heads, PAGE_TOKENS, layer.dim)


class NumpySequence:
    """Keys, values and states as they are computed; arithmetic.Cache behind the runner's face."""

    def __init__(
        self,
        cache: Cache,
        shape: PageShape,
        dtype: type[np.floating],
        holders: "Holders",
        changes: Changes = NONE,
        adapters: "tuple[NumpyAdapter, ...]" = (),
    ) -> None:
        self.cache, self.shape, self.dtype = cache, shape, dtype
        self.changes, self.adapters = changes, adapters
        self.holders = holders
        holders.add(self)

    @property
    def length(self) -> int:
        return self.cache.length

    @property
    def pages_held(self) -> int:
        return -(-self.length // PAGE_TOKENS)

    @property
    def expanded(self) -> int:
        return max((layer.expanded for layer in self.cache.layers if isinstance(layer, Latents)), default=0)

    @expanded.setter
    def expanded(self, tokens: int) -> None:
        for layer in self.cache.layers:
            if isinstance(layer, Latents):
                layer.expanded = tokens

    def truncate(self, length: int) -> None:
        self.cache.truncate(length)

    def page(self, n: int) -> NumpyPage:
        start = n * PAGE_TOKENS
        if not 0 <= start < self.length:
            raise ValueError(
                f"page: n is {n}, expected 0 to {-(-self.length // PAGE_TOKENS) - 1} for a sequence of {self.length} "
                f"tokens in pages of {PAGE_TOKENS}."
            )
        stop = min(start + PAGE_TOKENS, self.length)
        blocks = np.zeros(self.shape.block_bytes[0] // np.dtype(self.dtype).itemsize, self.dtype)
        page = NumpyPage(self.shape, stop - start, blocks, self.holders)
        for part, layer in zip(page.layers(), self.cache.layers, strict=True):
            if isinstance(layer, State):
                part[:] = layer.snapshots[stop].numbers
            elif isinstance(layer, Latents):
                part[: stop - start] = layer.keys[0, start:stop]
            else:
                part[0, :, : stop - start] = layer.keys[:, start:stop]
                part[1, :, : stop - start] = layer.values[:, start:stop]
        return page

    def close(self) -> None:
        self.cache.close()


class NumpyAdapter:
    """What an adapter adds to weights, by their names."""

    def __init__(self, pairs: Mapping[str, LowRank]) -> None:
        self.pairs = pairs
        self.nbytes = sum(pair.a.nbytes + pair.b.nbytes for pair in pairs.values())

    def scaled(self, factor: float) -> "NumpyAdapter":
        return NumpyAdapter({name: pair.scaled(factor) for name, pair in self.pairs.items()})


def adapted(model: Model, adapters: Sequence[NumpyAdapter]) -> Model:
    """The model, whose weights carry what these add, in their order."""

    def put(name: str, weight: Weight) -> Weight:
        additions = tuple(each.pairs[name] for each in adapters if name in each.pairs)
        return Carrier(weight, additions) if additions else weight

    return carrying(model, put) if adapters else model


# Whoever holds keys and values of one runner.
Holders = WeakSet[NumpyPage | NumpySequence]


Work = Sequence[tuple[NumpySequence, np.ndarray]]
Computed = tuple[np.ndarray, dict[str, np.ndarray]]  # rows of logits, and values that are watched
LOGITS = ""  # among named values


class NumpyRunner:
    """Weights in float32, products through NumPy's BLAS, which brings threads of its own.

    The last bits of a product depend on how many rows it has, so the numbers of a token may differ in float32's last
    digits with how its prompt was split.
    """

    instruction_set = "numpy"
    page_tokens = PAGE_TOKENS
    expert_reads = None

    def __init__(self, model: Model, ops: Ops) -> None:
        """`ops` are those the model's weights were placed with."""
        self.model: Model | None = model
        self.ops = ops
        self.vocabulary_size = int(model.config.vocab_size)
        self.width = int(model.config.hidden_size) if model.family.embeds else self.vocabulary_size
        self.threads = blas_threads()
        self.cache_type = "f32" if ops.dtype is np.float32 else "f64"
        layers = tuple(map(Layer.of, model.memories))
        values = sum(math.prod(dims_of(layer)) for layer in layers)
        self._shape = PageShape(self.cache_type, layers, (values * np.dtype(ops.dtype).itemsize,))
        self._holders: Holders = WeakSet()
        self._changes, self.adapters = VariantChanges(model), RunnerAdapters(model, NumpyAdapter)

    @property
    def page_bytes(self) -> int:
        return sum(self._shape.block_bytes)

    @property
    def cache_bytes_in_use(self) -> int:
        """Bytes in whole pages. Space into which arrays may grow is not counted."""
        return self.page_bytes * sum(holder.pages_held for holder in self._holders)

    def cache_bytes(self, tokens: int) -> int:
        return self.page_bytes * -(-tokens // PAGE_TOKENS)

    def check_variant(self, variant: Variant) -> object:
        held = self.adapters.hold(variant)
        self._changes.of(variant)
        return held

    def expands(self, variant: Variant) -> bool:
        return any(layer.kind == LATENTS for layer in self._shape.layers) and not self._changes.absorbed(variant)

    def new_sequence(self, capacity: int, variant: Variant = BASE) -> NumpySequence:
        cache = self.ops.new_cache(self._open().memories)
        changes, adapters = self._changes.of(variant), self.adapters.of(variant)
        return NumpySequence(cache, self._shape, self.ops.dtype, self._holders, changes, adapters)

    def page_from(self, data: Any) -> NumpyPage:
        view = memoryview(data).cast("B")
        header = PageHeader.of(self._shape, view)
        blocks = np.frombuffer(bytes(view[header.size :]), self.ops.dtype)
        return NumpyPage(self._shape, header.tokens, blocks, self._holders)

    def resume(self, pages: Sequence[NumpyPage], length: int, capacity: int, variant: Variant = BASE) -> NumpySequence:
        """Copies. Keys and values can be resumed anywhere, states at the end of a page only, whole or not."""
        check_resumption([page.tokens for page in pages], length, capacity)
        if strange := [n for n, page in enumerate(pages) if page.shape is not self._shape]:
            raise ValueError(f"resume: page {strange[0]} is of another runner. Take its bytes to this one: page_from.")
        whole, rest = divmod(length, PAGE_TOKENS)
        if rest and pages[whole].tokens != rest and any(layer.kind == STATE for layer in self._shape.layers):
            length = whole * PAGE_TOKENS
        sequence = self.new_sequence(capacity, variant)
        for n, page in enumerate(pages[: -(-length // PAGE_TOKENS)]):
            count = min(PAGE_TOKENS, length - n * PAGE_TOKENS)
            for layer, part in zip(sequence.cache.layers, page.layers(), strict=True):
                if isinstance(layer, State):
                    layer.resume(layer.length + count, part.copy())
                elif isinstance(layer, Latents):
                    layer.append(part[:count])
                else:
                    layer.append(part[0, :, :count].swapaxes(0, 1), part[1, :, :count].swapaxes(0, 1))
        return sequence

    def step(self, work: Sequence[tuple[NumpySequence, np.ndarray]], wanted: Wanted | Sequence[Wanted]) -> np.ndarray:
        return self._forward(work, wanted)[0]

    def check_names(self, names: Iterable[str]) -> None:
        if (problem := unknown_names(names, self._open())) is not None:
            raise problem

    @cached_property
    def shown(self) -> Mapping[str, int]:
        return shown_of(self._open())

    def step_watched(
        self,
        work: Sequence[tuple[NumpySequence, np.ndarray]],
        wanted: Wanted | Sequence[Wanted],
        names: frozenset[str],
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return self._forward(work, wanted, names)

    def _forward(self, work: Work, wanted: Wanted | Sequence[Wanted], names: frozenset[str] = frozenset()) -> Computed:
        """One forward pass for those of the same adapters, and what they give in the order of `work`."""
        wishes = [wanted] * len(work) if isinstance(wanted, str) else list(wanted)
        groups: dict[tuple[NumpyAdapter, ...], list[int]] = {}
        for n, (sequence, _) in enumerate(work):
            groups.setdefault(sequence.adapters, []).append(n)
        found: list[dict[str, np.ndarray]] = [{} for _ in work]
        for group in groups.values():
            theirs = [work[n] for n in group]
            theirs_wanted = wishes if len(groups) == 1 else [wishes[n] for n in group]
            values = self._forward_alike(theirs, theirs_wanted, names)
            for n, parts in zip(group, parts_of(theirs, theirs_wanted, values), strict=True):
                found[n] = parts
        whole = {name: of_one_length([parts[name] for parts in found]) for name in (LOGITS, *names)}
        rows = whole.pop(LOGITS).astype(np.float32, copy=False)
        return rows, {name: seen.reshape(len(seen), math.prod(seen.shape[1:])) for name, seen in whole.items()}

    def _forward_alike(self, work: Work, wanted: list[Wanted], names: frozenset[str]) -> dict[str, np.ndarray]:
        """The logits and these values of sequences with the same adapters."""
        batch = self.ops.begin([(sequence.cache, ids) for sequence, ids in work], wanted)
        recorder = Recorder(*names)
        tap: Tap = recorder if names else Tap()
        if any(sequence.changes for sequence, _ in work):
            changes = [sequence.changes for sequence, ids in work for _ in ids]
            tap = ChangingTap(changes, batch.positions, batch.wanted, tap)
        logits = adapted(self._open(), work[0][0].adapters).forward(batch, self.ops, tap)
        return {LOGITS: logits, **recorder.values()}

    def close(self) -> None:
        self.model = None

    def _open(self) -> Model:
        if self.model is None:
            raise RuntimeError("NumpyRunner: it was closed.")
        return self.model


def parts_of(work: Work, wanted: Sequence[Wanted], values: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Each sequence's rows of values that have one for each token, or for each that was wanted."""
    tokens = np.array([len(ids) for _, ids in work])
    most = {"all": sys.maxsize, "last": 1, "none": 0}
    rows = np.array([min(len(ids), most[wish]) for (_, ids), wish in zip(work, wanted, strict=True)])
    parts: list[dict[str, np.ndarray]] = [{} for _ in work]
    for name, value in values.items():
        ends = np.cumsum(rows if len(value) == rows.sum() else tokens)
        for part, its in zip(parts, np.split(value, ends[:-1]), strict=True):
            part[name] = its
    return parts


def of_one_length(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One below the other; rows of attention are as long as the longest, and 0 beyond what a token sees."""
    if len(parts) == 1:
        return parts[0]
    length = max(part.shape[-1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0),) * (part.ndim - 1) + ((0, length - part.shape[-1]),)) for part in parts]
    )


def blas_threads() -> int:
    """Threads NumPy's products run on: 1 if its library cannot be asked."""
    return max((int(each["num_threads"]) for each in threadpool_info() if each["user_api"] == "blas"), default=1)


def limit_threads(threads: int | None) -> None:
    """Let NumPy's products, in the whole process, run on this many threads. None leaves it as it is."""
    if threads is not None:
        threadpool_limits(threads, user_api="blas")
