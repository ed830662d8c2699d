"""Attention for training, natively in float32: against PyTorch in float64, and against itself on other threads and
instruction sets."""

import numpy as np
import pytest

from ouvert.kernels import Products, attend, attend_back, linear

torch = pytest.importorskip("torch")

from ouvert.tuning import attention  # noqa: E402

SETS = linear.available_instruction_sets()
# (tokens, length, heads, kv_heads, head_dim, value_dim, window): around the queries and keys that are taken together,
# widths of no whole register, keys that were there before.
SHAPES = [
    (1, 1, 1, 1, 1, 1, None),
    (5, 5, 2, 1, 8, 8, 2),
    (49, 49, 4, 2, 16, 24, 7),
    (47, 111, 6, 2, 33, 17, None),
    (130, 130, 3, 3, 80, 64, 64),
    (150, 200, 4, 1, 64, 64, 65),
    (97, 97, 2, 2, 48, 31, 2),
]
# Of each result's norm. Sums of some hundred products of float32 are off by 1e-6 of it, gradients a few times that; a
# window off by one, or a sink too little, by more than 1e-3.
APART = 1e-5


def given(shape, *, sinks):
    """q, keys, values, sinks or None, and a gradient by the result."""
    tokens, length, heads, kv_heads, head_dim, value_dim, _ = shape
    random = np.random.default_rng(16)
    sizes = [(tokens, heads, head_dim), (length, kv_heads, head_dim), (length, kv_heads, value_dim), (heads,)]
    q, keys, values, score = (random.standard_normal(size).astype(np.float32) for size in sizes)
    dy = random.standard_normal((tokens, heads, value_dim)).astype(np.float32)
    return q, keys, values, score * 3 if sinks else None, dy


def ours(products, q, keys, values, sinks, dy, window):
    """The result and all gradients."""
    attended = attend(products, q, keys, values, scale=0.5, window=window, sinks=sinks)
    return [each for each in (attended.out, *attend_back(products, attended, dy)) if each is not None]


def expected(q, keys, values, sinks, dy, window):
    """The same by PyTorch, in float64."""
    leaves = [torch.from_numpy(each).double().requires_grad_() for each in (q, keys, values, sinks) if each is not None]
    score = None if sinks is None else leaves[3]
    out = attention.attend(*leaves[:3], scale=0.5, window=window, sinks=score)
    found = torch.autograd.grad(out, leaves, torch.from_numpy(dy).double().reshape(len(q), -1))
    return [out.detach().reshape(dy.shape).numpy(), *(each.numpy() for each in found)]


def apart(found, wanted):
    """By how much the worst of some results is off, of its norm."""
    return max(float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-3)) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sinks", [False, True])
def test_attention_and_its_gradients_agree_with_pytorch_in_float64(shape, sinks):
    numbers, window = given(shape, sinks=sinks), shape[-1]
    assert apart(ours(Products(), *numbers, window), expected(*numbers, window)) < APART


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_attention_has_the_same_bits_on_any_instruction_set_and_number_of_threads(shape):
    numbers = given(shape, sinks=True)
    first, *others = (
        ours(Products(threads, instruction_set=of), *numbers, shape[-1]) for of in SETS for threads in (1, 3)
    )
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_window_off_by_one_and_a_sink_left_out_would_be_noticed():
    shape = SHAPES[2]
    numbers = q, keys, values, _, dy = given(shape, sinks=True)
    right = expected(*numbers, shape[-1])
    assert apart(ours(Products(), *numbers, shape[-1] + 1), right) > 100 * APART
    assert apart(ours(Products(), q, keys, values, None, dy, shape[-1]), right[:4]) > 100 * APART


def test_what_does_not_fit_is_refused():
    q, keys, values, sinks, dy = given((6, 6, 4, 2, 8, 8, None), sinks=True)
    products = Products()
    for wrong in (
        {"q": q[:, :3].copy()}, {"keys": keys[:5].copy()}, {"values": values.astype(np.float64)},
        {"sinks": sinks[:2].copy()}, {"window": 0}, {"q": np.repeat(q, 2, 0)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            attend(products, **({"q": q, "keys": keys, "values": values, "sinks": sinks, "scale": 0.5} | wrong))
    with pytest.raises(ValueError, match="expected"):
        attend_back(products, attend(products, q, keys, values, scale=0.5), dy[:, :2].copy())
