"""A runner over NumPy's operations: the definition of what a model computes, and what runs where nothing faster can."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any
from weakref import WeakSet

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from ouvert.arithmetic import Cache, ChangingTap, Latents, Ops, Recorder, State, Tap
from ouvert.engine.runners.changes import NONE, Changes, VariantChanges
from ouvert.engine.runners.interface import Wanted, shown_of, unknown_names
from ouvert.engine.variant import BASE, Variant
from ouvert.kernels import LATENTS, PAGE_TOKENS, STATE, Layer, PageHeader, PageShape, check_resumption
from ouvert.models import Model


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
    ) -> None:
        self.cache, self.shape, self.dtype, self.changes = cache, shape, dtype, changes
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


# Whoever holds keys and values of one runner.
Holders = WeakSet[NumpyPage | NumpySequence]


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
        self._changes = VariantChanges(model, "NumPy")

    @property
    def page_bytes(self) -> int:
        return sum(self._shape.block_bytes)

    @property
    def cache_bytes_in_use(self) -> int:
        """Bytes in whole pages. Space into which arrays may grow is not counted."""
        return self.page_bytes * sum(holder.pages_held for holder in self._holders)

    def cache_bytes(self, tokens: int) -> int:
        return self.page_bytes * -(-tokens // PAGE_TOKENS)

    def check_variant(self, variant: Variant) -> None:
        self._changes.of(variant)

    def expands(self, variant: Variant) -> bool:
        return any(layer.kind == LATENTS for layer in self._shape.layers) and not self._changes.absorbed(variant)

    def new_sequence(self, capacity: int, variant: Variant = BASE) -> NumpySequence:
        cache = self.ops.new_cache(self._open().memories)
        return NumpySequence(cache, self._shape, self.ops.dtype, self._holders, self._changes.of(variant))

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
        return self._forward(work, wanted, Tap())

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
        recorder = Recorder(*names)
        logits = self._forward(work, wanted, recorder)
        return logits, {name: seen.reshape(len(seen), -1) for name, seen in recorder.values().items()}

    def _forward(
        self, work: Sequence[tuple[NumpySequence, np.ndarray]], wanted: Wanted | Sequence[Wanted], tap: Tap
    ) -> np.ndarray:
        batch = self.ops.begin([(sequence.cache, ids) for sequence, ids in work], wanted)
        if any(sequence.changes for sequence, _ in work):
            changes = [sequence.changes for sequence, ids in work for _ in ids]
            tap = ChangingTap(changes, batch.positions, batch.wanted, tap)
        logits: np.ndarray = self._open().forward(batch, self.ops, tap)
        return logits.astype(np.float32, copy=False)

    def close(self) -> None:
        self.model = None

    def _open(self) -> Model:
        if self.model is None:
            raise RuntimeError("NumpyRunner: it was closed.")
        return self.model


def blas_threads() -> int:
    """Threads NumPy's products run on: 1 if its library cannot be asked."""
    return max((int(each["num_threads"]) for each in threadpool_info() if each["user_api"] == "blas"), default=1)


def limit_threads(threads: int | None) -> None:
    """Let NumPy's products, in the whole process, run on this many threads. None leaves it as it is."""
    if threads is not None:
        threadpool_limits(threads, user_api="blas")
