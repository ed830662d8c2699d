"""Edits: changes of named values as data, and what they come to in one model. docs/formats/edits.md."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

import numpy as np

from ouvert.arithmetic import Change
from ouvert.arithmetic import ChangeOperation as Operation
from ouvert.models.family import Model
from ouvert.models.taps import NamedValue, shown_by

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
MOST_PLACE = 2**31 - 1  # of a token: more than any sequence has
MOST = float(np.finfo(np.float32).max)
# Where chosen experts are scaled and zeroed: by their weights, which their answers are multiplied with.
EACH_EXPERT = "experts.each"
EXPERT_WEIGHTS = "experts.weights"


class EditError(ValueError):
    """An edit cannot be done. The message names it, what is wrong, and what may be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change of one named value while the model computes. `tap` is the name of the value: docs/formats/taps.md; a
    part of it may be `*`, for every layer or every value that has the rest.

    `values` are the numbers that `operation` needs, row after row: what `add` adds, the direction that `project_out`
    removes (of any length), what `replace` puts there; `scale` has one, its factor, and `zero` none. One row is for all
    tokens of the edit; more are for one each. With `heads` a row has the numbers of these heads alone, one head after
    another. `strength`: how much of it is done, 1 for all, 0 for nothing, which gives the same bits as no edit. It
    happens at the tokens from `start` to before `stop`, or to the end of the sequence without a `stop`.

    `heads`: of values that have heads, the only ones that are edited. `experts`: of `experts.each`, the only ones that
    are scaled or zeroed; each of them where a token chose it.

    Raises ValueError for an operation that is none of OPERATIONS, numbers that are not finite or not as many as the
    operation needs, and tokens, heads or experts that cannot be.
    """

    operation: Operation
    tap: str
    values: tuple[float, ...] = ()
    strength: float = 1.0
    start: int = 0
    stop: int | None = None
    heads: tuple[int, ...] = ()
    experts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise EditError(
                f"editing {self.tap}: operation={self.operation!r:.80}, expected one of {', '.join(OPERATIONS)}."
            )
        if not all(map(math.isfinite, self.values)):
            raise EditError(f"editing {self.tap}: values has NaN or infinity, expected finite numbers.")
        if not math.isfinite(self.strength) or abs(self.strength) > MOST:
            raise EditError(
                f"editing {self.tap}: strength={self.strength}, expected a finite number. Leave it out for 1."
            )
        if any(abs(value) * max(1.0, abs(self.strength)) > MOST for value in self.values):
            raise EditError(f"editing {self.tap}: values has a number beyond float32's, expected smaller ones.")
        stop = MOST_PLACE if self.stop is None else self.stop
        if not 0 <= self.start < stop <= MOST_PLACE:
            raise EditError(
                f"editing {self.tap}: start={self.start}, stop={self.stop}, expected 0 <= start < stop <= "
                f"{MOST_PLACE}. Leave stop out to edit to the end."
            )
        self._check_count()
        for name in ("heads", "experts"):
            numbers = getattr(self, name)
            if not isinstance(numbers, tuple) or len(set(numbers)) != len(numbers) or min(numbers, default=0) < 0:
                raise EditError(
                    f"editing {self.tap}: {name}={numbers!r:.80}, expected a tuple of different numbers from 0 on. "
                    "Leave it out for all."
                )

    def _check_count(self) -> None:
        wanted = {"scale": (1, "its factor"), "zero": (0, "none")}.get(self.operation)
        if wanted is not None and len(self.values) != wanted[0]:
            raise EditError(
                f"editing {self.tap}: {self.operation} has {len(self.values)} values, expected {wanted[0]}, "
                f"{wanted[1]}."
            )
        if wanted is None and not self.values:
            raise EditError(f"editing {self.tap}: {self.operation} has no values, expected the numbers of a row.")

    def facts(self) -> dict[str, Any]:
        """The edit as JSON (docs/formats/edits.md): what is as it is by default is left out, but for the place.

        Raises nothing.
        """
        facts: dict[str, Any] = {
            "operation": self.operation,
            "tap": self.tap,
            "values": [canonical(value) for value in self.values],
            "start": self.start,
            "stop": self.stop,
        }
        if self.strength != 1:
            facts["strength"] = canonical(self.strength)
        for name in ("heads", "experts"):
            if getattr(self, name):
                facts[name] = list(getattr(self, name))
        return facts


def canonical(number: float) -> float:
    """1 and 1.0 are written alike, and so are 0.0 and -0.0. Raises nothing."""
    return float(number) + 0.0


def changes_of(edits: Iterable[Edit], model: Model) -> dict[str, tuple[Change, ...]]:
    """What these edits change in this model, by the full name of the value, in their order. None of strength 0 is
    among them.

    Raises EditError for a name that the model does not show or that may only be looked at, for numbers that are not as
    many as a row has, and for heads and experts that there are not.
    """
    shown = dict(shown_by(model.family.name, model.config))
    changes: dict[str, tuple[Change, ...]] = {}
    for edit in edits:
        for name in names_of(edit, shown, model):
            place, change = change_of(edit, name, shown[name], model)
            if edit.strength != 0:
                changes[place] = (*changes.get(place, ()), change)
    return changes


def names_of(edit: Edit, shown: Mapping[str, NamedValue], model: Model) -> list[str]:
    """The values that an edit's `tap` names. Raises EditError if there is none."""
    parts = ("[^.]+" if part == "*" else re.escape(part) for part in edit.tap.split("."))
    pattern = re.compile(r"\.".join(parts))
    names = [name for name in shown if name == edit.tap or pattern.fullmatch(name)]
    if not names:
        near = get_close_matches(edit.tap, shown, 3, 0.5)
        raise EditError(
            f"editing {edit.tap}: {model.family.name} with {len(model.memories)} layers has no such value. "
            + (f"Near it are {', '.join(near)}; " if near else "")
            + "docs/formats/taps.md has all names."
        )
    return names


def change_of(edit: Edit, name: str, value: NamedValue, model: Model) -> tuple[str, Change]:
    """Where an edit of this value happens, and what it does there. Raises EditError as `changes_of` does."""
    if value.name == EACH_EXPERT:
        return name.replace(EACH_EXPERT, EXPERT_WEIGHTS), of_experts(edit, name, model)
    if not value.editable or value.integers:
        raise EditError(
            f"editing {name}: {'it is whole numbers, and' if value.integers else 'it'} may only be looked at. "
            "docs/formats/taps.md says which values may be edited; experts are scaled and zeroed at experts.each."
        )
    if edit.experts:
        raise EditError(f"editing {name}: it has no experts; those of experts.each can be scaled and zeroed.")
    columns, width = columns_of(edit, name, value, model)
    return name, Change(
        operation=edit.operation,
        values=rows_of(edit, name, width),
        strength=edit.strength,
        start=edit.start,
        stop=edit.stop,
        columns=columns,
    )


def of_experts(edit: Edit, name: str, model: Model) -> Change:
    count = int(model.config.sizes()["experts"])
    if edit.operation not in ("scale", "zero") or edit.heads:
        raise EditError(
            f"editing {name}: {edit.operation}{' of heads' if edit.heads else ''}, expected scale or zero. What the "
            "chosen experts add together is experts.out, where all operations are."
        )
    if beyond := [expert for expert in edit.experts if expert >= count]:
        raise EditError(f"editing {name}: experts {beyond}, expected 0 to {count - 1}.")
    return Change(
        operation=edit.operation,
        values=rows_of(edit, name, 0),
        strength=edit.strength,
        start=edit.start,
        stop=edit.stop,
        experts=edit.experts or tuple(range(count)),
    )


def columns_of(edit: Edit, name: str, value: NamedValue, model: Model) -> tuple[tuple[tuple[int, int], ...], int]:
    """The ranges of columns that are edited, and how many columns that are. Raises EditError for heads that are not."""
    width = math.prod(value.shape(model.config))
    if not edit.heads:
        return ((0, width),), width
    count = heads_of(value, model)
    if count is None:
        raise EditError(
            f"editing {name}: heads={list(edit.heads)}, but this value has none. attention.mixed has those of queries."
        )
    if beyond := [head for head in edit.heads if head >= count]:
        raise EditError(f"editing {name}: heads {beyond}, expected 0 to {count - 1}.")
    each = width // count
    return tuple((head * each, (head + 1) * each) for head in edit.heads), len(edit.heads) * each


def heads_of(value: NamedValue, model: Model) -> int | None:
    """How many heads one row of a value has; None where it has none. Raises nothing."""
    sizes = model.config.sizes()
    first = value.dims.split()[0]
    if first in ("q_heads", "kv_heads", "state_heads"):
        return int(sizes[first])
    return int(sizes["q_heads"]) if value.name == "attention.mixed" else None


def rows_of(edit: Edit, name: str, width: int) -> np.ndarray:
    """An edit's values, (rows, columns). Raises EditError if they are not whole rows, and one or one a token."""
    if edit.operation in ("scale", "zero"):
        return np.asarray([edit.values or (0.0,)], np.float64)
    tokens = None if edit.stop is None else edit.stop - edit.start
    rows, rest = divmod(len(edit.values), width)
    if rest or rows not in (1, tokens):
        raise EditError(
            f"editing {name}: {len(edit.values)} values, expected {width} for all tokens of the edit, or as many for "
            f"each of them ({'give it a stop to say how many there are' if tokens is None else f'{tokens} tokens'})."
        )
    values = np.asarray(edit.values, np.float64).reshape(rows, width)
    if edit.operation == "project_out" and not np.linalg.norm(values, axis=1).all():
        raise EditError(f"editing {name}: project_out of a direction of zeros, expected one with a length.")
    return values
