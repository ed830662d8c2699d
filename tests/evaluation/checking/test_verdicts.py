"""How often a check errs: two models that are the same in truth, and answer otherwise by chance."""

import random

import numpy as np
import pytest

from ouvert.evaluation import Outcome, Score
from ouvert.evaluation.checking.findings import Answers, judged, smallest_noticed, state_of
from ouvert.evaluation.checking.measures import CAPABILITY, LEVEL, NEEDED, PAIRED
from ouvert.evaluation.checking.questions import COUNTS
from ouvert.evaluation.statistics import mcnemar_worse_p

# Of the same question how often an answer has the property: a model of some ability, that refuses most such requests.
SHARES = {"refused": 0.85, "complied": 0.1, "right": 0.5, "formed": 0.8, "ended": 0.97, "circles": 0.03, "benign": 0.06}


def answers(row, draw, shares):
    """Outcome and score of one answer, by lot."""
    if row.startswith("refusals"):
        lot = draw.random()
        label = (
            "refused"
            if lot < shares["refused"]
            else "complied"
            if lot < shares["refused"] + shares["complied"]
            else "incapable"
        )
    elif row.startswith("benign"):
        label = "refused" if draw.random() < shares["benign"] else "complied"
    else:
        label = "circles" if draw.random() < shares["circles"] else ""
    right = draw.random() < shares["right"]
    score = Score(value=float(right), right=right, malformed=draw.random() > shares["formed"], label=label)
    return Outcome(text="x", reason="stop" if draw.random() < shares["ended"] else "length"), score


def texts(draw, change=0.0):
    """Losses of one text before and after: tokens move by 0.3 nats to either side."""
    before = np.asarray([draw.gauss(3.5, 2.5) for _ in range(380)])
    after = before * (1 + change) + np.asarray([draw.gauss(0, 0.3) for _ in range(380)])
    return [(Outcome(logprobs=tuple(-each)), Score(value=0.0, right=False)) for each in (before, after)]


def made_up(seed, after=SHARES, change=0.0, before=SHARES):
    draw, found = random.Random(seed), {}
    for row, count in COUNTS.items():
        if row.startswith("reading"):
            found[row] = [(str(n), Answers(*texts(draw, change))) for n in range(count)]
        else:
            found[row] = [
                (str(n), Answers(answers(row, draw, before), answers(row, draw, after))) for n in range(count)
            ]
    return found


def state(by_row):
    return state_of(judged(by_row, {}), None, NEEDED)[0]


def test_a_model_that_did_not_change_is_checked_in_95_of_100_checks_at_least():
    """Every answer is drawn anew, which is more noise than any adapter that changes nothing makes."""
    states = [state(made_up(seed)) for seed in range(100)]
    assert states.count("checked") >= 95  # 98 at LEVEL
    assert set(states) <= {"checked", "regression"}


@pytest.mark.parametrize(
    "after",
    [{"refused": 0.55, "complied": 0.4}, {"benign": 0.3}, {"ended": 0.75}, {"right": 0.2}, {"formed": 0.5}],
    ids=lambda each: next(iter(each)),
)
def test_a_loss_that_matters_is_found_in_most_checks(after):
    states = [state(made_up(seed, {**SHARES, **after})) for seed in range(20)]
    assert states.count("regression") >= 17


def test_refusals_from_94_to_61_of_100_are_always_found():
    before, after = ({**SHARES, "refused": share, "complied": 0.95 - share} for share in (0.94, 0.61))
    assert {state(made_up(seed, after, before=before)) for seed in range(20)} == {"regression"}


@pytest.mark.parametrize(("change", "expected"), [(0.0, "kept"), (0.015, "kept"), (0.06, "worse")])
def test_the_loss_of_neutral_text_is_held_to_its_limit(change, expected):
    verdicts = {
        each.verdict
        for seed in range(10)
        for each in judged(made_up(seed, change=change), {})
        if each.measure in ("neutral_en", "neutral_fr")
    }
    assert verdicts == {expected}


def test_what_is_noticed_is_the_first_count_whose_p_is_small_enough():
    count = smallest_noticed()
    assert mcnemar_worse_p(count, 0) * len(PAIRED) <= LEVEL < mcnemar_worse_p(count - 1, 0) * len(PAIRED)
    assert count == 8


def test_one_sided_p_is_that_of_fair_coins():
    assert mcnemar_worse_p(3, 3) == 0.5
    assert mcnemar_worse_p(5, 0) == pytest.approx(0.5**5 / 2)  # mid-p: half of what was seen
    assert mcnemar_worse_p(0, 5) == pytest.approx(1 - 0.5**5 / 2)
    assert mcnemar_worse_p(8, 2) == pytest.approx((1 + 10 + 45 / 2) / 2**10)


def test_a_question_that_could_not_be_asked_counts_on_neither_side():
    by_row = made_up(1)
    whole = {each.measure: each for each in judged(by_row, {})}
    refused = (Outcome(refused="this model has no way to be given tools."), Score(value=0.0, right=False))
    by_row["tools/en/free"] = [(name, Answers(refused, refused)) for name, _ in by_row["tools/en/free"]]
    fewer = {each.measure: each for each in judged(by_row, {})}
    assert whole["capability"].n == sum(COUNTS[row] for row in CAPABILITY)
    assert fewer["capability"].n == whole["capability"].n - COUNTS["tools/en/free"]


def test_texts_of_other_tokens_are_not_compared():
    by_row = made_up(1)
    cut = [
        (name, Answers(pair.before, (Outcome(logprobs=pair.after[0].logprobs[:-1]), pair.after[1])))
        for name, pair in by_row["reading/en/text"]
    ]
    by_row["reading/en/text"] = cut
    found = judged(by_row, {})
    assert {each.measure: each.verdict for each in found}["neutral_en"] == "not_measured"
    assert state_of(found, None, NEEDED)[0] == "unchecked"
