"""Operations on rows and their gradients, natively in float32: against PyTorch in float64, and against themselves on
other threads and instruction sets."""

import numpy as np
import pytest

from ouvert.kernels import Products, linear, row_gradients

torch = pytest.importorskip("torch")

from ouvert.tuning import norms  # noqa: E402

SETS = linear.available_instruction_sets()
WIDTHS = [3, 15, 16, 17, 64, 576]
ROWS, EPS = 9, 1e-5
# Of the largest number: a few roundings of float32, and an exponential that is right to 1e-7. A term too few is 1e-2.
APART = 2e-6


def numbers(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def doubles(*arrays):
    return [torch.from_numpy(each).double().requires_grad_() for each in arrays]


def normed(products, width):
    """rms_norm in two groups, and its gradient."""
    x, weight, dy = numbers(2 * ROWS, width), numbers(2, width), numbers(width, 2 * ROWS).T.copy()
    return [
        row_gradients.rms_norm(products, x, weight, EPS),
        row_gradients.rms_norm_back(products, x, weight, EPS, dy),
    ]


def normed_in_double(width):
    (x,), weight = doubles(numbers(2 * ROWS, width)), torch.from_numpy(numbers(2, width)).double().reshape(-1)
    dy = torch.from_numpy(numbers(width, 2 * ROWS).T.copy()).double().reshape(ROWS, -1)
    out = norms.rms_norm(x.reshape(ROWS, -1), weight, EPS, 2, Products())
    (found,) = torch.autograd.grad(out, x, dy)
    return [out.detach().numpy().reshape(2 * ROWS, width), found.numpy()]


def rotated(products, width):
    """Of heads of 2 * width + 3, and back."""
    x, angles = numbers(ROWS, 3, 2 * width + 3), numbers(ROWS, width)
    cosines, sines = np.cos(angles), np.sin(angles)
    turned = row_gradients.rotate(products, x, cosines, sines)
    return [turned, row_gradients.rotate(products, turned, cosines, -sines)]


def rotated_in_double(width):
    x, angles = numbers(ROWS, 3, 2 * width + 3), torch.from_numpy(numbers(ROWS, width)).double()
    turned = norms.rotate(torch.from_numpy(x).double(), (angles.cos(), angles.sin()), Products())
    return [turned.numpy(), x]


def gated(products, width):
    gate, up, dy = 4 * numbers(ROWS, width), numbers(width, ROWS).T.copy(), numbers(ROWS, width)
    out = row_gradients.swiglu(products, gate, up)
    row_gradients.swiglu_back(products, gate, up, dy)
    return [out, gate, up]


def gated_in_double(width):
    gate, up = doubles(4 * numbers(ROWS, width), numbers(width, ROWS).T.copy())
    out = torch.nn.functional.silu(gate) * up
    found = torch.autograd.grad(out, (gate, up), torch.from_numpy(numbers(ROWS, width)).double())
    return [out.detach().numpy(), *(each.numpy() for each in found)]


def chosen_of(width):
    return (np.arange(ROWS) % width).astype(np.int32)


def expected_less(products, width):
    logits = 3 * numbers(ROWS, width)
    totals = torch.from_numpy(logits).double().logsumexp(-1).float().numpy()
    row_gradients.log_probability_back(products, logits, totals, chosen_of(width))
    return [logits]


def expected_less_in_double(width):
    (logits,) = doubles(3 * numbers(ROWS, width))
    scores = logits.log_softmax(-1).gather(-1, torch.from_numpy(chosen_of(width)).long()[:, None])
    (found,) = torch.autograd.grad(scores.sum(), logits)
    return [found.numpy()]


OPERATIONS = {
    "rms_norm": (normed, normed_in_double),
    "rotate": (rotated, rotated_in_double),
    "swiglu": (gated, gated_in_double),
    "log_probability": (expected_less, expected_less_in_double),
}


def apart(found, wanted):
    """By how much any number is off, of the largest."""
    pairs = zip(found, wanted, strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-2)) for a, b in pairs)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("width", WIDTHS)
def test_rows_and_their_gradients_agree_with_pytorch_in_float64(operation, width):
    natively, in_double = OPERATIONS[operation]
    assert apart(natively(Products(), width), in_double(width)) < APART


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("width", WIDTHS)
def test_rows_have_the_same_bits_on_any_instruction_set_and_number_of_threads(operation, width):
    natively, _ = OPERATIONS[operation]
    first, *others = (natively(Products(threads, instruction_set=of), width) for of in SETS for threads in (1, 3))
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_epsilon_left_out_would_be_noticed():
    x, weight = numbers(4, 8) / 100, numbers(1, 8)
    right, without = (row_gradients.rms_norm_back(Products(), x, weight, eps, x) for eps in (EPS, 0))
    assert apart([without], [right]) > 100 * APART


def test_rows_that_do_not_fit_are_refused():
    products, x = Products(), numbers(4, 8)
    heads, angles, ids = numbers(4, 2, 8), numbers(4, 5), np.array([0, 1, 2, 8], np.int32)
    for wrong in (
        lambda: row_gradients.rms_norm(products, x, numbers(1, 7), EPS),
        lambda: row_gradients.rms_norm_back(products, x, numbers(1, 8), EPS, x[:3]),
        lambda: row_gradients.rotate(products, heads, angles, angles),
        lambda: row_gradients.swiglu(products, x, x.astype(np.float64)),
        lambda: row_gradients.swiglu_back(products, x, x, x[:, :7].copy()),
        lambda: row_gradients.log_probability_back(products, x, x[:, 0].copy(), ids),
        lambda: row_gradients.log_probability_back(products, x, x[:, 0].copy(), ids[:2]),
    ):
        with pytest.raises(ValueError, match="expected"):
            wrong()
