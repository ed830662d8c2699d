"""A direction of the residual stream, and what is known of it. docs/formats/direction.md describes its file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ouvert.inspection.error import InspectionError
from ouvert.inspection.subject import Array

FORMAT = "ouvert.direction/1"
MOST_LAYERS, MOST_WIDTH = 1024, 65536


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """Vectors by layer: `vectors[n]`, float32 (hidden,), is of `layers.n.out`, the residual stream after layer n.

    `facts` is what is known of it, as JSON: how it was made, from what, for which model, what the tests showed.
    Raises InspectionError for vectors that are none, of different widths, not finite or zero.
    """

    vectors: Mapping[int, Array]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        widths = {vector.shape for vector in self.vectors.values()}
        if not self.vectors or len(self.vectors) > MOST_LAYERS or len(widths) != 1:
            raise InspectionError(
                f"a direction has vectors for {len(self.vectors)} layers, of the shapes {sorted(widths)[:4]}, expected "
                f"1 to {MOST_LAYERS} of one width."
            )
        for n, vector in self.vectors.items():
            if not 0 <= n < MOST_LAYERS or vector.ndim != 1 or not 1 <= len(vector) <= MOST_WIDTH:
                raise InspectionError(
                    f"a direction has a vector of the shape {vector.shape} for layer {n}, expected ({MOST_WIDTH} at "
                    f"most,) and layers from 0 to {MOST_LAYERS - 1}."
                )
            if vector.dtype != np.float32 or not np.isfinite(vector).all() or not vector.any():
                raise InspectionError(
                    f"a direction's vector of layer {n} is of {vector.dtype}, with {np.isfinite(vector).sum()} of "
                    f"{len(vector)} numbers finite, expected finite float32 and not all 0. The file is damaged, or was "
                    "made by a run that failed."
                )

    @property
    def width(self) -> int:
        """How many numbers a vector has. Raises nothing."""
        return len(next(iter(self.vectors.values())))

    @property
    def layer(self) -> int:
        """The layer that was chosen, or the middle one of those it has. Raises nothing."""
        chosen = self.facts.get("layer")
        layers = sorted(self.vectors)
        if isinstance(chosen, bool):  # a number to Python
            chosen = None
        return chosen if isinstance(chosen, int) and chosen in self.vectors else layers[len(layers) // 2]

    def unit(self, layer: int | None = None) -> Array:
        """The vector of a layer, or of the chosen one, with the length 1. Raises InspectionError for one it lacks."""
        n = self.layer if layer is None else layer
        if n not in self.vectors:
            raise InspectionError(
                f"the direction has no vector for layer {n}; it has {sorted(self.vectors)}. Choose one of these."
            )
        wide = self.vectors[n].astype(np.float64)
        unit: Array = (wide / np.linalg.norm(wide)).astype(np.float32)
        return unit

    def require_model(self, name: str, layers: int, width: int) -> None:
        """Raises InspectionError for a model whose residual stream has another width, or fewer layers."""
        if width != self.width or max(self.vectors) >= layers:
            raise InspectionError(
                f"this direction is of {self.width} numbers for layers up to {max(self.vectors)}, but {name} has "
                f"{width} and {layers} layers. It was made for another model"
                + (f" ({self.facts['model'].get('name')})." if isinstance(self.facts.get("model"), dict) else ".")
            )
