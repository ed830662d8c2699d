"""Gradients of every operation against the slope of its slow loop, for implementations that have them: PyTorch's.

The test itself is tried on a slow twin: NumPy, one number moved at a time.
"""

import numpy as np
import pytest

from .cases import CASES
from .implementations import IMPLEMENTATIONS, InNumPy
from .test_operations import LACKING

WITHOUT_GRADIENTS = {"numpy float32", "numpy float64", "c++ plain", "c++ avx2", "c++ avx512"}
# They choose: at a tie there is no slope. What a choice is worth flows through mix_experts.
CHOOSING = {"route_top_k", "route_top_k of given experts", "route_top_k_of_groups"}
SMOOTH = [
    case
    for case in CASES
    if case.operation not in CHOOSING and sum(numbers.size for numbers in case.numbers().values()) <= 250
]
STEP = 1e-5
# A slope between two points at a distance of h is off by h² times the third derivative, 1e-10 here, and by the rounding
# of the difference divided by h, 1e-11. Both grow with the numbers, as the sum of the absolute terms does.
SLOPE = 1e-7


class MovingEveryNumber(InNumPy):
    """A gradient's definition: each number is moved up and down, and all is computed again."""

    def __init__(self):
        super().__init__(np.float64)

    def gradients(self, graph_of, parameters, ids, weights):
        placed = {name: parameter.decode().astype(np.float64) for name, parameter in parameters.items()}

        def total(name, at, step):
            moved = placed[name].copy()
            moved[at] += step
            return (self.run(graph_of(placed | {name: moved}), ids, [len(ids)]).rows * weights).sum()

        found = {name: np.zeros_like(numbers) for name, numbers in placed.items()}
        for name, numbers in placed.items():
            for at in np.ndindex(numbers.shape):
                found[name][at] = (total(name, at, STEP) - total(name, at, -STEP)) / (2 * STEP)
        return found


WITH_GRADIENTS = [MovingEveryNumber(), *(each for each in IMPLEMENTATIONS if hasattr(each, "gradients"))]


def slopes(implementation, case):
    """(by its gradients, by the slow loop, what may be lost) of a weighted sum of the result in a random direction."""
    random = np.random.default_rng(0)
    numbers, weights = case.numbers(), random.standard_normal(case.expected()["rows"].shape)
    directions = {name: random.standard_normal(each.shape) for name, each in numbers.items()}
    up, down = (
        (case.slow(**{name: each + step * directions[name] for name, each in numbers.items()}) * weights).sum()
        for step in (STEP, -STEP)
    )
    found = implementation.gradients(case.graph, case.parameters(), case.ids, weights)
    terms = [found[name] * direction for name, direction in directions.items()]
    size = sum(np.abs(each).sum() for each in terms)
    lost = size * max(SLOPE, (case.roundings + 1) * len(numbers) * implementation.rounding)
    lost += np.finfo(np.float64).eps * (abs(up) + abs(down)) / STEP  # where a gate is shut, nothing else is left
    return sum(each.sum() for each in terms), (up - down) / (2 * STEP), lost


@pytest.mark.parametrize("implementation", WITH_GRADIENTS, ids=lambda each: each.name)
@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_gradients_are_the_slope_of_the_slow_loop(implementation, case):
    if case.operation in LACKING[implementation.name]:
        with pytest.raises(implementation.refusal, match=r"^convolve: "):
            slopes(implementation, case)
        return
    found, expected, lost = slopes(implementation, case)
    assert abs(found - expected) <= lost


class ForgetsATenth(MovingEveryNumber):
    def gradients(self, *given):
        return {name: 0.9 * each for name, each in super().gradients(*given).items()}


@pytest.mark.parametrize("case", {case.operation: case for case in reversed(SMOOTH)}.values(), ids=str)
def test_a_gradient_that_is_too_small_would_be_noticed(case):
    found, expected, lost = slopes(ForgetsATenth(), case)
    assert abs(found - expected) > 10 * lost


def test_every_operation_that_has_a_slope_is_among_them():
    assert {case.operation for case in SMOOTH} == {case.operation for case in CASES} - CHOOSING


def test_who_has_no_gradients_is_known():
    assert {each.name for each in IMPLEMENTATIONS if not hasattr(each, "gradients")} <= WITHOUT_GRADIENTS
