"""What Mamba has in place of attention: states, how far a token moves them, and what reaches a token from before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ouvert.inspection.error import InspectionError
from ouvert.inspection.graph_lines import How, lines_with
from ouvert.inspection.subject import Array, Step, Subject
from ouvert.inspection.view import View

MARKS = ("_scan(", 'tap("mixer.dt"', 'tap("mixer.B"', 'tap("mixer.convolved"')
SAYS = (
    "A layer has one state for every channel. A token moves it by a time step of its own, softplus(dt): the longer the "
    "step, the more of the past is forgotten and the more of the token is taken in. Norms are those of the states "
    "after the token."
)
SAYS_HIDDEN = (
    "Written out, a channel's output is a sum over all tokens so far: y_t = Σ_s α(t,s)·x_s + D·x_t with "
    "α(t,s) = C_t · exp(A·Σ_{s<j≤t} δ_j) · δ_s·B_s. Ali et al., The Hidden Attention of Mamba Models, arXiv:2403.01590."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class States(View):
    """`norms` (layers, tokens): the Euclidean norm of a layer's whole state after the token. `time_steps` (layers,
    tokens): softplus(dt), the mean over channels (heads in Mamba-2); `longest_steps`: the largest of them."""

    view: ClassVar[str] = "states"

    layers: Array
    places: Array
    norms: Array
    time_steps: Array
    longest_steps: Array

    def table(self) -> list[dict[str, Any]]:
        """One row a layer: means over the tokens. Raises nothing."""
        return [
            {"layer": int(layer), "norm": float(self.norms[n].mean()), "time_step": float(self.time_steps[n].mean())}
            for n, layer in enumerate(self.layers)
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class HiddenAttention(View):
    """What reaches the token `query` from each of `places`, in one layer.

    `weights` (tokens,): the mean over channels of |α(t,s)|; `added` (tokens,): the length of what the place adds to the
    scan's output, over channels; `skip`: that of what the token adds to itself past its state (D·x).
    """

    view: ClassVar[str] = "hidden_attention"

    layer: int
    query: int
    places: Array
    weights: Array
    added: Array
    skip: float

    def table(self) -> list[dict[str, Any]]:
        """One row a place. Raises nothing."""
        rows = zip(self.places.tolist(), self.weights.tolist(), self.added.tolist(), strict=True)
        return [{"place": place, "weight": weight, "added": added} for place, weight, added in rows]


def states_names(subject: Subject) -> list[str]:
    """What `States` is made of. Raises InspectionError for a model without states."""
    subject.need("states")
    return [f"layers.{n}.mixer.{part}" for n in range(subject.layers) for part in ("state_norm", "dt")]


def states_of(subject: Subject, steps: Iterable[Step]) -> States:
    """Of steps that hold `states_names`. Raises nothing."""
    places: list[Array] = []
    found: dict[str, list[Array]] = {name: [] for name in ("norms", "time_steps", "longest_steps")}
    for step in steps:
        places.append(step.places)
        of = [(step.values[f"layers.{n}.mixer.state_norm"], delta_of(subject, step, n)) for n in range(subject.layers)]
        found["norms"].append(np.stack([np.linalg.norm(norms, axis=1) for norms, _ in of]))
        found["time_steps"].append(np.stack([delta.mean(axis=1) for _, delta in of]))
        found["longest_steps"].append(np.stack([delta.max(axis=1) for _, delta in of]))
    return States(
        how=How(SAYS, lines_with(subject.model, *MARKS)),
        layers=np.arange(subject.layers),
        places=np.concatenate(places),
        norms=np.concatenate(found["norms"], axis=1),
        time_steps=np.concatenate(found["time_steps"], axis=1),
        longest_steps=np.concatenate(found["longest_steps"], axis=1),
    )


def delta_of(subject: Subject, step: Step, layer: int) -> Array:
    """softplus(dt), within the limits of Mamba-2: (tokens, channels or heads)."""
    delta = np.logaddexp(0, step.values[f"layers.{layer}.mixer.dt"])
    low, high = getattr(subject.model.config, "time_step_limit", (0.0, None))
    return np.asarray(np.clip(delta, low, high))


def hidden_names(subject: Subject, layer: int) -> list[str]:
    """What `HiddenAttention` is made of. Raises InspectionError for a model without states, and for a layer that is
    not there."""
    subject.need("hidden_attention")
    if not isinstance(layer, int) or not 0 <= layer < subject.layers:
        raise InspectionError(f"hidden attention: layer={layer!r:.80}, expected 0 to {subject.layers - 1}.")
    parts = ("convolved", "dt", "B", "C") if f"layers.{layer}.mixer.B" in subject.names else ("convolved", "dt")
    return [f"layers.{layer}.mixer.{part}" for part in parts]


def joined_steps(steps: Iterable[Step], names: Sequence[str]) -> Step:
    """All tokens of several steps as one. Raises ValueError for no step."""
    given = list(steps)
    values = {name: np.concatenate([step.values[name] for step in given]) for name in names}
    return Step(np.concatenate([step.places for step in given]), values, None)


def hidden_attention_of(subject: Subject, step: Step, layer: int, query: int) -> HiddenAttention:
    """Of all tokens up to the query. Raises nothing."""
    weights, terms, skip = terms_of(subject, step, layer, query)
    return HiddenAttention(
        how=How(SAYS_HIDDEN, lines_with(subject.model, *MARKS)),
        layer=layer,
        query=query,
        places=np.arange(query + 1),
        weights=np.abs(weights).mean(axis=1),
        added=np.linalg.norm(terms, axis=1),
        skip=float(np.linalg.norm(skip)),
    )


def terms_of(subject: Subject, step: Step, layer: int, query: int) -> tuple[Array, Array, Array]:
    """α(t,s) and α(t,s)·x_s, (places, channels) each, and D·x_t (channels,), for t = query: the terms of y_t, which is
    `mixer.scanned`. Raises nothing."""
    x, delta, A, B, C, D = scanned_from(subject, step, layer)
    upto = slice(0, query + 1)
    later = np.concatenate([np.cumsum(delta[upto][::-1], axis=0)[::-1][1:], np.zeros((1, delta.shape[1]))])
    decay = np.exp(later[:, None, :] * A)  # (places, states, channels)
    alpha = np.einsum("sc,psc,psc->pc", C[query], decay, B[upto]) * delta[upto]
    return alpha, alpha * x[upto], D * x[query]


def scanned_from(subject: Subject, step: Step, layer: int) -> tuple[Array, ...]:
    """x, delta (tokens, channels), A (states, channels), B and C (tokens, states, channels), D (channels,), float64:
    Mamba-2's written out for every channel."""
    weights, name = subject.model.parameters.layers[layer], f"layers.{layer}.mixer."
    convolved, delta = step.values[name + "convolved"].astype(np.float64), delta_of(subject, step, layer)
    A, D = np.asarray(weights.A, np.float64), np.asarray(weights.D, np.float64)
    if name + "B" in step.values:
        channels = convolved.shape[1]
        B, C = (np.repeat(step.values[name + part][:, :, None], channels, axis=2) for part in ("B", "C"))
        return convolved, delta.astype(np.float64), A.T, B, C, D
    channels, states = subject.model.config.intermediate_size, subject.model.config.state_size
    of_groups = convolved[:, channels:].reshape(len(convolved), 2, -1, states)
    B, C = np.repeat(of_groups, channels // of_groups.shape[2], axis=2).transpose(1, 0, 3, 2)
    delta, A, D = (np.repeat(each, channels // len(D), axis=-1) for each in (delta.astype(np.float64), A, D))
    return convolved[:, :channels], delta, np.broadcast_to(A, (states, channels)), B, C, D
