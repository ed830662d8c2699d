"""Attention in strips, its softmax, and what is kept of keys and values."""

import numpy as np
import pytest

from ouvert.arithmetic import KeyValues, attend, softmax
from ouvert.arithmetic import attention as module

# Sums of at most 12 products and a softmax in float64.
TOLERANCE = {"rtol": 1e-12, "atol": 1e-14}


@pytest.fixture
def random():
    return np.random.default_rng(20)


@pytest.mark.parametrize("window", [None, 3, 8])
@pytest.mark.parametrize("at_once", [1, 4, 5])
def test_long_prompts_in_strips_give_the_same(random, monkeypatch, window, at_once):
    q, keys, values = random.standard_normal((3, 11, 2, 12))
    keys, values = keys.swapaxes(0, 1), values.swapaxes(0, 1)
    whole = attend(q, keys, values, scale=0.3, window=window)
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", at_once)
    np.testing.assert_allclose(attend(q, keys, values, scale=0.3, window=window), whole, **TOLERANCE)


def test_scores_of_any_size_give_shares(random):
    scores = np.array([[1e4, 1e4 - 1, -np.inf], [-1e4, -1e4, -1e4]], np.float32)
    shares = softmax(scores)
    np.testing.assert_allclose(shares, [[0.7310586, 0.2689414, 0], [1 / 3] * 3], rtol=1e-6)


def test_a_sink_takes_its_share():
    shares = softmax(np.zeros((1, 3)), np.array([np.log(2.0)]))
    np.testing.assert_allclose(shares, [[0.2, 0.2, 0.2]])
    assert softmax(np.zeros((1, 3)), np.array([1e5])).sum() == 0


def test_heads_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match="5 query heads cannot share 2 key heads evenly"):
        attend(np.zeros((1, 5, 4)), np.zeros((2, 1, 4)), np.zeros((2, 1, 4)), scale=1.0)


def test_what_was_appended_is_kept_in_order(random):
    cache = KeyValues(3, 4, np.float32)
    k, v = random.standard_normal((2, 200, 3, 4)).astype(np.float32)
    for start, stop in [(0, 1), (1, 63), (63, 64), (64, 65), (65, 200)]:
        cache.append(k[start:stop], v[start:stop])
    np.testing.assert_array_equal(cache.keys, k.swapaxes(0, 1))
    np.testing.assert_array_equal(cache.values, v.swapaxes(0, 1))
    cache.truncate(70)
    cache.append(k[:5], v[:5])
    np.testing.assert_array_equal(cache.keys, np.concatenate([k[:70], k[:5]]).swapaxes(0, 1))


def test_keys_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"k is \(1, 2, 4\).*expected \(tokens, 3, 4\)"):
        KeyValues(3, 4, np.float32).append(np.zeros((1, 2, 4)), np.zeros((1, 2, 4)))
