"""What else a comparison holds: letters, groups, confidence, bits, efforts, pass@k, votes, limits, connections."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from tests.evaluation.analysis.in_memory import OneRow, always, compared, scored, the_first
from tests.evaluation.made_up import made_up_comparison, made_up_suites

from ouvert.evaluation import Cost, EvaluationError, Outcome, Text, Vote, VoteFile
from ouvert.evaluation.analysis import analyse
from ouvert.evaluation.analysis.analyse import rounded
from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.comparison import LIMITS, Interval

LETTERED = OneRow(
    "choices/en/letter", 100, facts={"expected": lambda n: {"letter": "ABCD"[n % 4]}}, card={"chance": {"letter": 0.25}}
)


def choosing(letter_of):
    def answers(item, sample):
        chosen, gold = letter_of(item), item.expected["letter"]
        return scored(chosen == gold, chosen=chosen, malformed=not chosen)

    return answers


def test_a_letter_biased_stub_is_unmasked():
    def mostly_a(item):
        return "A" if Random(item.id).random() < 0.97 else "BCD"[int(item.id) % 3]

    def even(item):
        return "ABCD"[Random(f"even {item.id}").randrange(4)]

    def knows_much(item):
        return item.expected["letter"] if int(item.id) % 3 else even(item)

    found = compared(
        [LETTERED], {"biased": choosing(mostly_a), "guesses": choosing(even), "knows": choosing(knows_much)}
    )
    biased, guesses, knows = found.rows[0].scores
    assert (biased.biased, guesses.biased, knows.biased) == ("A", "", "")
    assert biased.chosen["A"] > 90
    assert set(biased.chosen) == set("ABCD")
    assert sum(guesses.chosen.values()) == 100
    assert biased.floor
    assert found.limits["letter_bias"] == ("choices/en/letter",)


def test_letters_are_counted_where_letters_are_asked_for():
    by_likelihood = OneRow("choices/en/likelihood", 40, kind="likelihood", facts=LETTERED.facts)
    [score] = compared([by_likelihood], {"one": choosing(lambda item: "A")}).rows[0].scores
    assert (score.chosen, score.biased) == (None, "")
    silent = compared([LETTERED], {"one": choosing(lambda item: "")}).rows[0].scores[0]
    assert (silent.chosen, silent.malformed) == (None, 100)


def test_a_few_more_of_one_letter_are_no_bias():
    def a_little(item):
        return "A" if int(item.id) % 12 == 1 else item.expected["letter"]

    assert compared([LETTERED], {"one": choosing(a_little)}).rows[0].scores[0].biased == ""


def test_wordings_and_groups_have_their_own_shares():
    row = OneRow(n=60, facts={"wording": lambda n: n % 3, "group": lambda n: ("easy", "hard")[n % 2]})
    found = compared([row], {"one": always(lambda item: item.wording != 2 and item.group == "easy")})
    [score] = found.rows[0].scores
    assert score.wordings == Interval(0.0, 0.5)
    easy, hard = score.groups
    assert (easy.group, easy.n, hard.share) == ("easy", 30, 0.0)
    assert easy.share == pytest.approx(2 / 3)
    assert hard.interval.high > 0.1
    assert "one_wording" not in found.limits


def test_what_went_wrong_is_counted():
    def troubled(item, sample):
        n = int(item.id)
        outcome = Outcome(reason="length" if n < 3 else "stop", refused="too long" if n == 9 else "")
        return scored(n > 20, malformed=n < 5), outcome

    [score] = compared([OneRow(n=40)], {"one": troubled}).rows[0].scores
    assert (score.malformed, score.cut, score.refused, score.right) == (5, 3, 1, 19)


def test_a_boaster_and_an_honest_contestant_are_told_apart():
    def saying(share):
        def answers(item, sample):
            sure = 0.5 + Random(item.id).random() / 2
            return scored(Random(f"right {item.id}").random() < sure - share, confidence=sure)

        return answers

    honest, boaster = compared([OneRow(n=200)], {"honest": saying(0), "boaster": saying(0.3)}).calibrations
    assert (honest.of, honest.n, honest.contestant) == ("asked", 200, "honest")
    assert honest.ece_interval.low < 0.03
    assert boaster.ece_interval.low > 0.15
    assert boaster.brier > honest.brier
    assert len(honest.bins) == len(honest.coverage) == 10
    assert honest.coverage[-1][1] == pytest.approx(sum(share * n for _, share, n in honest.bins) / 200)


def test_probabilities_are_confidences_of_choices_and_of_short_answers():
    def likely(item, sample):
        logprobs = (math.log(0.6), math.log(0.2), math.log(0.1), math.log(0.1))
        return scored(True, confidence=0.6), Outcome(logprobs=logprobs)

    def short(item, sample):
        return scored(True), Outcome(text="C", logprobs=(math.log(0.8), math.log(0.5)))

    def long(item, sample):
        return scored(True), Outcome(text="C, since", logprobs=(-0.5,) * 9)

    [choice] = compared([OneRow(n=30, kind="likelihood")], {"one": likely}).calibrations
    assert (choice.of, choice.bins) == ("tokens", ((pytest.approx(0.6), 1.0, 30),))
    [letter] = compared([OneRow(n=30)], {"one": short, "wordy": long}).calibrations
    assert letter.contestant == "one"
    assert letter.bins[0][0] == pytest.approx(0.4)


def test_a_handful_of_confidences_is_no_calibration():
    assert compared([OneRow(n=19)], {"one": lambda item, sample: scored(True, confidence=0.9)}).calibrations == ()


TEXTS = OneRow("reading/fr", 12, kind="text", facts={"ask": lambda n: Text(text="é" * (n + 4))})


def test_bits_per_byte_are_over_bytes_and_perplexity_over_tokens():
    def reading(tokens):
        def answers(item, sample):
            letters = len(item.ask.text)
            return Outcome(logprobs=(-letters * math.log(2) / tokens,) * tokens)

        return answers

    found = compared([TEXTS], {"long tokens": reading(2), "short tokens": reading(8)})
    one, other = found.bits
    assert one.bits_per_byte == pytest.approx(0.5)  # one bit a letter of two bytes
    assert (one.texts, one.text_bytes, one.tokens, other.tokens) == (12, 2 * sum(range(4, 16)), 24, 96)
    assert one.bits_per_byte == other.bits_per_byte
    assert one.perplexity > other.perplexity
    assert (one.interval.low, one.interval.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert found.rows[0].scores == ()
    assert found.pairs == ()


def test_texts_that_one_could_not_read_count_for_nobody():
    def all_of_them(item, sample):
        return Outcome(logprobs=(-1.0,))

    def short_ones(item, sample):
        return Outcome(logprobs=(-1.0,)) if int(item.id) < 5 else Outcome(refused="too long")

    found = compared([TEXTS], {"a": all_of_them, "b": short_ones, "c": lambda item, sample: Outcome(refused="no")})
    assert [(each.contestant, each.texts) for each in found.bits] == [("a", 5), ("b", 5)]


def test_the_knee_is_where_more_effort_was_not_shown_to_bring_more():
    def thinking(share, tokens):
        def answers(item, sample):
            cost = Cost(whole=tokens / 10, output_tokens=tokens, thought_tokens=tokens - 5, alone=int(item.id) < 10)
            return scored(int(item.id) < share), cost

        return answers

    efforts = {"m:high": thinking(81, 900), "m:low": thinking(40, 50), "m:medium": thinking(80, 200)}
    found = compared([OneRow(n=100)], {**efforts, "other": thinking(50, 10)}).efforts
    assert [(point.effort, point.knee) for point in found] == [("low", False), ("medium", True), ("high", False)]
    assert (found[0].output_tokens, found[0].thought_tokens, found[0].seconds, found[0].joules) == (50, 45, 5, None)
    assert found[1].share == 0.8
    assert found[1].contestant == "m:medium"


def test_one_effort_is_no_curve():
    assert compared([OneRow()], {"m:low": always(True), "n:high": always(False)}).efforts == ()


def test_pass_at_k_is_of_rows_with_several_answers():
    def one_in_four(item, sample):
        return scored(sample == int(item.id) % 4)

    row = OneRow(n=40, planned={"samples": 4})
    found = compared([row, OneRow("once/en")], {"one": one_in_four}).passes
    assert [(each.k, each.value) for each in found] == [(1, 0.25), (2, 0.5)]
    assert found[0].samples == 4
    assert found[0].interval.low < 0.25 < found[0].interval.high


def vote(n, shown, verdict, voter=""):
    return Vote(prompt=f"sha256:{n}", shown=shown, answers=("",) * len(shown), verdict=verdict, voter=voter, seconds=1)


def test_votes_of_people_become_ranks(tmp_path):
    votes = VoteFile(tmp_path)
    for n in range(60):
        votes.add(vote(n, ("a", "b", "c") if n % 2 else ("c", "b", "a"), ("first", "second", "tie")[n % 3]))
        votes.add(vote(n, ("gone", "a"), "first"))
    found = compared([OneRow()], {label: always(True) for label in "abc"}, tmp_path)
    assert {each.contestant for each in found.votes} == set("abc")
    assert found.votes[0].contestant == "b"
    # Of 60 votes about three, those whose best was another say nothing about a pair.
    assert sum(each.votes for each in found.votes) == 2 * (40 * 2 + 20 * 3)
    assert "few_votes" not in found.limits


def test_few_votes_give_no_rank_and_say_so(tmp_path):
    votes = VoteFile(tmp_path)
    for n in range(10):
        votes.add(vote(n, ("a", "b"), "first"))
        votes.add(vote(n, ("c", "d"), "both_bad"))
    found = compared([OneRow()], {label: always(True) for label in "abcd"}, tmp_path)
    assert found.votes == ()
    assert found.limits["few_votes"] == tuple("abcd")
    assert found.limits["separate_votes"] == tuple("abcd")


def test_limits_are_those_that_hold_and_have_names():
    public = OneRow("public/en", 30, card={"kind": "package"}, facts={"cluster": lambda n: str(n % 5)})
    found = compared([public, OneRow("own/en", 400)], {"a": the_first(20), "b": the_first(16)})
    assert found.limits["public"] == found.limits["few_items"] == found.limits["few_clusters"] == ("public/en",)
    assert found.limits["one_wording"] == ("public/en", "own/en")
    assert list(found.limits) == [key for key in LIMITS if key in found.limits]
    assert compared([OneRow(n=200)], {"elsewhere": the_first(90)}).limits["remote"] == ("elsewhere",)
    assert compared([OneRow(n=30)], {"alone": the_first(20)}).limits["few_items"] == ("task/en",)


def test_connections_are_added_up_over_all_receipts():
    found = compared([OneRow(n=10)], {"a": always(True), "b": always(True)}).connections
    assert found == {"attempted": 20, "allowed": 0, "denied": 20, "counted": 20, "receipts": 20}


def test_figures_are_finite_and_have_ten_digits():
    assert rounded({"a": (1 / 3, [2 / 3], "text", True, 7)}) == {"a": (0.3333333333, [0.6666666667], "text", True, 7)}
    with pytest.raises(EvaluationError, match="expected a finite one"):
        rounded((math.inf,))


PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
import pytest
from tests.evaluation.made_up import made_up_suites
from ouvert.evaluation import Evidence
from ouvert.evaluation.analysis import analyse
from ouvert.evaluation.canonical import canonical_json
with pytest.MonkeyPatch.context() as patch, Evidence.open(Path(sys.argv[1])) as evidence:
    made_up_suites(patch)
    sys.stdout.buffer.write(canonical_json(analyse(evidence)))
"""


def test_a_folder_gives_the_same_bytes_again_also_in_another_process(tmp_path, monkeypatch):
    made_up_suites(monkeypatch)
    with made_up_comparison(tmp_path / "c", samples=2) as evidence:
        found = analyse(evidence)
        assert canonical_json(found) == canonical_json(analyse(evidence))
        assert found.plan == evidence.plan.mapping  # as it was locked
    assert found.pairs[0].verdict == "first_better"
    assert json.loads(canonical_json(found))["contestants"][0]["label"] == "strong"
    other = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "c")], check=True, stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3], env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
    )  # fmt: skip
    assert other.stdout == canonical_json(found)


@pytest.mark.parametrize("flaw", [{"value": 1.5}, {"value": math.nan}, {"confidence": 90}, {"value": "1"},
    {"right": "yes"}, {"chosen": ["A"]}])  # fmt: skip
def test_a_score_that_is_none_is_refused(flaw):
    with pytest.raises(EvaluationError, match="0 to 1"):
        compared([OneRow(n=5)], {"one": lambda item, sample: replace(scored(True), **flaw)})


@pytest.mark.parametrize("flaw", [{"logprobs": ("-1",)}, {"refused": 1}, {"whole": "1 s"}, {"output_tokens": []}])
def test_an_answer_that_is_none_is_refused(flaw):
    [name] = flaw
    outcome = Outcome(**flaw) if name in ("logprobs", "refused") else Outcome()
    cost = Cost(**{"whole": 1.0, **({} if name in ("logprobs", "refused") else flaw)})
    with pytest.raises(EvaluationError, match=f"{name} is"):
        compared([OneRow(n=5)], {"one": lambda item, sample: (scored(True), outcome, cost)})


def test_numbers_that_are_none_do_not_reach_a_figure():
    def odd(item, sample):
        logprobs = {0: (math.nan,), 1: (-math.inf, -1.0), 2: ()}.get(int(item.id), (-1.0, -2.0))
        return scored(True), Outcome(logprobs=logprobs)

    rows = [TEXTS, OneRow("choice/en", 30, kind="likelihood"), OneRow("chat/en", 30)]
    found = compared(rows, {"odd": odd})
    assert found.bits[0].texts == 9
    assert math.isfinite(json.loads(canonical_json(found))["bits"][0]["perplexity"])
    assert [each.n for each in found.calibrations] == [28]
    with pytest.raises(EvaluationError, match="too large"):
        compared([TEXTS], {"absurd": lambda item, sample: Outcome(logprobs=(-1e300,))})
    certain = compared([rows[2]], {"absurd": lambda item, sample: (scored(True), Outcome(logprobs=(1e300,)))})
    assert certain.calibrations[0].bins[0][0] == 1


def test_nothing_answered_is_found_to_be_nothing():
    found = compared([OneRow(), TEXTS, LETTERED], {"a": lambda item, sample: None, "b": lambda item, sample: None})
    assert [row.scores for row in found.rows] == [(), (), ()]
    assert (found.pairs, found.bits, found.connections) == ((), (), None)
    assert found.limits["incomplete"] == ("task/en", "reading/fr", "choices/en/letter")
    assert compared([], {"a": always(True)}).rows == ()


def test_a_row_that_people_only_vote_on_has_no_scores_and_no_pairs():
    voted = OneRow("mine/en/votes", 30, facts={"expected": {}})
    judged = OneRow("mine/en", 30)
    found = compared([voted, judged], {"a": lambda item, sample: scored(True), "b": lambda item, sample: scored(False)})
    assert {row.row: len(row.scores) for row in found.rows} == {"mine/en/votes": 0, "mine/en": 2}
    assert {pair.row for pair in found.pairs} == {"mine/en"}
