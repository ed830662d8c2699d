"""A product with a frozen weight, and what an adapter adds to it, with gradients: y = x Wᵀ + bias + scale (x aᵀ) bᵀ.

The weight stays packed: forward it is computed as it is served (activations in int8, unless `exact`), backward as
dx = dy W, by a product over the same blocks. Rounding activations is passed straight through. There is no gradient by
the weight. Design and figures: docs/decisions/0019-adapters-beside-the-weights.md.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from ouvert.kernels import Packed, Products, unpack


class Product(Protocol):
    """A weight (out, in) that is frozen, for tokens x: float32 (tokens, in)."""

    def linear(self, x: torch.Tensor) -> torch.Tensor: ...
    def transposed(self, dy: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True, eq=False)
class PackedProduct:
    """Over packed blocks, or those of one expert. With `exact` activations and gradients stay float32; otherwise x is
    rounded to 8 bits as it is served, and gradients to 8 on their way to x, or with `fine` to 16."""

    weight: Packed
    products: Products
    exact: bool
    expert: int | None = None
    fine: bool = False

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        """x Wᵀ."""
        out = torch.empty(len(x), self.weight.rows)
        how = self.products.linear_exact if self.exact else self.products.linear
        how(self.weight, x.detach().contiguous().numpy(), expert=self.expert, out=out.numpy())
        return out

    def transposed(self, dy: torch.Tensor) -> torch.Tensor:
        """dy W."""
        out = torch.empty(len(dy), self.weight.columns)
        rounded = self.products.transposed if self.fine else self.products.transposed_coarse
        how = self.products.transposed_exact if self.exact else rounded
        how(self.weight, dy.detach().contiguous().numpy(), expert=self.expert, out=out.numpy())
        return out


@dataclass(frozen=True, eq=False)
class DenseProduct:
    """Over a tensor of any type of numbers: what `PackedProduct` is held to."""

    weight: torch.Tensor

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight.T

    def transposed(self, dy: torch.Tensor) -> torch.Tensor:
        return dy @ self.weight


def dense(weight: Packed) -> torch.Tensor:
    """float32 (out, in)."""
    return torch.from_numpy(unpack(weight.layout, weight.data, weight.rows, weight.columns))


def one_of(weight: Packed, expert: int) -> Packed:
    """The packed matrix of one expert, or head: the same bytes."""
    size = len(weight.data) // weight.experts
    return Packed(weight.layout, weight.rows, weight.columns, weight.data[expert * size : (expert + 1) * size])


@dataclass(frozen=True, slots=True, eq=False)
class Carrying:
    """A frozen weight, its bias, and the adapter that it carries: a (rank, in) and b (out, rank), or None."""

    product: Product
    bias: torch.Tensor | None = None
    a: torch.Tensor | None = None
    b: torch.Tensor | None = None
    scale: float = 0.0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """y = x Wᵀ + bias + scale (x aᵀ) bᵀ, and x aᵀ. Raises what the product raises."""
        y = self.product.linear(x)
        if self.bias is not None:
            y += self.bias
        if self.a is None or self.b is None:
            return y, None
        u = x @ self.a.T
        return y.addmm_(u, self.b.T, alpha=self.scale), u

    def backward(self, dy: torch.Tensor, x: torch.Tensor, u: torch.Tensor | None, *, wants_x: bool) -> "Found":
        """With U = x aᵀ (computed where it is not given): dU = scale dy b, db = scale dyᵀ U, da = dUᵀ x, dx = dy W + dU
        a. Raises what the product raises."""
        dx = self.product.transposed(dy) if wants_x else None
        if self.a is None or self.b is None:
            return Found(dx, None, None)
        u = x @ self.a.T if u is None else u
        du = (dy @ self.b).mul_(self.scale)
        if dx is not None:
            dx.addmm_(du, self.a)
        return Found(dx, du.T @ x, (u.T @ dy).mul_(self.scale).T)  # dyᵀ U takes twice as long


class Found(NamedTuple):
    """Gradients by x, a and b."""

    x: torch.Tensor | None
    a: torch.Tensor | None
    b: torch.Tensor | None


class FrozenLinear(torch.autograd.Function):
    """A product with its adapter, with gradients by x, a and b. Without an adapter a and b are None."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, a: torch.Tensor | None, b: torch.Tensor | None, weight: Carrying
    ) -> torch.Tensor:
        y, u = weight.forward(x)
        ctx.weight = weight
        ctx.save_for_backward(*(() if u is None else (x, u)))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, u = ctx.saved_tensors or (gradients[0], None)
        return (*ctx.weight.backward(gradients[0].contiguous(), x, u, wants_x=ctx.needs_input_grad[0]), None)


def frozen_linear(x: torch.Tensor, weight: Carrying) -> torch.Tensor:
    """The product with what its adapter adds. Raises what the product raises."""
    out: torch.Tensor = FrozenLinear.apply(x, weight.a, weight.b, weight)  # type: ignore[no-untyped-call]
    return out
