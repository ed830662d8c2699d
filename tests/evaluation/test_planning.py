"""Plans: what is asked for which purpose, how much of it within the time, and nothing of it beforehand."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from tests.evaluation.made_up import Scripted, Sums, entrants, luck, made_up_suites, still_machine

from ouvert.evaluation import (
    PURPOSES,
    EvaluationError,
    Evidence,
    Outcome,
    Plan,
    Wanted,
    cards,
    make_plan,
    planning,
    run,
)
from ouvert.evaluation.pace import Pace
from ouvert.evaluation.planning import (
    LEAST,
    Draft,
    counts_for,
    take_times,
    those_that_are_answered,
    those_with_time,
)
from ouvert.evaluation.statistics import smallest_visible


def draft(row, seconds, purposes=(), named=False):
    return Draft(
        SimpleNamespace(), "en", row, "", "chat", purposes=list(purposes), named=named, seconds=seconds
    )  # fmt: skip


def test_rows_that_decide_nothing_make_room_for_those_that_do_the_dearest_first():
    drafts = [draft("obey/en", 2.0, ["chat"]), draft("summary/en", 5.0), draft("read/en", 1.0), draft("mmlu/en", 0.1)]
    notes = []
    kept = those_with_time(drafts, 60.0, notes)
    assert [each.row for each in kept] == ["obey/en", "read/en", "mmlu/en"]
    assert notes == ["Left out, because the time is short and they decide nothing: summary/en."]


def test_with_time_enough_nothing_is_left_out():
    drafts = [draft("obey/en", 2.0, ["chat"]), draft("summary/en", 5.0)]
    notes = []
    assert those_with_time(drafts, 600.0, notes) == drafts
    assert notes == []


def test_a_row_that_somebody_named_stays():
    drafts = [draft("obey/en", 2.0, ["chat"]), draft("summary/en", 50.0, named=True)]
    assert those_with_time(drafts, 60.0, []) == drafts


# --- how many items ---


def row(seconds, *, decides=True, most=1000):
    purposes = ["maths"] if decides else []
    return Draft(Sums(), "en", f"row {seconds} {decides}", "", "chat", purposes, most=most, seconds=seconds)


def spent(drafts, counts):
    return sum(each.seconds * count for each, count in zip(drafts, counts, strict=True))


def visible(drafts, counts):
    return sum(each.weight * smallest_visible(count, 0.2) for each, count in zip(drafts, counts, strict=True))


def test_the_time_goes_where_it_makes_the_smallest_differences_visible():
    drafts = [row(1.0), row(8.0), row(2.0, decides=False)]
    counts = counts_for(drafts, 1200.0)
    assert 1150 < spent(drafts, counts) <= 1200
    best = visible(drafts, counts)
    # Moving a twentieth of the time from any row to any other shows no more.
    for source in range(3):
        for target in set(range(3)) - {source}:
            moved = list(counts)
            moved[source] -= int(60 / drafts[source].seconds)
            moved[target] += int(60 / drafts[target].seconds)
            if min(moved) >= LEAST:
                assert visible(drafts, moved) > best - 0.001


def test_no_row_has_more_items_than_its_suite_nor_fewer_than_the_least():
    counts = counts_for([row(1.0, most=12), row(1.0)], 500.0)
    assert counts[0] == 12
    assert counts[1] == pytest.approx(488, abs=2)
    assert counts_for([row(10.0), row(10.0, most=3)], 1.0) == [LEAST, 3]


# --- whole plans ---


@pytest.fixture
def made_up(monkeypatch):
    made_up_suites(monkeypatch)


def scripted(label="a"):
    return Scripted(label, lambda item, sample: True)


def test_a_plan_says_how_much_it_can_show(made_up):
    wanted = Wanted(suites=("sums", "choices/letter"), seconds=600.0)
    planned = make_plan(entrants(scripted("a"), scripted("b")), wanted)
    plan = planned.plan
    assert [each.row for each in plan.rows] == ["sums/en", "choices/en/letter"]
    for each in plan.rows:
        assert each.visible == pytest.approx(smallest_visible(each.count, 0.2), abs=1e-4)
        assert each.primary
        assert len(planned.items[each.row]) == each.count
    assert plan.rows[0].alone > 0
    assert Plan.read(plan.toml) == plan


def test_how_long_questions_take_is_found_by_asking_others(made_up):
    one = scripted()
    plan = make_plan(entrants(one), Wanted(suites=("sums",), seconds=60.0, seed=7)).plan
    assert [item for _, item, _ in one.asked] == [item.id for item in Sums().items("en", 4, 7 + 1_000_003)]
    assert "of another seed" in plan.measured_by
    assert one.closed


def test_where_nothing_may_be_asked_nothing_is(made_up):
    one = scripted()
    plan = make_plan(entrants(one), Wanted(suites=("sums",), seconds=60.0), ask=False).plan
    assert one.asked == []
    assert "without asking" in plan.measured_by


def test_a_plan_that_is_made_is_one_that_runs(made_up, tmp_path):
    one, other = scripted("a"), scripted("b")
    planned = make_plan(entrants(one, other), Wanted(suites=("sums", "choices"), seconds=20.0))
    with Evidence.create(tmp_path / "c", planned.plan) as evidence:
        for each in planned.plan.rows:
            assert evidence.items(each.row) == planned.items[each.row]
        run(evidence, entrants(one, other), machine=still_machine())
        assert all(score.right for score in evidence.scores().values())
        assert len(evidence.scores()) == 2 * sum(each.count for each in planned.plan.rows)


def test_every_purpose_names_suites_that_there_are():
    for purpose in PURPOSES.values():
        for each in (*purpose.primary, *purpose.beside):
            name, _, form = each.partition("/")
            assert form in ("", *cards()[name].forms)


def test_one_row_a_language_decides_about_a_purpose_and_french_is_asked_in_french():
    wanted = Wanted(purposes=("tools", "french"), languages=("en", "fr"), seconds=600.0)
    plan = make_plan(entrants(scripted()), wanted, ask=False).plan
    deciding = {(purpose, each.row) for each in plan.rows for purpose in each.purposes}
    assert deciding == {("tools", "tools/en/schema"), ("tools", "tools/fr/schema"), ("french", "french/fr")}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(purposes=("cooking",)), "'cooking', expected words among chat"),
        (Wanted(suites=("cooking",)), "there is none of that name"),
    ],
)
def test_what_cannot_be_planned_is_named(made_up, wanted, said):
    with pytest.raises(EvaluationError, match=said):
        make_plan(entrants(scripted()), wanted)


def test_contestants_have_labels_of_their_own(made_up):
    with pytest.raises(EvaluationError, match="each with a label of its own"):
        make_plan(entrants(scripted("a"), scripted("a")), Wanted(suites=("sums",)))


def test_the_same_model_twice_is_said(made_up):
    one, other = scripted("a"), scripted("b")
    other.facts = replace(other.facts, identity=one.facts.identity)
    planned = make_plan(entrants(one, other), Wanted(suites=("sums",), seconds=20.0))
    assert any("a and b are the same model" in note for note in planned.notes)


# --- who refuses ---


class Unwilling(Scripted):
    """One that refuses what is asked in words."""

    def outcome(self, item, right):
        return super().outcome(item, right) if item.form == "likelihood" else Outcome(refused="no template")


def test_a_row_that_one_contestant_refuses_gets_no_more_items_than_if_it_answered():
    both, refused = draft("obey/en", 0, ["chat"]), draft("tools/en/free", 0, ["tools"])
    pace = Pace("", {(who, row): 1.0 for who in "ab" for row in ("obey/en", "tools/en/free")})
    del pace.seconds["b", "tools/en/free"]
    pace.refused["b", "tools/en/free"] = "it has no tools"
    for each in (both, refused):
        take_times(each, "ab", pace, samples=1)
    assert (both.seconds, refused.seconds) == (2.0, 1.0)
    counts = counts_for([both, refused], 300.0)
    assert counts[0] == counts[1] == 100


def test_a_row_that_everybody_refuses_is_left_out_with_the_reason():
    pace = Pace("", refused={(who, "tools/en/free"): "it has no tools" for who in "ab"})
    notes = []
    kept = those_that_are_answered([draft("obey/en", 1), draft("tools/en/free", 1)], "ab", pace, notes)
    assert [each.row for each in kept] == ["obey/en"]
    assert notes == ["Left out, because every contestant refuses it: tools/en/free (it has no tools)"]


def test_contestants_that_refuse_all_that_was_wanted_are_an_error(monkeypatch):
    made_up_suites(monkeypatch)
    refusing = [Unwilling(name, luck(name, 0.5)) for name in ("one", "other")]
    with pytest.raises(EvaluationError, match="every contestant refuses it: sums/en"):
        make_plan(entrants(*refusing), Wanted(suites=("sums",), seconds=1))
    planned = make_plan(entrants(*refusing), Wanted(suites=("choices",), seconds=1))
    assert [row.row for row in planned.plan.rows] == ["choices/en/likelihood"]


def test_one_contestant_alone_has_a_plan(monkeypatch):
    made_up_suites(monkeypatch)
    planned = make_plan(entrants(Scripted("one", luck("one", 0.5))), Wanted(suites=("sums",), seconds=1))
    assert planned.plan.labels == ("one",)
    assert planned.plan.rows[0].count >= 8


def test_a_plan_that_takes_far_longer_than_was_given_is_not_begun(monkeypatch):
    slow = Pace("", {("a", row): 100.0 for row in ("tools/en/schema", "tools/en/free")})
    monkeypatch.setattr(planning, "paced", lambda *given, **more: slow)
    with pytest.raises(EvaluationError, match="Give --time 14m"):
        make_plan(entrants(scripted()), Wanted(purposes=("tools",), seconds=60.0))
