"""Norms and rotations of rows in float32, natively, with gradients in closed form: nothing between is kept.

Of any other type of numbers they are PyTorch's own operations, which the native ones are held to.
"""

from typing import Any

import numpy as np
import torch

from ouvert.kernels import Products, row_gradients


class RmsNorm(torch.autograd.Function):
    """x (..., groups * width), weight (groups, width) as an array -> as x, with a gradient by x."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: np.ndarray, eps: float, products: Products) -> torch.Tensor:
        rows = x.detach().contiguous().numpy().reshape(-1, weight.shape[1])
        ctx.given = products, rows, weight, eps
        return torch.from_numpy(row_gradients.rms_norm(products, rows, weight, eps)).view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        products, rows, weight, eps = ctx.given
        dy = gradients[0].contiguous().numpy().reshape(rows.shape)
        found = row_gradients.rms_norm_back(products, rows, weight, eps, dy)
        return torch.from_numpy(found).view(gradients[0].shape), None, None, None


class Rotation(torch.autograd.Function):
    """x (tokens, heads, head_dim), turned by angles, with a gradient by x."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cosines: np.ndarray, sines: np.ndarray, products: Products) -> torch.Tensor:
        ctx.given = products, cosines, sines
        return torch.from_numpy(row_gradients.rotate(products, x.detach().contiguous().numpy(), cosines, sines))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        products, cosines, sines = ctx.given
        dy = gradients[0].contiguous().numpy()
        return torch.from_numpy(row_gradients.rotate(products, dy, cosines, -sines)), None, None, None


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, groups: int, products: Products) -> torch.Tensor:
    """`arithmetic.rms_norm` of tensors. Raises what the kernels or torch raise for shapes that do not fit."""
    if x.dtype == torch.float32 and not weight.requires_grad:
        normed: torch.Tensor = RmsNorm.apply(x, weight.numpy().reshape(groups, -1), eps, products)  # type: ignore[no-untyped-call]
        return normed
    parts = x.reshape(*x.shape[:-1], groups, -1)
    parts = parts * torch.rsqrt(parts.square().mean(-1, keepdim=True) + eps)
    return parts.reshape(x.shape) * weight


def rotate(x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], products: Products) -> torch.Tensor:
    """`arithmetic.rotate` of x (tokens, heads, head_dim) by cosines and sines (tokens, rotary_dim / 2). Raises what the
    kernels or torch raise for shapes that do not fit."""
    if x.dtype == torch.float32:
        turned: torch.Tensor = Rotation.apply(x, *(each.numpy() for each in turns), products)  # type: ignore[no-untyped-call]
        return turned
    cos, sin = (each[:, None] for each in turns)
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)
