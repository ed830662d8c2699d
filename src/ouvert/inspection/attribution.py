"""Which parts of the model made a token likely: the logit as a sum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ouvert import kernels
from ouvert.inspection.attention import output_matrices
from ouvert.inspection.error import InspectionError
from ouvert.inspection.graph_lines import How, lines_with
from ouvert.inspection.head import Head, eps_of
from ouvert.inspection.subject import Array, Step, Subject
from ouvert.inspection.view import View

MARKS = ("x = x +", 'tap("out"', 'tap("norm"', 'tap("logits"')
SAYS = (
    "The residual stream is a sum: the embedding, and what every part of every layer added. With the scale of the last "
    "norm held at its value, the logit is the sum of what each of them gives: part · (norm weight · output row) / root "
    "mean square. Effects of a part on later parts are not in it: those take an intervention."
)
# What a layer adds to the residual stream, whichever of these its family has.
ADDED = ("attention.out", "mixer.out", "experts.out", "mlp.out")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Attribution(View):
    """The logit of `token` after the token at `place`, as a sum.

    `parts` (names of docs/formats/taps.md) give `values`, which add up to `sum`; `logit` is the model's own, and
    `rounding` is what the sum lacks: the served output matrix takes numbers of 16 bits. `heads` (layers, heads): what
    each head of `head_layers` gives, of the value of its layer's attention, or null where they were not asked for;
    `head_rest` (layers,) is what that value has besides: the bias, and the rounding of the served output matrix.
    """

    view: ClassVar[str] = "attribution"

    place: int
    token: int
    logit: float
    sum: float
    rounding: float
    parts: list[str]
    values: Array
    head_layers: Array | None
    heads: Array | None
    head_rest: Array | None
    pieces: Mapping[str, str]

    def table(self) -> list[dict[str, Any]]:
        """One row a part, the largest first, whatever its sign. Raises nothing."""
        order = np.argsort(-np.abs(self.values), kind="stable")
        return [{"part": self.parts[n], "logit": float(self.values[n])} for n in order.tolist()]


def parts_of(subject: Subject) -> list[str]:
    """The names of what the residual stream is the sum of, in the order of the graph. Raises nothing."""
    own = subject.names
    layers = [f"layers.{n}.{part}" for n in range(subject.layers) for part in ADDED]
    return ["embedding", *(name for name in layers if name in own)]


def attribution_names(subject: Subject, heads: bool) -> list[str]:
    """What the view is made of. Raises InspectionError for a model that writes no text, and for `heads` of one without
    attention."""
    subject.need("attribution")
    names = [*parts_of(subject), f"layers.{subject.layers - 1}.out"]
    if heads:
        mixed = [f"layers.{n}.attention.mixed" for n in range(subject.layers)]
        if any(name not in subject.names for name in mixed):
            raise InspectionError(
                f"attribution to heads: {subject.name} is of the family {subject.family}, which has no heads of "
                "attention. Leave out heads for the parts of its layers."
            )
        names += mixed
    return names


def attribution_of(
    subject: Subject, step: Step, place: int, token: int, heads: bool, pieces: Mapping[str, str]
) -> Attribution:
    """Of the row of `place`, the only one of `step`. Raises InspectionError for a token that is none of the model's."""
    final = step.values[f"layers.{subject.layers - 1}.out"]
    head = Head(subject, [token])
    logit = float(head.all_logits(final)[0, 0])
    head.close()
    towards = direction(subject, final[0], token)
    parts = parts_of(subject)
    values = np.array([step.values[name][0].astype(np.float64) @ towards for name in parts])
    of_heads = head_values_towards(subject, step, towards) if heads else None
    return Attribution(
        how=How(SAYS, lines_with(subject.model, *MARKS)),
        place=place,
        token=token,
        logit=logit,
        sum=float(values.sum()),
        rounding=logit - float(values.sum()),
        parts=parts,
        values=values,
        head_layers=None if of_heads is None else np.arange(subject.layers),
        heads=of_heads,
        head_rest=None if of_heads is None else rest_of(parts, values, of_heads),
        pieces=pieces,
    )


def direction(subject: Subject, final: Array, token: int) -> Array:
    """(hidden,), float64: what of the residual stream goes into this token's logit, with the last norm's scale held."""
    parameters = subject.model.parameters
    packed = parameters.unembedding
    row = kernels.unpack(packed.layout, packed.data, packed.rows, packed.columns, np.array([token]))[0]
    wide = final.astype(np.float64)
    scale = np.sqrt(np.mean(wide**2) + eps_of(subject))
    return np.asarray(row.astype(np.float64) * np.asarray(parameters.norm, np.float64) / scale)


def head_values_towards(subject: Subject, step: Step, towards: Array) -> Array:
    """(layers, heads): what each head gives."""
    every = np.arange(int(subject.model.config.sizes()["q_heads"]))
    given = []
    for n in range(subject.layers):
        mixed = step.values[f"layers.{n}.attention.mixed"][0].reshape(len(every), -1)
        matrices = output_matrices(subject, n, every)
        given.append([float(towards @ (matrix @ of_head)) for matrix, of_head in zip(matrices, mixed, strict=True)])
    return np.array(given)


def rest_of(parts: Sequence[str], values: Array, heads: Array) -> Array:
    """What each layer's attention gives beside its heads."""
    whole = [value for part, value in zip(parts, values, strict=True) if part.endswith(".attention.out")]
    return np.asarray(np.array(whole) - heads.sum(axis=1))
