"""kernels.sampling against its twin in arithmetic: the same shares to the last bit, the same token for a draw."""

import itertools

import numpy as np
import pytest

from ouvert.arithmetic import sampling as plain
from ouvert.arithmetic.sampling import ASK, LOG2_E, SHARE_BITS, Changes
from ouvert.kernels import sampling
from ouvert.kernels.linear import available_instruction_sets

# Blocks are of 64 tokens; the last size is SmolLM2's vocabulary.
SIZES = [1, 2, 63, 64, 65, 127, 128, 1000, 5000, 49_152]
SCALES = [LOG2_E * 1e-9, LOG2_E / 3, LOG2_E, LOG2_E * 30, 1e300]


def rows_of(size, spread):
    random = np.random.default_rng(size)
    rows = (random.standard_normal((4, size)) * spread).astype(np.float32)
    rows[2] = np.round(rows[2])  # many are equal
    rows[3] = 0  # all are
    return rows


def ask(scale=LOG2_E, top_p=1.0, draw=0, min_p=0.0, top_k=0, logprobs=-1):
    least = int(np.ceil(min_p * 2.0**SHARE_BITS))
    return np.array((scale, top_p, 1.3, 0.4, 0.2, draw, least, top_k, logprobs), ASK)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("spread", [0.1, 2.0, 30.0])
def test_shares_are_the_same_to_the_last_bit(size, scale, spread):
    for row in rows_of(size, spread):
        expected = plain.shares(row, scale)
        for name in available_instruction_sets():
            np.testing.assert_array_equal(sampling.shares(row, scale, name), expected)


@pytest.mark.parametrize(
    ("size", "top_k"), [*itertools.product(SIZES[:-1], [0, 1, 5, 40, 300, 2_000]), (49_152, 0), (49_152, 380)]
)
def test_every_draw_chooses_the_same_token(size, top_k):
    random = np.random.default_rng(top_k)
    seen = np.unique(random.integers(0, size, 20))
    changes = Changes(random.integers(0, size, 1), np.array([2.5]), seen, np.arange(seen.size) + 1.0)
    some = np.unique(random.integers(0, size, max(1, size // 2)))
    spreads, scales = (
        ([0.5, 2.0], [LOG2_E / 2, LOG2_E]) if size <= 1000 else ([2.0], [LOG2_E])
    )  # plenty of blocks there
    filters = itertools.product(spreads, scales, [1e-9, 0.5, 0.95, 1 - 2**-53, 1.0], [0.0, 0.05, 1.0])
    for spread, scale, top_p, min_p in filters:
        rows = rows_of(size, spread)
        draws = random.integers(0, 2**64, len(rows), np.uint64)
        asks = np.array([ask(scale, top_p, draw, min_p, top_k, min(3, size)) for draw in draws])
        for changed, allowed in ((None, None), (changes, None), (changes, some)):
            given = [changed] * len(rows), [allowed] * len(rows)
            expected = plain.choose(rows, asks, *given)
            for name in available_instruction_sets():
                found = sampling.choose(rows, asks, *given, name)
                np.testing.assert_array_equal(found[0], expected[0])
                np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("draw", [0, 1, 2**63, 2**64 - 1])
def test_the_ends_of_the_draw_are_words_with_a_share(draw):
    row = np.array([[-200, 0, 1, 0, -200]], np.float32)
    for by in (plain, sampling):
        outcomes, _ = by.choose(row, np.array([ask(draw=draw)]), [None], [None])
        assert 1 <= outcomes["token"][0] <= 3


@pytest.mark.parametrize("size", [1, 64, 65, 200])
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_counted_wherever_it_stands(size, broken):
    for place in {0, size // 2, size - 1}:
        rows = np.zeros((2, size), np.float32)
        rows[1, place] = broken
        for name in available_instruction_sets():
            outcomes, _ = sampling.choose(rows, np.array([ask(), ask()]), [None] * 2, [None] * 2, name)
            assert outcomes["broken"].tolist() == [0, 1]


@pytest.mark.parametrize("size", [2, 100, 5000])
def test_reports_are_the_same(size):
    rows, tops = rows_of(size, 3.0), np.array([-1, 0, 2, size])
    expected = plain.report(rows, tops)
    for name in available_instruction_sets():
        found = sampling.report(rows, tops, name)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        (None, np.array([1, 8])),
        (None, np.array([-1, 3])),
        (None, np.array([], np.int64)),
        (Changes(np.array([8]), np.array([1.0]), np.array([], np.int64), np.array([])), None),
        (Changes(np.array([], np.int64), np.array([]), np.array([-1]), np.array([1.0])), None),
    ],
)
def test_ids_that_are_no_words_are_refused(changes, allowed):
    with pytest.raises(ValueError, match=r"row 1 has an id.* not among its 8 tokens"):
        sampling.choose(np.zeros((2, 8), np.float32), np.array([ask(), ask()]), [None, changes], [None, allowed])


@pytest.mark.parametrize(
    "logits",
    [
        np.zeros((1, 8)),
        np.zeros((8, 1), np.float32).repeat(2, axis=1).T,
        np.zeros((1, 0), np.float32),
        np.zeros((1, 1, 8), np.float32),
        [np.zeros(8, np.float32), np.zeros(9, np.float32)],
    ],
)
def test_rows_of_another_kind_are_refused(logits):
    with pytest.raises(ValueError, match="expected contiguous float32"):
        sampling.choose(logits, np.array([ask()] * len(logits)), [None] * len(logits), [None] * len(logits))


def test_something_is_asked_of_every_row():
    with pytest.raises(ValueError, match="2 rows of logits"):
        sampling.choose(np.zeros((2, 8), np.float32), np.array([ask()]), [None] * 2, [None] * 2)
    with pytest.raises(ValueError, match="none above the number of tokens"):
        sampling.report(np.zeros((1, 8), np.float32), np.array([9]))


@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 65, 4096, 49153])
def test_rank_and_entropy_are_those_of_the_definition_and_the_same_bits_for_every_instruction_set(tokens):
    random = np.random.default_rng(tokens)
    for scale in (0.01, 1.0, 30.0, 3000.0):
        row = (random.standard_normal(tokens) * scale).astype(np.float32)
        row[random.integers(tokens)] = row.max()
        token = int(random.integers(tokens))
        total = int(plain.shares(row, plain.LOG2_E).sum())
        rank, entropy = plain.spread(row, token, float(row.max()), total)
        found = {sampling.spread(row, token, float(row.max()), total, each) for each in available_instruction_sets()}
        assert len(found) == 1
        assert found.pop() == (rank, pytest.approx(entropy, abs=1e-11))
        exact = np.exp(row.astype(np.float64) - row.max())
        exact /= exact.sum()
        assert entropy == pytest.approx(-(exact[exact > 0] * np.log(exact[exact > 0])).sum(), abs=1e-7)
        assert rank == 1 + sum(row > row[token])
