"""The sampler: what it may choose, how often it chooses it, and what it reports."""

import numpy as np
import pytest

from ouvert.engine import EngineError, Sampling
from ouvert.engine.sampler import Sampler, candidates, check, likeliest, log_softmax, reported

LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -3.0], np.float32)
DRAWS = 6_000
# Five standard deviations of a share of 0.5 in DRAWS draws: by chance, one share in two million is further off.
FIVE_SIGMA = 5 * 0.5 / DRAWS**0.5
PINNED = [0, 0, 0, 3, 0, 1, 0, 0, 1, 0, 0, 0]


def softmax(logits):
    shares = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return shares / shares.sum()


def frequencies(sampling, logits=LOGITS, prompt=()):
    """How often each token is chosen when every draw starts from the same history."""
    sampler = Sampler(sampling, prompt, len(logits))
    counts = np.zeros(len(logits))
    for _ in range(DRAWS):
        counts[sampler.choose(logits).id] += 1
        sampler._counts = {token: list(prompt).count(token) for token in prompt}
    return counts / DRAWS


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_tokens_come_as_often_as_the_softmax_says(temperature):
    seen = frequencies(Sampling(temperature=temperature, seed=1))
    np.testing.assert_allclose(seen, softmax(LOGITS / temperature), atol=FIVE_SIGMA)


def test_the_tolerance_notices_a_wrong_temperature():
    seen = frequencies(Sampling(temperature=1.0, seed=1))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(seen, softmax(LOGITS / 1.1), atol=FIVE_SIGMA)


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(top_k=2, seed=2), [0, 1]),
        (Sampling(top_k=99, seed=2), [0, 1, 2, 3, 4, 5]),
        (Sampling(top_p=0.75, seed=2), [0, 1]),  # shares 0.56, 0.21, 0.13, ...
        (Sampling(top_p=0.80, seed=2), [0, 1, 2]),
        (Sampling(top_p=1e-9, seed=2), [0]),
        (Sampling(min_p=0.3, seed=2), [0, 1]),  # relative to the likeliest: 1, 0.37, 0.22, ...
        (Sampling(min_p=1.0, seed=2), [0]),
        (Sampling(top_k=3, top_p=0.8, seed=2), [0, 1]),  # of the three left, the first two have 0.86
    ],
)
def test_filters_keep_what_they_should_in_proportion(sampling, kept):
    expected = np.zeros(len(LOGITS))
    expected[kept] = softmax(LOGITS)[kept]
    np.testing.assert_allclose(frequencies(sampling), expected / expected.sum(), atol=FIVE_SIGMA)


def test_filters_look_at_the_distribution_after_temperature():
    ids, _ = candidates(LOGITS, Sampling(temperature=0.1, top_p=0.9))
    assert ids.tolist() == [0]
    ids, _ = candidates(LOGITS, Sampling(temperature=100.0, top_p=0.9))
    assert ids.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_nucleus_larger_than_the_first_look_is_found_whole():
    flat = np.zeros(5000, np.float32)
    ids, shares = candidates(flat, Sampling(top_p=0.5))
    assert ids.tolist() == list(range(2500))
    assert shares.tolist() == [1.0] * 2500


def test_greedy_takes_the_highest_and_the_lowest_id_of_equals():
    sampler = Sampler(Sampling(temperature=0), [], 4)
    assert sampler.choose(np.array([0, 7, 7, 1], np.float32)).id == 1


def test_a_tiny_temperature_is_greedy_and_does_not_overflow():
    sampler = Sampler(Sampling(temperature=1e-30, seed=3), [], 6)
    assert [sampler.choose(LOGITS * 1000).id for _ in range(20)] == [0] * 20


def test_likeliest_settles_ties_by_id():
    assert likeliest(np.array([1, 3, 3, 2, 3], np.float32), 2).tolist() == [1, 2]
    assert likeliest(np.array([1, 3, 3, 2, 3], np.float32), 4).tolist() == [1, 2, 4, 3]
    assert likeliest(LOGITS, 0).tolist() == []


@pytest.mark.parametrize("count", [1, 2, 17, 999, 1000, 2000])
def test_likeliest_agrees_with_a_full_sort(count):
    scores = np.random.default_rng(4).integers(0, 50, 1000).astype(np.float32)
    assert likeliest(scores, count).tolist() == np.argsort(-scores, kind="stable")[:count].tolist()


def test_a_seed_gives_the_same_choices_and_another_seed_others():
    def choices(seed):
        sampler = Sampler(Sampling(seed=seed), [], 6)
        return [sampler.choose(LOGITS).id for _ in range(50)]

    assert choices(7) == choices(7)
    assert choices(7) != choices(8)


def test_choices_of_a_seed_stay_what_they_were():
    """Receipts promise replay, so a change of the stream is a change of a format."""
    sampler = Sampler(Sampling(seed=2026), [], 6)
    assert [sampler.choose(LOGITS).id for _ in range(12)] == PINNED


def test_a_seed_is_drawn_where_none_is_given():
    assert 0 <= Sampler(Sampling(), [], 6).seed < 2**32
    assert Sampler(Sampling(seed=0), [], 6).seed == 0


def test_repetition_penalty_divides_what_is_positive_and_multiplies_what_is_negative():
    weighed = Sampler(Sampling(repetition_penalty=2.0), [0, 4, 4], 6)._weighed(LOGITS)
    assert weighed.tolist() == [1.0, 1.0, 0.5, 0.0, -2.0, -3.0]


def test_presence_counts_once_and_frequency_every_time():
    sampling = Sampling(presence_penalty=0.25, frequency_penalty=0.5)
    weighed = Sampler(sampling, [0, 1, 1, 1], 6)._weighed(LOGITS)
    assert weighed.tolist() == [1.25, -0.75, 0.5, 0.0, -1.0, -3.0]


def test_penalties_count_the_answer_too():
    sampler = Sampler(Sampling(temperature=0, frequency_penalty=1.5), [], 6)
    assert [sampler.choose(LOGITS).id for _ in range(4)] == [0, 1, 0, 2]


def test_a_bias_forbids_or_forces_a_token():
    assert frequencies(Sampling(logit_bias={0: -100.0}, seed=5))[0] == 0
    assert frequencies(Sampling(logit_bias={5: 100.0}, seed=5))[5] == 1


def test_a_bias_shifts_the_shares_as_an_added_logit():
    shifted = LOGITS + np.array([0, 0, 1.5, 0, 0, 0])
    np.testing.assert_allclose(frequencies(Sampling(logit_bias={2: 1.5}, seed=6)), softmax(shifted), atol=FIVE_SIGMA)


def test_logprobs_are_the_log_softmax_of_the_unchanged_logits():
    sampling = Sampling(temperature=0, logit_bias={3: 50.0}, repetition_penalty=3.0, logprobs=2)
    token = Sampler(sampling, [0], 6).choose(LOGITS)
    expected = np.log(softmax(LOGITS))
    assert token.id == 3
    assert token.logprob == pytest.approx(expected[3], abs=1e-12)
    assert [i for i, _ in token.top] == [0, 1]
    assert [p for _, p in token.top] == pytest.approx(expected[:2], abs=1e-12)


def test_logprobs_of_many_tokens_sum_to_one():
    logits = np.random.default_rng(8).standard_normal(50_000).astype(np.float32) * 10
    assert np.exp(log_softmax(logits)).sum() == pytest.approx(1, abs=1e-12)
    assert len(reported(logits, 3, 5).top) == 5


def test_zero_logprobs_gives_the_chosen_token_alone():
    token = Sampler(Sampling(temperature=0, logprobs=0), [], 6).choose(LOGITS)
    assert token.logprob is not None
    assert token.top == ()


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_broken_logit_is_an_error_and_not_a_token(broken):
    logits = LOGITS.copy()
    logits[2] = broken
    with pytest.raises(EngineError, match="1 of 6 logits are NaN or infinite"):
        Sampler(Sampling(temperature=0), [], 6).choose(logits)


@pytest.mark.parametrize(
    ("sampling", "named"),
    [
        (Sampling(temperature=-1), "temperature=-1"),
        (Sampling(temperature=float("nan")), "temperature=nan"),
        (Sampling(top_k=-1), "top_k=-1"),
        (Sampling(top_p=0), "top_p=0"),
        (Sampling(top_p=1.1), "top_p=1.1"),
        (Sampling(min_p=2), "min_p=2"),
        (Sampling(repetition_penalty=0), "repetition_penalty=0"),
        (Sampling(presence_penalty=float("inf")), "presence_penalty=inf"),
        (Sampling(seed=-1), "seed=-1"),
        (Sampling(max_tokens=0), "max_tokens=0"),
        (Sampling(logprobs=7), "logprobs=7"),
        (Sampling(logit_bias={6: 1.0}), r"logit_bias\[6\]"),
        (Sampling(logit_bias={1: float("nan")}), r"logit_bias\[1\]"),
    ],
)
def test_what_cannot_be_honoured_is_named(sampling, named):
    with pytest.raises(EngineError, match=named):
        check(sampling, 6)
