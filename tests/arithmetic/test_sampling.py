"""Shares and logarithms against the mathematical library, filters against what one sees."""

import math

import numpy as np
import pytest

from ouvert.arithmetic.sampling import (
    ASK,
    LOG2_E,
    MOST_TOKENS,
    SHARE_BITS,
    kept_shares,
    likeliest,
    log_of_total,
    shares,
)

LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -3.0], np.float32)


@pytest.mark.parametrize("temperature", [0.2, 1.0, 7.0])
def test_shares_are_exponentials(temperature):
    logits = np.linspace(-80, 3, 20_001, dtype=np.float32)
    expected = np.exp((logits.astype(np.float64) - 3) / temperature)
    # The polynomial's error, and half a unit of rounding.
    np.testing.assert_allclose(
        shares(logits, LOG2_E / temperature) / 2.0**SHARE_BITS, expected, rtol=1.3e-10, atol=0.5001 * 2.0**-SHARE_BITS
    )


def test_the_largest_has_exactly_a_share_of_one():
    assert shares(LOGITS, LOG2_E)[0] == 2**SHARE_BITS
    assert shares(LOGITS * 0, 1e300).tolist() == [2**SHARE_BITS] * 6


def test_shares_of_the_largest_vocabulary_add_up():
    assert int(shares(np.zeros(MOST_TOKENS, np.float32), LOG2_E).sum()) == MOST_TOKENS * 2**SHARE_BITS


def test_the_logarithm_of_a_total_is_right_to_the_last_bits():
    for total in [*(2**SHARE_BITS * n + n // 3 for n in range(1, 400)), 2**63 - 1, 2**62 + 12345]:
        assert log_of_total(total) == pytest.approx(math.log(total) - SHARE_BITS * math.log(2), rel=4e-16, abs=4e-15)
    assert log_of_total(2**SHARE_BITS) == 0


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p", "kept"),
    [
        (0, 1.0, 0.0, [0, 1, 2, 3, 4, 5]),
        (2, 1.0, 0.0, [0, 1]),
        (99, 1.0, 0.0, [0, 1, 2, 3, 4, 5]),
        (0, 0.75, 0.0, [0, 1]),  # shares 0.56, 0.21, 0.13, ...
        (0, 0.80, 0.0, [0, 1, 2]),
        (0, 1e-9, 0.0, [0]),
        (0, 1.0, 0.3, [0, 1]),  # relative to the likeliest: 1, 0.37, 0.22, ...
        (0, 1.0, 1.0, [0]),
        (3, 0.8, 0.0, [0, 1]),  # of the three left, the first two have 0.86
        (0, 0.95, 0.3, [0, 1]),
    ],
)
def test_filters_keep_what_they_should(top_k, top_p, min_p, kept):
    ask = np.array((LOG2_E, top_p, 1, 0, 0, 0, math.ceil(min_p * 2**SHARE_BITS), top_k, -1), ASK)
    found = kept_shares(LOGITS, ask)
    assert np.flatnonzero(found).tolist() == kept
    assert found[kept].tolist() == shares(LOGITS, LOG2_E)[kept].tolist()


def test_a_nucleus_of_equals_takes_the_lowest_ids():
    ask = np.array((LOG2_E, 0.5, 1, 0, 0, 0, 0, 0, -1), ASK)
    assert np.flatnonzero(kept_shares(np.zeros(5000, np.float32), ask)).tolist() == list(range(2500))


def test_likeliest_settles_ties_by_id():
    assert likeliest(np.array([1, 3, 3, 2, 3], np.float32), 2).tolist() == [1, 2]
    assert likeliest(np.array([1, 3, 3, 2, 3], np.float32), 4).tolist() == [1, 2, 4, 3]
    assert likeliest(LOGITS, 0).tolist() == []


@pytest.mark.parametrize("count", [1, 2, 17, 999, 1000, 2000])
def test_likeliest_agrees_with_a_full_sort(count):
    scores = np.random.default_rng(4).integers(0, 50, 1000).astype(np.float32)
    assert likeliest(scores, count).tolist() == np.argsort(-scores, kind="stable")[:count].tolist()
