"""Examples that were kept apart: their loss, and the answers to their prompts, of a real model."""

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluation.checking.made_up import Talker, entrant, with_requests

from ouvert.assistant import load
from ouvert.evaluation import Entrant, EvaluationError, HeldOut, Prompted, ToCheck, check
from ouvert.evaluation.checking import held_out as subject
from ouvert.evaluation.contestants.here import Here, facts_of

COUNTS = {"french/fr": 2}
TEXTS = (
    "The bakery opens at six.",
    "Bread is on the shelf by seven.",
    "People come before eight.",
    "It closes at noon.",
)


@pytest.fixture(scope="module")
def model(smollm2):
    with load(smollm2, receipts=False, prefixes=False, context=256) as loaded:
        yield loaded


@pytest.fixture(autouse=True)
def requests(monkeypatch, tmp_path):
    with_requests(monkeypatch, tmp_path)


@pytest.fixture
def examples(model):
    """The second half of each text is learnt."""
    found = []
    for text in TEXTS:
        ids = tuple(model.tokenize(text))
        found.append(HeldOut(ids, tuple(float(n > len(ids) // 2) for n in range(len(ids)))))
    return found


class Shifted(Here):
    """A model that gives every token so many nats more, and counts how often it is asked."""

    nats = 0.0
    asked = 0

    def score_all(self, sequences):
        self.asked += len(sequences)
        return [tuple(each + self.nats for each in row) for row in super().score_all(sequences)]


@pytest.fixture
def entrants(model):
    def made(nats):
        facts = facts_of(model, "smollm2", about={})
        base = Shifted(model, facts, release=lambda: None)
        after = Shifted(model, replace(facts, label="smollm2+bread", identity={"nats": nats}), release=lambda: None)
        after.nats = nats
        return [Entrant(facts=each.facts, open=lambda each=each: each) for each in (base, after)], (base, after)

    return made


def checked(tmp_path, both, name="bread", **what):
    what = ToCheck(counts=COUNTS, **what)
    return check(*both, folder=tmp_path / name, kept=tmp_path / "checks", what=what)


def test_the_loss_is_that_of_what_counts_a_token(tmp_path, model, entrants, examples):
    report = checked(tmp_path, entrants(0.0)[0], held_out=examples)
    finding = report.finding("held_out")
    wanted = []
    for each in examples:
        tokens = model.score(each.ids)
        wanted += [-token.logprob for token, counts in zip(tokens, each.counts[1:], strict=True) if counts]
    assert finding.before == pytest.approx(np.mean(wanted), rel=1e-6)
    assert finding.n == len(wanted)
    assert (finding.change, finding.verdict) == (0.0, "kept")
    assert "not shown to have learnt" in finding.note


@pytest.mark.parametrize(
    ("nats", "learns", "verdict"), [(0.3, True, "better"), (-0.3, True, "worse"), (-0.3, False, "kept")]
)
def test_what_was_learnt_is_shown_and_what_got_worse_too(tmp_path, entrants, examples, nats, learns, verdict):
    finding = checked(tmp_path, entrants(nats)[0], held_out=examples, learns_likelihood=learns).finding("held_out")
    assert finding.change == pytest.approx(-nats, abs=1e-6)
    assert finding.verdict == verdict


def test_one_example_shows_nothing(tmp_path, entrants, examples):
    finding = checked(tmp_path, entrants(0.3)[0], held_out=examples[:1]).finding("held_out")
    assert (finding.verdict, finding.interval) == ("kept", None)


def test_nothing_is_computed_twice(tmp_path, entrants, examples):
    both, (base, after) = entrants(0.1)
    first = checked(tmp_path, both, held_out=examples[:2])
    whole = checked(tmp_path, both, held_out=examples)
    assert base.asked == after.asked == len(examples)
    assert whole.plan == first.plan
    assert checked(tmp_path, both).finding("held_out") == whole.finding("held_out")


def test_prompts_are_answered_side_by_side_the_first_ten(tmp_path, model, entrants):
    asked = [f"{text} And {then}" for text in TEXTS for then in ("then", "so", "now")]
    prompts = [Prompted(tuple(model.tokenize(text)), text, "wanted") for text in asked]
    report = checked(tmp_path, entrants(0.0)[0], prompts=prompts)
    assert len(report.examples) == 10
    assert [each.prompt for each in report.examples] == asked[:10]
    for each in report.examples:
        assert each.before == each.after
    assert report.examples[0].before
    assert "examples" not in report.record
    again = checked(tmp_path, entrants(0.0)[0], prompts=prompts)
    assert again.examples == report.examples


def test_whether_an_answer_ended_is_seen(tmp_path, model, entrants, monkeypatch):
    monkeypatch.setattr(subject, "ANSWER_TOKENS", 3)
    prompts = [Prompted(tuple(model.tokenize("Once upon a time there was")), "Once")]
    [example] = checked(tmp_path, entrants(0.0)[0], prompts=prompts).examples
    assert example.ended == (False, False)


@pytest.mark.parametrize(
    ("ids", "counts"), [((1,), (0.0,)), ((1, 2), (1.0, 1.0)), ((1, 2), (0.0,)), ((1, 2), (0.0, 0.0))]
)
def test_an_example_that_can_be_none_is_refused(ids, counts):
    with pytest.raises(ValueError, match="held-out example"):
        HeldOut(ids, counts)


def test_a_contestant_of_another_program_has_no_losses(tmp_path):
    both = [entrant(Talker("base")), entrant(Talker("base+x"))]
    with pytest.raises(EvaluationError, match="not computed by Ouvert"):
        checked(tmp_path, both, held_out=[HeldOut((1, 2), (0.0, 1.0))])
