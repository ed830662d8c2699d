"""A recorded run of a model, taken up again from any layer and token with other numbers.

Tokens before the change stand in the layers' caches as they were; layers below it are not computed again. Several
changes of one place are computed together, each in a lane of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ouvert.inspection.layer_programs import LayerPrograms
from ouvert.inspection.subject import Array
from ouvert.kernels import Sequence as CacheOfTokens


@dataclass(slots=True)
class Lanes:
    """The caches of some lanes in one layer's program. The first `own` tokens in them are those of the recorded run."""

    sequences: list[CacheOfTokens]
    own: int = 0


@dataclass
class Rerun:
    """One sequence of tokens as the model computed it: inputs of all layers, and of whatever values were asked for.

    `ids` are its tokens; `values` the recorded values, (tokens, width) by name: every layer's input and output, and
    `names`; `logits` those after each token.
    """

    programs: LayerPrograms
    ids: Sequence[int]
    names: Sequence[str] = ()
    values: dict[str, Array] = field(default_factory=dict)
    logits: Array = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def __post_init__(self) -> None:
        outs = [f"layers.{n}.out" for n in range(self.layers)]
        self._lanes: dict[tuple[int, tuple[str, ...], int], Lanes] = {}
        self.values, self.logits = self.programs.record(self.ids, ["embedding", *outs, *self.names])

    @property
    def layers(self) -> int:
        """How many the model has. Raises nothing."""
        return self.programs.subject.layers

    def input_of(self, n: int) -> Array:
        """The residual stream before layer `n`, (tokens, hidden). Raises nothing."""
        return self.values["embedding" if n == 0 else f"layers.{n - 1}.out"]

    def logits_after(self, n: int, start: int, rows: Array, first_row: int = -1) -> Array:
        """The logits of the tokens from `first_row` on, (lanes, tokens, vocabulary), where the residual stream after
        layer `n` is `rows` from token `start` on, (lanes, tokens, hidden), and as recorded before it.

        Raises MemoryError if the caches cannot grow.
        """
        for above in range(n + 1, self.layers):
            rows = self.through(above, start, rows)
        count = len(self.ids)
        first = first_row % count
        if first < start:  # what stands before the change is as it was
            before = np.broadcast_to(self.logits[first:start], (len(rows), start - first, self.logits.shape[1]))
            rest = self._head(rows)
            return np.concatenate([before, rest], axis=1)
        return self._head(rows[:, first - start :])

    def through(self, n: int, start: int, rows: Array, replaced: Mapping[str, Array] | None = None) -> Array:
        """The residual stream after layer `n` from token `start` on, for these rows before it; both are (lanes, tokens,
        hidden). In the place of values named in `replaced` stand its rows, (lanes, tokens, width).

        Raises MemoryError if the caches cannot grow.
        """
        replaced = replaced or {}
        program, count = self.programs.layer(n, tuple(replaced)), len(rows)
        key = (n, tuple(sorted(replaced)), count)
        if key not in self._lanes:
            self._lanes[key] = Lanes([program.new_sequence(len(self.ids)) for _ in range(count)])
        lanes = self._lanes[key]
        held = [sequence.truncate(min(start, lanes.own)) for sequence in lanes.sequences]
        kept = min(held)
        for sequence in lanes.sequences:
            kept = min(kept, sequence.truncate(kept))  # all alike: a state cannot be cut, a window not always
        whole = np.concatenate([repeated(self.input_of(n)[kept:start], count), rows], axis=1)
        given = {
            name: np.concatenate([repeated(self.values[name][kept:start], count), each], axis=1)
            for name, each in replaced.items()
        }
        made = program.run(lanes.sequences, whole, given)
        lanes.own = start
        return made[:, start - kept :]

    def close(self) -> None:
        """Give the caches back. Raises nothing."""
        for lanes in self._lanes.values():
            for sequence in lanes.sequences:
                sequence.close()
        self._lanes = {}

    def _head(self, rows: Array) -> Array:
        logits = self.programs.logits(rows.reshape(-1, rows.shape[-1]))
        return logits.reshape(*rows.shape[:2], -1)


def repeated(rows: Array, count: int) -> Array:
    """(tokens, width) -> (count, tokens, width)."""
    return np.broadcast_to(rows, (count, *rows.shape))
