"""What an adapter adds to a product: a matrix of low rank (Hu et al., LoRA, arXiv:2106.09685)."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class WeightShape(NamedTuple):
    """Of a weight that may carry additions: (rows, columns) are (out, in), `experts` how many matrices of that shape
    it holds, or None for one."""

    rows: int
    columns: int
    experts: int | None = None

    def takes(self, shape: tuple[int, int], experts: tuple[int, ...] | None) -> bool:
        """Whether an addition of `LowRank.shape` and for `LowRank.experts` is one to such a weight. Raises nothing."""
        if experts is None or self.experts is None:
            return experts is None and self.experts is None and shape == self[:2]
        return shape == self[:2] and max(experts, default=-1) < self.experts


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """An addition to one weight (out, in): y += scale · (x aᵀ) bᵀ, in float32, with x as it is before any rounding.

    a      float32 (rank, in)
    b      float32 (out, rank)
    scale  alpha / rank, or alpha / √rank where it is rank-stabilised (Kalajdzievski, arXiv:2312.03732)

    Of a weight that holds experts, `experts` are the numbers of those that are adapted, ascending, and a and b have one
    matrix for each of them: (adapted, rank, in) and (adapted, out, rank). The others are left as they are.

    Making one raises ValueError for shapes that do not fit each other.
    """

    a: Array
    b: Array
    scale: float
    experts: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        axes = 2 if self.experts is None else 3
        fits = self.a.ndim == self.b.ndim == axes and self.a.shape[-2] == self.b.shape[-1]
        if fits and self.experts is not None:
            ascending = list(self.experts) == sorted(set(self.experts)) and min(self.experts, default=0) >= 0
            fits = ascending and len(self.experts) == len(self.a) == len(self.b)
        if not fits:
            of = "" if self.experts is None else f" for the experts {self.experts}"
            raise ValueError(
                f"making an addition of low rank: a is {self.a.shape} and b {self.b.shape}{of}, expected (rank, in) "
                "and (out, rank), one of each for every adapted expert, whose numbers ascend."
            )

    @property
    def rank(self) -> int:
        """The inner dimension. Raises nothing."""
        return int(self.a.shape[-2])

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in) of the weight that it is added to. Raises nothing."""
        return int(self.b.shape[-2]), int(self.a.shape[-1])

    def of_expert(self, expert: int) -> "LowRank | None":
        """The addition to one of the experts; None for one that is left alone. Raises nothing."""
        if self.experts is None or expert not in self.experts:
            return None
        n = self.experts.index(expert)
        return LowRank(self.a[n], self.b[n], self.scale)

    def scaled(self, factor: float) -> "LowRank":
        """The same addition times a factor. Raises nothing."""
        return replace(self, scale=self.scale * factor)


@dataclass(frozen=True, slots=True, eq=False)
class Carrier:
    """A weight with additions to its product, in their order: what `models.carrying` puts in a weight's place for
    `linear` and `mix_experts`.

    weight     (out, in), or what gives one for `weight[expert]`
    additions  of its shape
    """

    weight: Any
    additions: tuple[LowRank, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's. Raises nothing."""
        return tuple(self.weight.shape)

    def __getitem__(self, expert: int) -> "Carrier":
        of = (addition.of_expert(expert) for addition in self.additions)
        return Carrier(self.weight[expert], tuple(each for each in of if each is not None))

    def added(self, x: Array, product: Array) -> Array:
        """The weight's product of x (tokens, in), and its additions, in the type of x. Raises nothing."""
        for each in self.additions:
            low = (x @ each.a.T.astype(x.dtype, copy=False)) * x.dtype.type(each.scale)
            product = product + low @ each.b.T.astype(x.dtype, copy=False)
        return product
