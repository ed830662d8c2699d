"""What a program keeps of its steps for whoever looks: which values, which rows of them, and where they are read."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ouvert.kernels.trace import Value

Array = np.ndarray[Any, np.dtype[Any]]
# Every row; of every sequence the one of its last new token; or those at these positions of their sequence.
KeptRows = Literal["all", "last"] | Sequence[int]

# Rows of attention whose weights nobody keeps have room for the next multiple of so many positions.
ROOM = 512
# Bytes of what one step may keep, unless somebody allows for more.
SEEN_LIMIT = 2 << 30


@dataclass(frozen=True, eq=False)
class InArena:
    """A value that lies in the arena until the next step; `place` is None for the result, which every step returns."""

    value: Value
    place: Any

    def bytes_of_row(self, positions: int) -> int:
        return 4 * self.value.width


@dataclass(frozen=True, eq=False)
class RowsOfLayer:
    """A native instruction that shows where the heads of one layer look."""

    native: Any
    q_heads: int


@dataclass(frozen=True, eq=False)
class OfAttention:
    """One of the things that it shows."""

    layer: RowsOfLayer
    value: Value

    def width(self, positions: int) -> int:
        """Numbers of one row, in a step whose longest sequence has so many positions."""
        return self.layer.q_heads * positions if self.value.apart == "weights" else self.value.width

    def bytes_of_row(self, positions: int) -> int:
        return 4 * self.width(positions)


Kept = InArena | OfAttention


@dataclass(frozen=True)
class Tokens:
    """The new tokens of one native step: how many of each sequence, after how many, and which of them are wanted.

    `ends`: the last of a sequence is also its last in the whole step, which may be longer than a native one.
    """

    counts: Sequence[int]
    lengths: Sequence[int]
    wanted: Sequence[str]
    ends: bool = True

    @property
    def positions(self) -> Array:
        """The position of each token in its sequence."""
        parts = [np.arange(start, start + n) for start, n in zip(self.lengths, self.counts, strict=True)]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence after the step."""
        return max((start + n for start, n in zip(self.lengths, self.counts, strict=True)), default=0)

    def chosen(self, rows: KeptRows) -> Array:
        """Which of the tokens are meant, ascending."""
        if rows == "last":
            ends = np.cumsum(self.counts) - 1
            return ends[np.asarray(self.counts) > 0] if self.ends else ends[:0]
        if rows == "all":
            return np.arange(sum(self.counts))
        return np.flatnonzero(np.isin(self.positions, np.asarray(list(rows), np.int64)))

    def chosen_of(self, value: Value, rows: KeptRows) -> Array:
        """The same of a value, whose rows may be those of the wanted tokens alone."""
        if value.rows == "tokens":
            return self.chosen(rows)
        starts = np.cumsum(self.counts) - self.counts
        each = zip(starts, self.counts, self.wanted, strict=True)
        picked = [np.arange(start, start + n)[{"all": 0, "last": n - 1, "none": n}[wish] :] for start, n, wish in each]
        return np.concatenate(picked) if picked else np.empty(0, np.int64)


class Looking:
    """The values that are watched, by name, and what the last step left of them."""

    def __init__(self, native: Any, kept: Mapping[str, Kept]) -> None:
        self.native, self.kept = native, dict(kept)
        self.limit = SEEN_LIMIT
        self.rows: dict[str, KeptRows] = dict.fromkeys(self.kept, "all")
        self.layers: dict[RowsOfLayer, list[tuple[str, OfAttention]]] = {}
        for name, each in self.kept.items():
            if isinstance(each, OfAttention):
                self.layers.setdefault(each.layer, []).append((name, each))
        self.bytes_of_row = sum(each.bytes_of_row(0) for each in self.kept.values())
        self.bytes_of_position = sum(each.bytes_of_row(1) - each.bytes_of_row(0) for each in self.kept.values())
        self.watches_result = any(isinstance(each, InArena) and each.place is None for each in self.kept.values())
        self._earlier: list[tuple[Tokens, dict[str, Array]]] = []  # native steps of the same step before the last one
        self._tokens: Tokens | None = None  # of the last native step
        self._under_way: Tokens | None = None
        self._order: Any = None  # what the native instructions were told to show, and where
        self._shown: dict[Value, tuple[Any, int, tuple[int, int]]] = {}  # type, where in its array, shape
        self._arrays: dict[Any, Array] = {}  # what the instructions write into
        self._copies: dict[Any, Array] | None = None  # the same after the last native step, once somebody has asked
        self._result: Array | None = None

    def keep(self, rows: KeptRows, names: Iterable[str]) -> None:
        chosen = list(names) or list(self.kept)
        if unknown := [name for name in chosen if name not in self.kept]:
            raise LookupError(self._not_watched("keep_rows", unknown))
        if isinstance(rows, str) and rows not in ("all", "last"):
            raise ValueError(f"keep_rows: rows is {rows!r}, expected all, last, or positions as whole numbers.")
        kept = rows if isinstance(rows, str) else tuple(int(position) for position in rows)
        self.rows |= dict.fromkeys(chosen, kept)

    def begin(self, tokens: Tokens) -> None:
        """A step of these tokens begins. Raises ValueError if what it would keep is more than the limit."""
        self._earlier, self._tokens = [], None
        count, longest = sum(tokens.counts), tokens.longest
        if count * (self.bytes_of_row + self.bytes_of_position * longest) <= self.limit:
            return
        sizes = {
            name: len(tokens.chosen_of(each.value, self.rows[name])) * each.bytes_of_row(longest)
            for name, each in self.kept.items()
        }
        work = max((self._bytes_of_work(layer, tokens) for layer in self.layers), default=0)
        if (total := sum(sizes.values()) + work) > self.limit:
            most = max(sizes, key=lambda name: sizes[name])
            rows = len(tokens.chosen_of(self.kept[most].value, self.rows[most]))
            raise ValueError(
                f"step: what is watched of it takes {total} bytes ({most} alone, {rows} rows, {sizes[most]}), expected "
                f"at most seen_limit, {self.limit}. Keep fewer rows (keep_rows), watch fewer layers, or raise it."
            )

    def _bytes_of_work(self, layer: RowsOfLayer, tokens: Tokens) -> int:
        """Of the weights of which shares are made, where it is not they that are kept."""
        rows = max(len(tokens.chosen(self.rows[name])) for name, _ in self.layers[layer])
        return 4 * rows * layer.q_heads * tokens.longest

    def before(self, tokens: Tokens) -> None:
        """A native step of these tokens begins: what the one before has left is put by."""
        if self._tokens is not None:
            self._earlier.append((self._tokens, {name: self._read(name, self._tokens) for name in self.kept}))
        self._tokens, self._under_way, self._copies = None, tokens, None
        if self.layers:
            self._show(tokens)

    def _show(self, tokens: Tokens) -> None:
        """Says to the instructions that show attention what they are to leave, unless it is what they left before."""
        positions = tokens.longest if self.bytes_of_position else -(-tokens.longest // ROOM) * ROOM
        chosen = {rows: tokens.chosen(rows).astype(np.int32) for rows in set(self.rows.values())}
        order = (sum(tokens.counts), positions, {rows: tuple(each) for rows, each in chosen.items()}, dict(self.rows))
        if self.bytes_of_position == 0 and order == self._order:
            return
        self._order, self._shown, room = order, {}, {np.float32: 0, np.int32: 0}
        for names in self.layers.values():
            for name, each in names:
                dtype: Any = np.int32 if each.value.integers else np.float32
                shape = len(chosen[self.rows[name]]), each.width(positions)
                self._shown[each.value] = dtype, room[dtype], shape
                room[dtype] += math.prod(shape)
        self._arrays = {dtype: np.zeros(count, dtype) for dtype, count in room.items()}
        wishes = []
        for layer, names in self.layers.items():
            wish: dict[str, Any] = dict.fromkeys(("weights", "sink", "top", "top_weights"))
            for name, each in names:
                wish[each.value.apart] = chosen[self.rows[name]], self._part(self._arrays, each.value)
            wishes.append((layer.native, *wish.values(), max(each.value.width // layer.q_heads for _, each in names)))
        self.native.show_rows(wishes, sum(tokens.counts), positions)

    def after(self, result: Array) -> None:
        """The native step has ended with this result. One that failed has left nothing to see."""
        self._tokens = self._under_way
        if self.watches_result:
            self._result = result.copy()

    def seen(self, name: str) -> Array:
        """(rows, width): `Program.seen`."""
        self._check(name)
        if self._tokens is None:
            return np.empty((0, self.kept[name].bytes_of_row(0) // 4), np.float32)
        parts = [earlier[name] for _, earlier in self._earlier] + [self._read(name, self._tokens)]
        if len(parts) == 1:
            return parts[0]
        each = self.kept[name]
        if isinstance(each, OfAttention) and each.value.apart == "weights":
            longest = max(part.shape[1] for part in parts) // each.layer.q_heads
            parts = [widened(part, each.layer.q_heads, longest) for part in parts]
        return np.concatenate(parts)

    def positions(self, name: str) -> Array:
        """`Program.seen_positions`."""
        self._check(name)
        steps = [tokens for tokens, _ in self._earlier] + ([] if self._tokens is None else [self._tokens])
        value = self.kept[name].value
        parts = [tokens.positions[tokens.chosen_of(value, self.rows[name])] for tokens in steps]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _read(self, name: str, tokens: Tokens) -> Array:
        """What the last native step has left."""
        each = self.kept[name]
        if isinstance(each, OfAttention):
            if self._copies is None:  # the next step may write in their place, if it needs as much room
                fresh = self.bytes_of_position > 0
                self._copies = {dtype: each if fresh else each.copy() for dtype, each in self._arrays.items()}
            return self._part(self._copies, each.value)
        if each.place is None:
            return np.empty((0, each.value.width), np.float32) if self._result is None else self._result
        out = np.empty((self.native.rows_of(each.place), each.value.width), np.float32)
        self.native.read(each.place, out)
        rows = out.view(np.int32) if each.value.integers else out
        if each.value.rows == "wanted" or self.rows[name] == "all":
            return rows
        return rows[tokens.chosen(self.rows[name])]

    def _part(self, arrays: dict[Any, Array], value: Value) -> Array:
        """The rows of a value in the arrays that the values of attention share."""
        dtype, start, shape = self._shown[value]
        return arrays[dtype][start : start + math.prod(shape)].reshape(shape)

    def _check(self, name: str) -> None:
        if name not in self.kept:
            raise LookupError(self._not_watched("seen", [name]))

    def _not_watched(self, operation: str, names: Iterable[str]) -> str:
        return (
            f"{operation}: {', '.join(names)} is not watched; watched are {sorted(self.kept)}. Name it in "
            "kernels.build(watch=...)."
        )


def widened(rows: Array, heads: int, positions: int) -> Array:
    """Rows of attention over more positions, of which they see nothing."""
    cut = rows.reshape(len(rows), heads, rows.shape[1] // heads)
    return np.pad(cut, ((0, 0), (0, 0), (0, positions - cut.shape[2]))).reshape(len(rows), heads * positions)
