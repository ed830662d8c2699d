"""Routing by hand, and mixing that looks at no expert in vain."""

import numpy as np
import pytest

from ouvert.arithmetic import Experts, mix_experts, route_top_k


@pytest.fixture
def random():
    return np.random.default_rng(6)


def test_the_best_come_first_and_share_by_softmax():
    chosen, share = route_top_k(np.array([[0.0, 3.0, 1.0, 2.0]]), 2)
    assert chosen.dtype == np.int32
    np.testing.assert_array_equal(chosen, [[1, 3]])
    np.testing.assert_allclose(share, [[np.e / (np.e + 1), 1 / (np.e + 1)]])


def test_weights_that_are_not_normalised_are_parts_of_the_whole():
    scores = np.log([[1.0, 4.0, 2.0, 3.0]])
    chosen, weights = route_top_k(scores, 2, normalised=False)
    np.testing.assert_array_equal(chosen, [[1, 3]])
    np.testing.assert_allclose(weights, [[0.4, 0.3]])
    _, weights = route_top_k(scores, 2, chosen=np.array([[0, 2]], np.int32), normalised=False)
    np.testing.assert_allclose(weights, [[0.1, 0.2]])


def test_the_lower_index_wins_a_tie():
    chosen, _ = route_top_k(np.array([[1.0, 2.0, 2.0, 2.0]]), 2)
    np.testing.assert_array_equal(chosen, [[1, 2]])


def test_recorded_experts_are_taken_as_they_are():
    scores = np.array([[0.0, 3.0, 1.0, 2.0]])
    chosen, share = route_top_k(scores, 2, chosen=np.array([[0, 2]], np.int32))
    np.testing.assert_array_equal(chosen, [[0, 2]])
    np.testing.assert_allclose(share, [[1 / (1 + np.e), np.e / (1 + np.e)]])


def test_experts_nobody_chose_are_not_looked_at(random):
    class Never(dict):
        def __missing__(self, expert):
            raise AssertionError(f"expert {expert} was looked at")

    weight = Never({1: np.eye(3), 2: np.eye(3)})
    mixed = mix_experts(np.ones((2, 3)), Experts(weight, weight, weight), np.array([[1], [2]]), np.ones((2, 1)))
    np.testing.assert_allclose(mixed, np.full((2, 3), 1 / (1 + np.exp(-1))))
