"""Where heads look: the share of every position, the sink's share, and what the values there add."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ouvert import kernels
from ouvert.inspection.error import InspectionError
from ouvert.inspection.graph_lines import How, lines_with
from ouvert.inspection.subject import Array, Step, Subject
from ouvert.inspection.view import View

MARKS = ("ops.attend", "ops.rotate", 'tap("attention.q"', 'tap("attention.k"', 'tap("attention.latent"')
SAYS = (
    "After its rotation each head's query is multiplied with the keys that the layer may see; softmax over these "
    "scores, and over the head's sink where it has one, gives the shares. They are computed from the same queries and "
    "the same cached keys as the answer's."
)
AT_REST = 0.99  # of a head's attention, on its sink: the head does nothing for this token


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Attention(View):
    """The attention of one layer. `queries`: places of the tokens that look; `heads`: which; `places`: of the tokens
    that are looked at, all up to the last query.

    `weights` (queries, heads, places): shares, exactly 0 beyond what the token may see; `sinks` (queries, heads): the
    share of the head's sink, which gives nothing for it, or null where the family has none. A row and its sink add up
    to 1. `window`: how many tokens the layer sees, the token itself among them, or null for all. `at_rest` (queries,
    heads): the sink has more than AT_REST. `added` (queries, heads, places): the length of what the position's value
    adds to the residual stream, share and output matrix included, or null where it was not asked for.
    """

    view: ClassVar[str] = "attention"

    layer: int
    window: int | None
    queries: Array
    heads: Array
    places: Array
    weights: Array
    sinks: Array | None
    at_rest: Array
    added: Array | None

    def table(self) -> list[dict[str, Any]]:
        """One row a query and head: the sink's share and the heaviest three positions. Raises nothing."""
        rows = []
        for n, query in enumerate(self.queries.tolist()):
            for h, head in enumerate(self.heads.tolist()):
                heaviest = np.argsort(-self.weights[n, h], kind="stable")[:3]
                sink = None if self.sinks is None else float(self.sinks[n, h])
                looks = ", ".join(f"{self.places[at]}: {self.weights[n, h, at]:.2f}" for at in heaviest)
                rows.append({"query": query, "head": head, "sink": sink, "heaviest": looks})
        return rows


def attention_names(subject: Subject, layer: int, values: bool) -> list[str]:
    """What the view is made of. Raises InspectionError for a model without attention, and for a layer that it does not
    have."""
    subject.need("attention")
    if not isinstance(layer, int) or not 0 <= layer < subject.layers:
        raise InspectionError(f"attention: layer={layer!r:.80}, expected a number from 0 to {subject.layers - 1}.")
    parts = ["weights", *(["sink"] if f"layers.{layer}.attention.sink" in subject.names else [])]
    if values:
        parts.append("v" if f"layers.{layer}.attention.v" in subject.names else "latent")
    return [f"layers.{layer}.attention.{part}" for part in parts]


def heads_asked(subject: Subject, heads: int | Iterable[int] | None) -> Array:
    """Raises InspectionError for a head that the model does not have."""
    count = int(subject.model.config.sizes()["q_heads"])
    chosen = range(count) if heads is None else [heads] if isinstance(heads, int) else list(heads)
    if not chosen or any(not isinstance(head, int) or not 0 <= head < count for head in chosen):
        raise InspectionError(f"attention: head={heads!r:.80}, expected numbers from 0 to {count - 1}.")
    return np.array(chosen, np.int64)


def attention_of(
    subject: Subject,
    steps: Iterable[Step],
    layer: int,
    queries: Array,
    heads: Array,
    values: bool,
) -> Attention:
    """Of steps that hold `attention_names` of all places up to the last query. Raises nothing."""
    name, last = f"layers.{layer}.attention.", int(queries[-1])
    count = int(subject.model.config.sizes()["q_heads"])
    weights = np.zeros((len(queries), len(heads), last + 1), np.float32)
    sinks: list[Array] = []
    seen: list[Array] = []
    for step in steps:
        rows = np.flatnonzero(np.isin(step.places, queries))
        if values:
            seen.append(step.values.get(name + "v", step.values.get(name + "latent", np.empty(0))))
        if not rows.size:
            continue
        at = np.searchsorted(queries, step.places[rows])
        shares = step.values[name + "weights"][rows].reshape(len(rows), count, -1)[:, heads, : last + 1]
        weights[at, :, : shares.shape[2]] = shares
        if name + "sink" in step.values:
            sinks.append(step.values[name + "sink"][rows][:, heads])
    sink = np.concatenate(sinks) if sinks else None
    norms = value_norms(subject, layer, heads, np.concatenate(seen)[: last + 1]) if values else None
    return Attention(
        how=How(SAYS, lines_with(subject.model, *MARKS)),
        layer=layer,
        window=window_of(subject, layer),
        queries=queries,
        heads=heads,
        places=np.arange(last + 1),
        weights=weights,
        sinks=sink,
        at_rest=np.zeros(weights.shape[:2], bool) if sink is None else sink > AT_REST,
        added=None if norms is None else weights * norms,
    )


def window_of(subject: Subject, layer: int) -> int | None:
    """How many tokens the layer sees, itself included; None for all. Raises nothing."""
    windows: Sequence[int | None] | None = getattr(subject.model.config, "windows", None)
    return None if windows is None else windows[layer]


def value_norms(subject: Subject, layer: int, heads: Array, cached: Array) -> Array:
    """‖value · W_O‖ of each head and place, (heads, places). `cached`: the values (places, kv_heads * head_dim), or the
    latents that they are made of. Raises nothing."""
    norms = [
        np.linalg.norm(of_head @ matrix.T, axis=1)
        for of_head, matrix in zip(
            head_values(subject, layer, heads, cached), output_matrices(subject, layer, heads), strict=True
        )
    ]
    return np.stack(norms).astype(np.float32)


def head_values(subject: Subject, layer: int, heads: Array, cached: Array) -> Iterator[Array]:
    """The values (places, value_dim) that each of these heads mixes. Raises nothing."""
    weights, sizes = subject.model.parameters.layers[layer], subject.model.config.sizes()
    if "kv_heads" in sizes:
        grouped = cached.reshape(len(cached), sizes["kv_heads"], -1)
        for head in heads.tolist():
            yield grouped[:, head * sizes["kv_heads"] // sizes["q_heads"]]
        return
    value = weights.value  # (heads, value, latent)
    size = len(value.data) // value.experts
    for head in heads.tolist():
        matrix = kernels.unpack(value.layout, value.data[head * size : (head + 1) * size], value.rows, value.columns)
        yield cached[:, : value.columns] @ matrix.T


def output_matrices(subject: Subject, layer: int, heads: Array) -> Iterator[Array]:
    """The columns (hidden, value_dim) of the output matrix that belong to each of these heads. Raises nothing."""
    packed = subject.model.parameters.layers[layer].o
    whole = kernels.unpack(packed.layout, packed.data, packed.rows, packed.columns)
    for pairs in subject.adapters:
        if (pair := pairs.get(f"layers.{layer}.o")) is not None:
            whole = whole + np.float32(pair.scale) * (pair.b @ pair.a)
    each = packed.columns // int(subject.model.config.sizes()["q_heads"])
    for head in heads.tolist():
        yield whole[:, head * each : (head + 1) * each]
