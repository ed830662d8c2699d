"""A product with a frozen weight, and what an adapter adds to it, with gradients: y = x Wᵀ + bias + scale (x aᵀ) bᵀ.

The weight stays packed: forward it is computed as it is served (activations in int8, unless `exact`), backward as
dx = dy W, by a product over the same blocks. Rounding activations is passed straight through. There is no gradient by
the weight. Design and figures: docs/decisions/0019-adapters-beside-the-weights.md.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ouvert.kernels import Packed, Products, unpack


class Product(Protocol):
    """A weight (out, in) that is frozen, for tokens x: float32 (tokens, in), contiguous."""

    def linear(self, x: torch.Tensor) -> torch.Tensor: ...
    def transposed(self, dy: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True, eq=False)
class PackedProduct:
    """Over packed blocks, or those of one expert. With `exact` activations and gradients stay float32; otherwise these
    are rounded to 16 bits on their way to x, and x to 8 as it is served."""

    weight: Packed
    products: Products
    exact: bool
    expert: int | None = None

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        """x Wᵀ."""
        out = torch.empty(len(x), self.weight.rows)
        how = self.products.linear_exact if self.exact else self.products.linear
        how(self.weight, x.detach().contiguous().numpy(), expert=self.expert, out=out.numpy())
        return out

    def transposed(self, dy: torch.Tensor) -> torch.Tensor:
        """dy W."""
        out = torch.empty(len(dy), self.weight.columns)
        how = self.products.transposed_exact if self.exact else self.products.transposed
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


class FrozenLinear(torch.autograd.Function):
    """y = x Wᵀ + bias + scale (x aᵀ) bᵀ, with gradients by x, a and b. Without an adapter a and b are None."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        a: torch.Tensor | None,
        b: torch.Tensor | None,
        product: Product,
        scale: float,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        """`bias` (out,) is frozen as well."""
        y = product.linear(x)
        if bias is not None:
            y += bias
        ctx.product, ctx.scale = product, scale
        if a is None or b is None:
            ctx.save_for_backward()
            return y
        u = x @ a.T
        ctx.save_for_backward(x, u, a, b)
        return y.addmm_(u, b.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """With U = x aᵀ: dU = scale dy b, db = scale dyᵀ U, da = dUᵀ x, dx = dy W + dU a."""
        dy, scale = gradients[0].contiguous(), ctx.scale
        wants_x, wants_a, wants_b = ctx.needs_input_grad[:3]
        dx = ctx.product.transposed(dy) if wants_x else None
        if not ctx.saved_tensors:
            return dx, None, None, None, None, None
        x, u, a, b = ctx.saved_tensors
        du = scale * (dy @ b)
        if dx is not None:
            dx.addmm_(du, a)
        da = du.T @ x if wants_a else None
        db = scale * (dy.T @ u) if wants_b else None
        return dx, da, db, None, None, None


def frozen_linear(
    x: torch.Tensor,
    product: Product,
    bias: torch.Tensor | None = None,
    pair: tuple[torch.Tensor, torch.Tensor, float] | None = None,
) -> torch.Tensor:
    """The product with what an adapter (a, b, scale) adds to it. Raises what the product raises."""
    a, b, scale = pair or (None, None, 0.0)
    out: torch.Tensor = FrozenLinear.apply(x, a, b, product, scale, bias)  # type: ignore[no-untyped-call]
    return out
