"""Edits of sequences: what a native program changes of named values. docs/formats/edits.md."""

from collections.abc import Mapping, Sequence

import numpy as np

import ouvert.kernels._native as _native
from ouvert.arithmetic import Change

END = 2**62  # of an edit that goes on to the end of a sequence


class Edits:
    """Changes of named values, for `Sequence.edits`; `places` are the names. Any number of sequences may have the same.

    Only programs that have these places can step such a sequence: `Programs.sibling(places=edits.places)`. Making one
    raises nothing for changes that `models.changes_of` made.
    """

    def __init__(self, changes: Mapping[str, Sequence[Change]]) -> None:
        self.places = frozenset(changes)
        self.native = _native.Edits()
        for name, each in changes.items():
            for change in each:
                self._add(name, change)

    def _add(self, name: str, change: Change) -> None:
        kinds = _native.EditKind
        values, strength = np.asarray(change.values, np.float64), change.strength
        if change.operation == "add":
            kind, values, strength = kinds.add, values * strength, 1.0
        elif change.operation == "project_out":
            kind, values = kinds.project_out, values / np.linalg.norm(values, axis=1, keepdims=True)
        elif change.operation == "replace":
            kind = kinds.blend
        else:
            kind, values, strength = kinds.scale, values[:0], change.factor
        width = values.shape[1] if values.size else 0
        self.native.add(
            name,
            kind,
            strength,
            change.start,
            END if change.stop is None else change.stop,
            list(change.columns),
            width,
            np.ascontiguousarray(values, np.float32).ravel(),
            list(change.experts),
        )
