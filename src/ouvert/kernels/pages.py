"""What stands before the bytes of a page: docs/formats/cache.md. Needs no native part."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

# Tokens of a page: the keys of one block of the native caches.
PAGE_TOKENS = 64

MAGIC = b"OUVPAGE\0"
VERSION = 2
CACHE_TYPES = {"f16": 0, "f32": 1, "q8": 2, "f64": 3}

START = struct.Struct("<8sIIIII")  # magic, version, cache type, tokens, layers, groups
LAYER = struct.Struct("<IIIq")  # kind, heads, dim, window (-1: none)
GROUP = struct.Struct("<QQ")  # bytes of a block, 1 if it follows and 0 for a hole


# Kinds of layers, by what they keep of a sequence: `Layer.kind`.
KEYS_AND_VALUES = 0
LATENTS = 1  # the kind of a layer that keeps one vector a token
STATE = 2  # the kind of a layer that keeps a state


# How many states a sequence holds: kStateEvery, kStateBytes, kMostStates and kLeastStates of native/cache.h.
STATE_EVERY, STATE_BYTES, MOST_STATES, LEAST_STATES = 4, 128 << 20, 16, 2


def states_held(tokens: int, state_bytes: int) -> int:
    """How many states a sequence of so many tokens holds at most, of so many bytes each in all layers together.

    Raises nothing.
    """
    pages = -(-tokens // PAGE_TOKENS)
    far_back = min(max(STATE_BYTES // max(state_bytes, 1), LEAST_STATES), MOST_STATES)
    return min(pages, min(pages // STATE_EVERY, far_back) + 3)


class Layer(NamedTuple):
    """What one layer keeps: keys and values of every token, (kv heads, head_dim); latents, (how much of one is a value,
    its width); or a state, (1, how many numbers). `window` is -1 for none."""

    kind: int
    heads: int
    dim: int
    window: int

    @classmethod
    def of(cls, memory: Any) -> Self:
        """What models.KeyValueMemory, LatentMemory or StateMemory describes. Raises nothing."""
        if hasattr(memory, "value_width"):
            return cls(LATENTS, memory.value_width, memory.width, -1)
        if hasattr(memory, "channels"):
            return cls(STATE, 1, memory.numbers, -1)
        return cls(KEYS_AND_VALUES, memory.kv_heads, memory.head_dim, -1 if memory.window is None else memory.window)


@dataclass(frozen=True, slots=True)
class PageShape:
    """What pages of one runner have in common."""

    cache_type: str
    layers: tuple[Layer, ...]
    block_bytes: tuple[int, ...]  # by group


@dataclass(frozen=True, slots=True)
class PageHeader:
    """`present`: by group, whether its block follows.

    Its properties raise nothing.
    """

    shape: PageShape
    tokens: int
    present: tuple[bool, ...]

    @property
    def size(self) -> int:
        """Bytes of the header."""
        return START.size + LAYER.size * len(self.shape.layers) + GROUP.size * len(self.shape.block_bytes)

    @property
    def bytes_of_blocks(self) -> int:
        """Bytes of the blocks that follow the header."""
        return sum(size for size, there in zip(self.shape.block_bytes, self.present, strict=True) if there)

    def to_bytes(self) -> bytes:
        """The header as it stands before the blocks. Raises nothing."""
        shape = self.shape
        start = START.pack(
            MAGIC, VERSION, CACHE_TYPES[shape.cache_type], self.tokens, len(shape.layers), len(shape.block_bytes)
        )
        layers = b"".join(LAYER.pack(*layer) for layer in shape.layers)
        groups = b"".join(GROUP.pack(size, there) for size, there in zip(shape.block_bytes, self.present, strict=True))
        return start + layers + groups

    @classmethod
    def of(cls, shape: PageShape, data: memoryview) -> Self:
        """The header of `data`, which must be a whole page of this shape. Raises ValueError for anything else.

        Damage within the blocks cannot be seen: keep a digest beside them.
        """
        most = cls(shape, PAGE_TOKENS, (True,) * len(shape.block_bytes))
        if len(data) < most.size:
            raise refused(f"{len(data)} bytes", f"at least the {most.size} of its header")
        magic, version, cache_type, tokens, layers, groups = START.unpack_from(data)
        wanted = (MAGIC, VERSION, CACHE_TYPES[shape.cache_type])
        if (magic, version, cache_type) != wanted:
            raise refused(f"magic, version and cache type {magic!r}, {version}, {cache_type}", str(wanted)[1:-1])
        if not 1 <= tokens <= PAGE_TOKENS:
            raise refused(f"{tokens} tokens", f"1 to {PAGE_TOKENS}")
        if (layers, groups) != (len(shape.layers), len(shape.block_bytes)):
            raise refused(f"{layers} layers in {groups} groups", f"{len(shape.layers)} in {len(shape.block_bytes)}")
        at = START.size
        for n, layer in enumerate(shape.layers):
            found = Layer(*LAYER.unpack_from(data, at))
            if found != layer:
                raise refused(f"layer {n} of {found}", str(layer))
            at += LAYER.size
        present: list[bool] = []
        for n, size in enumerate(shape.block_bytes):
            found_size, there = GROUP.unpack_from(data, at)
            if found_size != size or there not in (0, 1):
                raise refused(f"{found_size} bytes in group {n}, marked {there}", f"{size}, marked 0 or 1")
            present.append(bool(there))
            at += GROUP.size
        header = cls(shape, tokens, tuple(present))
        if len(data) != at + header.bytes_of_blocks:
            raise refused(f"{len(data)} bytes", f"{at + header.bytes_of_blocks} as its header says")
        return header


def refused(given: str, expected: str) -> ValueError:
    return ValueError(
        f"page_from: the page has {given}, expected {expected}. It is damaged or of another model or build; "
        "compute its tokens again."
    )


def check_resumption(tokens: Sequence[int], length: int, capacity: int) -> None:
    """Raises ValueError unless pages of so many tokens each hold the first `length` of a sequence."""
    if not 0 <= length <= capacity:
        raise ValueError(
            f"resume: length is {length} and capacity {capacity}, expected 0 <= length <= capacity. "
            "Ask for a larger capacity."
        )
    for n in range(-(-length // PAGE_TOKENS)):
        needed = min(PAGE_TOKENS, length - n * PAGE_TOKENS)
        if n >= len(tokens) or tokens[n] < needed:
            held = f"page {n} holds {tokens[n]} tokens" if n < len(tokens) else f"there are {len(tokens)} pages"
            raise ValueError(
                f"resume: {held}, expected {needed} in page {n} for a length of {length}. Ask for a smaller length."
            )
