"""An adapter as it computes: additions of low rank to a model's weights, by our names, and its digest."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ouvert.arithmetic import LowRank


@dataclass(frozen=True)
class Adapter:
    """Additions to weights of one model, by our names ("layers.3.q"; `models.adaptable` says which there are).

    Making one raises ValueError if it adds to nothing.
    """

    pairs: Mapping[str, LowRank]

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ValueError("making an adapter: it adds to no weight, expected one at least.")

    @cached_property
    def digest(self) -> str:
        """ "sha256:<hex>" of names, shapes, experts, scales and numbers: equal for adapters that compute the same.

        docs/formats/adapter.md has the bytes. Raises nothing.
        """
        digest = hashlib.sha256(b"ouvert adapter 1\n")
        for name, pair in sorted(self.pairs.items()):
            facts = {
                "a": list(pair.a.shape),
                "b": list(pair.b.shape),
                "experts": None if pair.experts is None else list(pair.experts),
                "name": name,
                "scale": float(pair.scale).hex(),
            }
            digest.update(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode() + b"\n")
            for matrix in (pair.a, pair.b):
                digest.update(np.ascontiguousarray(matrix, "<f4").tobytes())
        return f"sha256:{digest.hexdigest()}"

    @property
    def parameters(self) -> int:
        """How many numbers it holds. Raises nothing."""
        return sum(pair.a.size + pair.b.size for pair in self.pairs.values())

    @property
    def changes_nothing(self) -> bool:
        """Whether every addition is zero. Raises nothing."""
        return not any(pair.scale and pair.a.any() and pair.b.any() for pair in self.pairs.values())
