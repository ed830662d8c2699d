"""What a rotation leaves alone, and what scores see of it."""

import numpy as np
import pytest

from ouvert.arithmetic import Rope, rotate


@pytest.fixture
def rope():
    return Rope(np.array([1.0, 0.3, 0.01], np.float32))


def test_scores_depend_on_distance_only(rope):
    q, k = np.random.default_rng(4).standard_normal((2, 1, 1, 6))

    def score(i, j):
        return (rotate(q, np.array([i]), rope) * rotate(k, np.array([j]), rope)).sum()

    assert score(9, 4) == pytest.approx(score(105, 100))
    assert score(9, 4) != pytest.approx(score(9, 5))


def test_values_beyond_the_rotary_part_pass_unturned(rope):
    x = np.random.default_rng(5).standard_normal((2, 1, 8))
    turned = rotate(x, np.array([3, 4]), rope)
    np.testing.assert_array_equal(turned[..., 6:], x[..., 6:])
    np.testing.assert_array_equal(turned[..., :6], rotate(x[..., :6], np.array([3, 4]), rope))


def test_magnitude_lengthens_vectors(rope):
    x = np.ones((1, 1, 6))
    longer = rotate(x, np.array([5]), Rope(rope.inverse_frequencies, 1.5))
    np.testing.assert_allclose(np.linalg.norm(longer), 1.5 * np.linalg.norm(x))


def test_a_head_too_small_is_named(rope):
    with pytest.raises(ValueError, match="heads have 4 values, expected at least 6"):
        rotate(np.zeros((1, 1, 4)), np.array([0]), rope)
