"""Which experts a mixture chose, how the work was spread, and how much each added."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ouvert.arithmetic import sampling
from ouvert.inspection.graph_lines import How, lines_with
from ouvert.inspection.subject import Array, Step, Subject
from ouvert.inspection.view import View

MARKS = ('tap("experts.scores"', "route_top_k", "config.n", "config.topk", 'tap("experts.chosen"', "mix_experts")
SAYS = (
    "The router scores every expert for each token; the token takes its best few and adds up their answers, weighted. "
    "Shown are these choices and weights as they were used. Which expert is chosen often follows the topic; it is no "
    "cause by itself."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ExpertsView(View):
    """The choices of all layers with experts. `layers`, `places`: which; `experts`: how many a layer has, of which each
    token takes `top_k`.

    `chosen` and `weights` (layers, tokens, top_k), best first, the weights as they are used; `counts` (layers,
    experts): how often each was chosen, top_k times the tokens in all; `load` the same as shares. `entropy` (layers,
    tokens): of the chosen experts' weights as shares of their sum, in nats; `load_entropy` (layers,): of the load, log
    of the number of experts if all work alike. `agreement` (layers, tokens): the share of its experts that the token
    before had too, null for the first. `norms` (layers, tokens, top_k): the length of what each chosen expert added,
    weight included, or null where it was not asked for.
    """

    view: ClassVar[str] = "experts"

    layers: Array
    places: Array
    experts: int
    top_k: int
    chosen: Array
    weights: Array
    counts: Array
    load: Array
    entropy: Array
    load_entropy: Array
    agreement: Array
    norms: Array | None

    def table(self) -> list[dict[str, Any]]:
        """One row a layer: its busiest experts and how evenly the work was spread. Raises nothing."""
        rows = []
        for n, layer in enumerate(self.layers.tolist()):
            busiest = np.argsort(-self.counts[n], kind="stable")[:4]
            rows.append(
                {
                    "layer": layer,
                    "busiest": ", ".join(f"{e}: {self.load[n, e]:.2f}" for e in busiest.tolist()),
                    "idle": int((self.counts[n] == 0).sum()),
                    "load_entropy": float(self.load_entropy[n]),
                    "entropy": float(self.entropy[n].mean()),
                    "agreement": float(np.nanmean(self.agreement[n])) if len(self.places) > 1 else None,
                }
            )
        return rows


def layers_with_experts(subject: Subject) -> list[int]:
    """Raises InspectionError for a model without experts."""
    subject.need("experts")
    return [n for n in range(subject.layers) if f"layers.{n}.experts.chosen" in subject.names]


def experts_names(layers: Sequence[int], norms: bool) -> list[str]:
    """What the view is made of. Raises nothing."""
    parts = ("chosen", "weights", "each") if norms else ("chosen", "weights")
    return [f"layers.{n}.experts.{part}" for n in layers for part in parts]


def experts_of(subject: Subject, steps: Iterable[Step], layers: Sequence[int], norms: bool) -> ExpertsView:
    """Of steps that hold `experts_names`. Raises nothing."""
    places: list[Array] = []
    parts: dict[str, list[Array]] = {part: [] for part in ("chosen", "weights", "norms")}
    for step in steps:
        places.append(step.places)
        chosen = np.stack([step.values[f"layers.{n}.experts.chosen"] for n in layers])
        parts["chosen"].append(chosen)
        parts["weights"].append(np.stack([step.values[f"layers.{n}.experts.weights"] for n in layers]))
        if norms:
            each = np.stack([step.values[f"layers.{n}.experts.each"] for n in layers])
            parts["norms"].append(np.linalg.norm(each.reshape(*chosen.shape, -1), axis=-1))
    chosen, weights = (np.concatenate(parts[part], axis=1) for part in ("chosen", "weights"))
    count = int(subject.model.config.sizes()["experts"])
    counts = np.stack([np.bincount(of_layer.ravel(), minlength=count) for of_layer in chosen])
    load = counts / counts.sum(axis=1, keepdims=True)
    return ExpertsView(
        how=How(SAYS, lines_with(subject.model, *MARKS)),
        layers=np.array(layers),
        places=np.concatenate(places),
        experts=count,
        top_k=chosen.shape[2],
        chosen=chosen,
        weights=weights,
        counts=counts,
        load=load,
        entropy=sampling.entropy_of_shares(weights / weights.sum(axis=-1, keepdims=True)),
        load_entropy=sampling.entropy_of_shares(load),
        agreement=agreement(chosen),
        norms=np.concatenate(parts["norms"], axis=1) if norms else None,
    )


def agreement(chosen: Array) -> Array:
    """(layers, tokens): the share of a token's experts that the token before it had too; NaN for the first."""
    shared = (chosen[:, 1:, :, None] == chosen[:, :-1, None, :]).any(axis=-1).mean(axis=-1)
    return np.concatenate([np.full((len(chosen), 1), np.nan), shared], axis=1)
