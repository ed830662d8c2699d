"""The sampler: what it may choose, how often it chooses it, and what it reports."""

import math

import numpy as np
import pytest

from ouvert.arithmetic import sampling as plain
from ouvert.engine import EngineError, Sampling
from ouvert.engine.sampler import NotFiniteError, Sampler, check, choose_all, report_all
from ouvert.kernels import sampling as native

LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -3.0], np.float32)
MANY_LOGITS = np.sort(np.random.default_rng(30).standard_normal(40) * 1.5)[::-1].astype(np.float32)
PINNED = [0, 0, 0, 3, 0, 1, 0, 0, 1, 0, 0, 0]
SEQUENCES, STEPS = 50, 400
# Counts as wrong as this come by chance once in a million times; the seeds are fixed, so no test fails by chance.
FALSE_ALARM = 1e-6
# What a bug does to the counts must be as good as impossible by chance.
CERTAIN = 1e-12


def expected_shares(logits, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, bug=None):
    """What the filters mean, written anew, for logits that fall from left to right; with `bug`, what a mistake does."""

    def softmax(scores):
        shares = np.exp(scores - scores.max())
        return shares / shares.sum()

    scores = np.asarray(logits, np.float64)
    shares = softmax(scores) if bug == "temperature after top-p" else softmax(scores / temperature)
    kept = top_k or shares.size
    if bug == "one token more in top-k":
        kept += 1
    part = shares[:kept].sum() if bug != "nucleus of all tokens" else 1.0
    reached = np.searchsorted(np.cumsum(shares[:kept]), top_p * part) + 1
    if bug == "one token more in the nucleus":
        reached += 1
    if bug == "one token fewer in the nucleus":
        reached -= 1
    kept = min(kept, reached)
    if bug == "min-p of a share of 1":
        kept = min(kept, int((shares >= min_p).sum()))
    else:
        kept = min(kept, int((shares >= min_p * shares[0]).sum()))
    left = np.where(np.arange(shares.size) < kept, shares, 0)
    if bug == "draw not normalised":
        left[kept - 1] += 1 - left.sum()
    if bug == "temperature after top-p":
        left = np.where(left > 0, softmax(scores / temperature), 0)
    return left / left.sum()


def counts_of(sampling, logits=MANY_LOGITS):
    """How often each token is chosen, by sequences of different seeds that run together."""
    samplers = [Sampler(sampling(seed), [], logits.size) for seed in range(SEQUENCES)]
    rows = np.tile(logits, (SEQUENCES, 1))
    counts = np.zeros(logits.size)
    for _ in range(STEPS):
        for token in choose_all(rows, samplers, [None] * SEQUENCES):
            counts[token.id] += 1
    return counts


def chance_of(counts, shares):
    """The chance of counts that differ from these shares as much or more (chi-square); rare tokens count as one."""
    if counts[shares == 0].any():
        return 0.0
    expected = counts.sum() * shares
    common = expected >= 5
    pairs = [*zip(counts[common], expected[common], strict=True), (counts[~common].sum(), expected[~common].sum())]
    square = sum((seen - wanted) ** 2 / wanted for seen, wanted in pairs if wanted > 0)
    freedom = sum(wanted > 0 for _, wanted in pairs) - 1
    return chi_square_above(square, freedom)


def chi_square_above(x, freedom):
    if freedom == 0:
        return 1.0 if x < 1e-9 else 0.0
    chance, term = (math.exp(-x / 2), math.exp(-x / 2)) if freedom % 2 == 0 else (math.erfc(math.sqrt(x / 2)), None)
    if freedom % 2 == 0:
        for k in range(1, freedom // 2):
            term *= x / (2 * k)
            chance += term
        return chance
    term = math.sqrt(2 * x / math.pi) * math.exp(-x / 2)
    for k in range(1, freedom, 2):
        chance += term
        term *= x / (k + 2)
    return chance


def test_the_chances_of_chi_squares_are_those_of_the_tables():
    # Critical values of 5 % and 0.1 %, as printed in any table.
    for freedom, five, tenth in [(1, 3.841, 10.828), (2, 5.991, 13.816), (5, 11.070, 20.515), (30, 43.773, 59.703)]:
        assert chi_square_above(five, freedom) == pytest.approx(0.05, rel=2e-3)
        assert chi_square_above(tenth, freedom) == pytest.approx(0.001, rel=2e-3)


CASES = [
    ({}, ()),
    ({"temperature": 0.6}, ()),
    ({"temperature": 2.5}, ()),
    ({"top_k": 5}, ("one token more in top-k", "draw not normalised")),
    (
        {"top_p": 0.8},
        ("one token more in the nucleus", "one token fewer in the nucleus", "draw not normalised"),
    ),
    ({"temperature": 2.0, "top_p": 0.7}, ("temperature after top-p", "one token more in the nucleus")),
    ({"temperature": 0.5, "top_p": 0.95}, ("temperature after top-p", "one token fewer in the nucleus")),
    ({"min_p": 0.2}, ("min-p of a share of 1", "draw not normalised")),
    (
        {"temperature": 1.3, "top_k": 12, "top_p": 0.9, "min_p": 0.1},
        ("nucleus of all tokens", "temperature after top-p", "draw not normalised"),
    ),
]


@pytest.mark.parametrize(("asked", "bugs"), CASES)
def test_tokens_come_as_often_as_they_should_and_a_bug_would_be_noticed(asked, bugs):
    counts = counts_of(lambda seed: Sampling(**asked, seed=seed))
    right = expected_shares(MANY_LOGITS, **asked)
    assert chance_of(counts, right) > FALSE_ALARM
    for bug in bugs:
        assert chance_of(counts, expected_shares(MANY_LOGITS, **asked, bug=bug)) < CERTAIN, bug


def test_a_temperature_that_is_off_by_a_tenth_would_be_noticed():
    counts = counts_of(lambda seed: Sampling(temperature=1.0, seed=seed))
    assert chance_of(counts, expected_shares(MANY_LOGITS, temperature=1.1)) < CERTAIN


def test_one_sequence_draws_as_fairly_as_many():
    sampler = Sampler(Sampling(seed=1), [], LOGITS.size)
    counts = np.bincount([sampler.choose(LOGITS).id for _ in range(5_000)], minlength=LOGITS.size)
    assert chance_of(counts, expected_shares(LOGITS)) > FALSE_ALARM


def test_draws_that_follow_one_another_are_independent():
    """Pairs of neighbours come as often as the product of their chances."""
    logits = np.zeros(4, np.float32)
    sampler = Sampler(Sampling(seed=9), [], 4)
    ids = [sampler.choose(logits).id for _ in range(8_000)]
    pairs = np.bincount([4 * a + b for a, b in zip(ids[::2], ids[1::2], strict=True)], minlength=16)
    assert chance_of(pairs, np.full(16, 1 / 16)) > FALSE_ALARM


# One row for each way to choose: what is asked, which ids are allowed.
EVERYTHING = [
    (Sampling(temperature=0), None),
    (Sampling(seed=3), None),
    (Sampling(temperature=0.7, top_k=40, top_p=0.95, min_p=0.02, seed=4, logprobs=2), None),
    (Sampling(temperature=1.5, top_p=0.9, seed=5, repetition_penalty=1.2, frequency_penalty=0.3, logprobs=5), None),
    (Sampling(temperature=0, presence_penalty=0.5, logit_bias={3: 4.0, 8: -100.0}, logprobs=0), None),
    (Sampling(seed=6, logit_bias={1: 2.0}), np.arange(0, 900, 3)),
    (Sampling(seed=7, min_p=0.3), np.array([5, 899])),
    (Sampling(temperature=0), np.array([77])),
]


@pytest.mark.parametrize("by", [plain, native], ids=["plain", "native"])
def test_a_row_gets_the_same_token_alone_and_among_others(by):
    random = np.random.default_rng(11)
    together = [Sampler(asked, [1, 2, 2, 3], 900) for asked, _ in EVERYTHING]
    alone = [Sampler(asked, [1, 2, 2, 3], 900) for asked, _ in EVERYTHING]
    allowed = [ids for _, ids in EVERYTHING]
    for step in range(30):
        logits = (random.standard_normal((len(EVERYTHING), 900)) * 2).astype(np.float32)
        # Some rows rest, and the others come in another order.
        order = random.permutation(len(EVERYTHING))[: 3 + step % 6]
        found = choose_all(logits[order], [together[n] for n in order], [allowed[n] for n in order], by)
        expected = [alone[n].choose(logits[n], allowed[n]) for n in order]
        assert found == expected


def test_rows_that_fail_say_why_and_the_others_go_on():
    logits = np.tile(LOGITS, (4, 1))
    logits[1, 2] = np.nan
    samplers = [Sampler(Sampling(seed=seed), [], 6) for seed in range(4)]
    allowed = [None, None, np.array([], np.int64), np.array([4])]
    found = choose_all(logits, samplers, allowed)
    assert found[0] == Sampler(Sampling(seed=0), [], 6).choose(LOGITS)
    assert isinstance(found[1], NotFiniteError)
    assert isinstance(found[2], EngineError)
    assert not isinstance(found[2], NotFiniteError)
    assert "no token of the vocabulary may come next" in str(found[2])
    assert found[3].id == 4


def test_a_choice_that_failed_leaves_the_draw_for_the_next():
    expected = Sampler(Sampling(seed=2026), [], 6)
    sampler = Sampler(Sampling(seed=2026), [], 6)
    for _ in range(20):
        with pytest.raises(NotFiniteError):
            sampler.choose(np.full(6, np.nan, np.float32))
        with pytest.raises(EngineError, match="may come next"):
            sampler.choose(LOGITS, np.array([], np.int64))
        assert sampler.choose(LOGITS) == expected.choose(LOGITS)


def test_nothing_to_choose_from_is_no_error():
    assert choose_all(np.zeros((0, 6), np.float32), [], []) == []


def test_the_native_part_may_be_missing(monkeypatch):
    from ouvert.engine import sampler

    sampler.machinery.cache_clear()
    monkeypatch.setattr(sampler.kernels, "available", lambda: False)
    try:
        assert sampler.machinery() is plain
    finally:
        sampler.machinery.cache_clear()
    monkeypatch.undo()
    assert sampler.machinery() is native


def test_a_vocabulary_too_large_to_count_is_refused():
    with pytest.raises(EngineError, match="600000 tokens, expected at most 524287"):
        Sampler(Sampling(), [], 600_000)


def test_greedy_takes_the_highest_and_the_lowest_id_of_equals():
    sampler = Sampler(Sampling(temperature=0), [], 4)
    assert sampler.choose(np.array([0, 7, 7, 1], np.float32)).id == 1


def test_a_tiny_temperature_is_greedy_and_does_not_overflow():
    sampler = Sampler(Sampling(temperature=1e-30, seed=3), [], 6)
    assert [sampler.choose(LOGITS * 1000).id for _ in range(20)] == [0] * 20


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


def weighed(sampling, prompt):
    """LOGITS after bias and penalties."""
    sampler = Sampler(sampling, prompt, 6)
    return plain.changed(LOGITS, np.array([sampler.ask()], plain.ASK)[0], sampler.changes())


def test_repetition_penalty_divides_what_is_positive_and_multiplies_what_is_negative():
    assert weighed(Sampling(repetition_penalty=2.0), [0, 4, 4]).tolist() == [1.0, 1.0, 0.5, 0.0, -2.0, -3.0]


def test_presence_counts_once_and_frequency_every_time():
    sampling = Sampling(presence_penalty=0.25, frequency_penalty=0.5)
    assert weighed(sampling, [0, 1, 1, 1]).tolist() == [1.25, -0.75, 0.5, 0.0, -1.0, -3.0]


@pytest.mark.parametrize("by", [plain, native], ids=["plain", "native"])
@pytest.mark.parametrize(
    ("sampling", "chosen"),
    [
        (Sampling(temperature=0, repetition_penalty=1e-300), 0),  # larger than float32 holds: stays at its end
        (Sampling(temperature=0, frequency_penalty=1e308), 5),
        (Sampling(temperature=0, frequency_penalty=-1e308, presence_penalty=1e308), 0),
        (Sampling(temperature=0, logit_bias={0: 1e308}, repetition_penalty=1e-308), 0),
        (Sampling(temperature=1e-320, seed=1, frequency_penalty=1e308), 5),
    ],
)
def test_enormous_penalties_and_biases_are_no_error(by, sampling, chosen):
    (token,) = choose_all(LOGITS[None], [Sampler(sampling, [0, 1, 2, 3, 4] * 3, 6)], [None], by)
    assert token.id == chosen


def test_penalties_count_the_answer_too():
    sampler = Sampler(Sampling(temperature=0, frequency_penalty=1.5), [], 6)
    assert [sampler.choose(LOGITS).id for _ in range(4)] == [0, 1, 0, 2]


def test_a_bias_forbids_or_forces_a_token():
    assert counts_of(lambda seed: Sampling(logit_bias={0: -100.0}, seed=seed), LOGITS)[0] == 0
    assert counts_of(lambda seed: Sampling(logit_bias={5: 100.0}, seed=seed), LOGITS)[5] == SEQUENCES * STEPS


def test_a_bias_shifts_the_shares_as_an_added_logit():
    counts = counts_of(lambda seed: Sampling(logit_bias={1: 0.5}, seed=seed), LOGITS)
    shifted = LOGITS + np.array([0, 0.5, 0, 0, 0, 0])
    assert chance_of(counts, expected_shares(shifted)) > FALSE_ALARM
    assert chance_of(counts, expected_shares(LOGITS)) < CERTAIN


def test_logprobs_are_the_log_softmax_of_the_unchanged_logits():
    sampling = Sampling(temperature=0, logit_bias={3: 50.0}, repetition_penalty=3.0, logprobs=2)
    token = Sampler(sampling, [0], 6).choose(LOGITS)
    expected = np.log(expected_shares(LOGITS))
    assert token.id == 3
    assert token.logprob == pytest.approx(expected[3], abs=2e-10)
    assert [i for i, _ in token.top] == [0, 1]
    assert [p for _, p in token.top] == pytest.approx(expected[:2], abs=2e-10)


@pytest.mark.parametrize("spread", [0.0, 1.0, 10.0])
def test_logprobs_of_many_tokens_sum_to_one(spread):
    logits = (np.random.default_rng(8).standard_normal(200_000) * spread).astype(np.float32)
    (token,) = report_all([logits], [3], 5)
    assert len(token.top) == 5
    # log(total) is within 1e-8 (arithmetic.sampling), so every probability is.
    everything = [logprob for _, logprob in report_all([logits], [3], logits.size)[0].top]
    assert math.fsum(map(math.exp, everything)) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("by", [plain, native], ids=["plain", "native"])
def test_rows_are_reported_together_as_alone(by):
    logits = (np.random.default_rng(12).standard_normal((5, 300)) * 3).astype(np.float32)
    tokens = [0, 7, 299, 7, 1]
    alone = [report_all([row], [token], 4)[0] for row, token in zip(logits, tokens, strict=True)]
    assert report_all(logits, tokens, 4, by) == alone
    logits[3, 9] = np.inf
    with pytest.raises(NotFiniteError):
        report_all(logits, tokens, 4, by)


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
