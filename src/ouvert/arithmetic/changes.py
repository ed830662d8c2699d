"""Changes of named values while a model computes: what an edit does to a row, and the tap that does it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np

from ouvert.arithmetic.dense import Array
from ouvert.arithmetic.taps import Tap

Operation = Literal["add", "project_out", "replace", "scale", "zero"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """One operation on the rows of some tokens of one value. docs/formats/edits.md has the formulas.

    It changes the tokens from `start` to before `stop` (None: to the end), and of their rows the `columns`, ranges
    (from, to). `values` is (rows, columns), with one row for all of these tokens or one for
    each: what `add` adds, the direction that `project_out` removes, what `replace` puts there; of `scale` the factor,
    (1, 1), and of `zero` 0. `strength` 1 does all of it, 0 nothing. `experts`: the value is the weights of the chosen
    experts, and those of these experts alone are scaled or zeroed; it has no columns.
    """

    operation: Operation
    values: Array
    strength: float = 1.0
    start: int = 0
    stop: int | None = None
    columns: tuple[tuple[int, int], ...] = ()
    experts: tuple[int, ...] = ()

    @property
    def factor(self) -> float:
        """What `scale` and `zero` multiply with. Raises nothing."""
        return 1 + self.strength * (float(self.values[0, 0]) - 1)

    def row_of(self, position: int) -> Array:
        """The row of values for a token that it changes, as float64. Raises nothing."""
        return np.asarray(self.values[position - self.start if len(self.values) > 1 else 0], np.float64)

    def changes(self, position: int) -> bool:
        """Whether it changes the token at this position of its sequence. Raises nothing."""
        return self.start <= position and (self.stop is None or position < self.stop)


def changed(x: Array, change: Change, row: Array) -> Array:
    """x (columns,), what a change makes of it: `row` are the change's numbers for this token, (columns,).

    Computed in float64, and rounded to x's type in the end. Raises nothing.
    """
    if change.operation in ("scale", "zero"):
        result = x * change.factor if change.factor else np.zeros_like(x)
    elif change.operation == "add":
        result = x + change.strength * row
    elif change.operation == "project_out":
        unit = row / np.linalg.norm(row)
        result = x - change.strength * (x.astype(np.float64) @ unit) * unit
    else:
        result = row if change.strength == 1 else x + change.strength * (row - x)
    return result.astype(x.dtype)


@dataclass
class ChangingTap(Tap):
    """Changes the values of some tokens of a batch, and shows the changed ones to another tap.

    `changes` has, for each token of the batch, the changes of its sequence by the value's name; `positions` are the
    tokens' (tokens,), `wanted` the rows of those whose logits are wanted.

    Its methods raise what the other tap raises.
    """

    changes: Sequence[Mapping[str, Sequence[Change]]]
    positions: Array
    wanted: Array
    shown_to: Any = field(default_factory=Tap)
    scope: str = ""
    chosen: Array | None = None  # the layer's experts, (tokens, top_k)

    def __call__(self, name: str, value: Any) -> Any:
        if name == "experts.chosen":
            self.chosen = value
        return self.shown_to(name, self._changed(self.scope + name, value))

    def _changed(self, full_name: str, value: Any) -> Any:
        tokens = range(len(self.positions)) if len(value) == len(self.positions) else self.wanted
        todo = [(row, token) for row, token in enumerate(tokens) if self.changes[token].get(full_name)]
        if not todo:
            return value
        result = value.copy()
        rows = result.reshape(len(result), -1)
        for row, token in todo:
            for change in self.changes[token][full_name]:
                if change.changes(position := int(self.positions[token])):
                    at = self._columns(change, row)
                    rows[row, at] = changed(rows[row, at], change, change.row_of(position))
        return result

    def _columns(self, change: Change, row: int) -> Array:
        if self.chosen is not None and change.experts:  # a graph shows the chosen experts before their weights
            return np.flatnonzero(np.isin(self.chosen[row], change.experts))
        return np.concatenate([np.arange(start, stop) for start, stop in change.columns])

    def wants(self, name: str) -> bool:
        """Whether the other tap wants to see this value."""
        return bool(self.shown_to.wants(name))

    def inside(self, scope: str) -> Self:
        """The tap for the values of a part, such as "layers.3"."""
        return type(self)(
            self.changes, self.positions, self.wanted, self.shown_to.inside(scope), f"{self.scope}{scope}."
        )
