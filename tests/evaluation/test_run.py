"""The runner: everything is asked once, killed at any line it goes on, and what is not as planned is refused."""

import json
import threading
from dataclasses import replace

import pytest
from tests.evaluation.made_up import (
    Scripted,
    entrants,
    luck,
    made_up_comparison,
    made_up_plan,
    made_up_suites,
    still_machine,
)

from ouvert.evaluation import EvaluationError, Evidence, Plan, compare_outcomes, run, score
from ouvert.evaluation.asking import Question, answers_to, seed_of
from ouvert.evaluation.run import PARALLEL
from ouvert.evaluation.speed import BLOCK_ITEMS

COUNTS = {"sums/en": 10, "choices/en/letter": 6, "choices/en/likelihood": 6}
ALL = 2 * sum(COUNTS.values())


@pytest.fixture(autouse=True)
def suites(monkeypatch):
    made_up_suites(monkeypatch)


@pytest.fixture
def strong():
    return Scripted("strong", luck("strong", 0.8))


@pytest.fixture
def weak():
    return Scripted("weak", luck("weak", 0.4))


def plan_of(*contestants, alone=0, samples=1, **changes):
    plan = made_up_plan(contestants, COUNTS, samples=samples)
    rows = tuple(replace(row, alone=alone if row.row == "sums/en" else 0) for row in plan.rows)
    return replace(plan, rows=rows, **changes)


def ran(folder, plan, *contestants, **how):
    with Evidence.create(folder, plan) as evidence:
        run(evidence, entrants(*contestants), machine=still_machine(), **how)
    return Evidence.open(folder)


def test_everything_is_asked_once_and_scored(tmp_path, strong, weak):
    evidence = ran(tmp_path / "c", plan_of(strong, weak), strong, weak)
    assert len(evidence.answers()) == len(evidence.scores()) == ALL
    assert len(strong.asked) == len(set(strong.asked)) == ALL // 2
    assert strong.closed
    assert weak.closed
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    assert sorted(manifest) == ["answers.jsonl", "plan.toml", "scores.jsonl"]


def test_the_runner_keeps_what_whoever_asks_by_hand_would(tmp_path, strong, weak):
    by_hand = made_up_comparison(tmp_path / "by hand", (strong, weak), COUNTS)
    evidence = ran(tmp_path / "run", made_up_plan((strong, weak), COUNTS), strong, weak)
    found = compare_outcomes(by_hand, evidence)
    assert found.holds
    assert found.same == ALL
    assert evidence.scores() == by_hand.scores()


class Killed(BaseException):
    """What kill -9 is to a program that runs in this process."""


def test_killed_after_every_line_it_goes_on_and_asks_nothing_twice(tmp_path, strong, weak, monkeypatch):
    plan = plan_of(strong, weak, alone=BLOCK_ITEMS)
    whole = ran(tmp_path / "whole", plan, strong, weak)
    append = Evidence.append_answer
    for n in range(1, ALL + 1):
        folder = tmp_path / f"killed {n}"
        left = [n]

        def killing(self, answered, left=left):
            append(self, answered)
            left[0] -= 1
            if not left[0]:
                raise Killed

        fresh = Scripted("strong", luck("strong", 0.8)), Scripted("weak", luck("weak", 0.4))
        monkeypatch.setattr(Evidence, "append_answer", killing)
        with Evidence.create(folder, plan) as evidence, pytest.raises(Killed):
            run(evidence, entrants(*fresh), machine=still_machine(), parallel=1)
        monkeypatch.undo()
        made_up_suites(monkeypatch)
        torn = (folder / "answers.jsonl").read_bytes()
        (folder / "answers.jsonl").write_bytes(torn + torn.splitlines()[-1][: n % 50])
        with Evidence.open(folder, writing=True) as evidence:
            run(evidence, entrants(*fresh), machine=still_machine())
        again = Evidence.open(folder)
        assert compare_outcomes(whole, again).holds
        assert again.scores() == whole.scores()
        # Asked twice are at most the questions of the block that was being timed, or one that was on its way.
        twice = [asked for each in fresh for asked in each.asked if each.asked.count(asked) > 1]
        assert len(twice) <= 2 * 2 * BLOCK_ITEMS
        assert all(row == "sums/en" and int(item) < BLOCK_ITEMS for row, item, _ in twice)


def test_a_contestant_that_is_gone_stops_the_run_and_keeps_what_was_answered(tmp_path, strong, weak):
    def dies(item, sample):
        if item.row == "choices/en/letter":
            raise EvaluationError("asking: the server is gone.")
        return True

    plan = plan_of(strong, weak)
    with pytest.raises(EvaluationError, match="the server is gone"):
        ran(tmp_path / "c", plan, Scripted("strong", dies), weak)
    assert {answered.row for answered in Evidence.open(tmp_path / "c").answers()} == {"sums/en"}
    with Evidence.open(tmp_path / "c", writing=True) as evidence:
        run(evidence, entrants(strong, weak))
    assert len(Evidence.open(tmp_path / "c").answers()) == ALL


def test_another_contestant_than_the_plan_has_is_refused_by_what_differs(tmp_path, strong, weak):
    plan = plan_of(strong, weak)
    other = Scripted("weak", luck("weak", 0.4))
    other.facts = replace(other.facts, identity={"engine": {"weights": "sha256:2"}})
    planned = replace(weak.facts, identity={"engine": {"weights": "sha256:1"}})
    plan = replace(plan, contestants=(strong.facts, planned))
    with Evidence.create(tmp_path / "c", plan) as evidence:
        with pytest.raises(EvaluationError, match=r"engine.weights was 'sha256:1' and is 'sha256:2'"):
            run(evidence, entrants(strong, other))
        with pytest.raises(EvaluationError, match="strong are here, and its plan has strong, weak"):
            run(evidence, entrants(strong))
        assert evidence.answers() == ()


def test_questions_that_are_timed_are_asked_alone_and_by_turns(tmp_path, strong, weak):
    running, most, order = [], [0], []
    lock = threading.Lock()

    def counted(contestant):
        ask = contestant.ask

        def counting(item, sample, seed):
            with lock:
                running.append(item)
                if len(order) < 2 * BLOCK_ITEMS:
                    most[0] = max(most[0], len(running))
                order.append((contestant.facts.label, item.id))
            answered = ask(item, sample, seed)
            with lock:
                running.remove(item)
            return answered

        contestant.ask = counting
        return contestant

    evidence = ran(tmp_path / "c", plan_of(strong, weak, alone=BLOCK_ITEMS), counted(strong), counted(weak))
    assert most == [1]
    expected = [
        (label, f"{n:04}")
        for n in range(BLOCK_ITEMS)
        for label in (("strong", "weak") if n % 2 == 0 else ("weak", "strong"))
    ]
    assert order[: 2 * BLOCK_ITEMS] == expected
    [line] = evidence.lines("speed")
    assert line == {
        "block": 0, "row": "sums/en", "order": [list(each) for each in expected], "interleaved": True,
        "canary": [100.0, 100.0],
    }  # fmt: skip
    alone = [answered.item for answered in evidence.answers() if answered.cost.alone]
    assert sorted(alone) == sorted(item for _, item in expected)


def test_contestants_that_do_not_fit_together_come_one_after_the_other(tmp_path, strong, weak):
    open_now, together = set(), [0]

    def opened(contestant):
        def opens():
            open_now.add(contestant.facts.label)
            together[0] = max(together[0], len(open_now))
            contestant.close = lambda: open_now.discard(contestant.facts.label)
            return contestant

        return opens

    huge = [replace(entrants(each)[0], open=opened(each), memory=10**18) for each in (strong, weak)]
    with Evidence.create(tmp_path / "c", plan_of(strong, weak, alone=BLOCK_ITEMS)) as evidence:
        run(evidence, huge, machine=still_machine())
    assert together == [1]
    lines = Evidence.open(tmp_path / "c").lines("speed")
    assert [line["interleaved"] for line in lines] == [False, False]
    assert [line["order"][0][0] for line in lines] == ["strong", "weak"]
    assert len(Evidence.open(tmp_path / "c").answers()) == ALL


def test_known_answers_are_taken_and_say_so(tmp_path, strong, weak):
    before = ran(tmp_path / "before", plan_of(strong, weak), strong, weak)
    third = Scripted("third", luck("third", 0.5))
    renamed = Scripted("renamed", luck("strong", 0.8))
    renamed.facts = replace(strong.facts, label="renamed")
    evidence = ran(tmp_path / "after", plan_of(renamed, third), renamed, third, known=[before])
    assert renamed.asked == []
    assert len(third.asked) == ALL // 2
    known = {answered.contestant: answered.known for answered in evidence.answers()}
    assert known == {"renamed": before.plan_digest, "third": ""}
    assert '"known"' not in (tmp_path / "before" / "answers.jsonl").read_text()
    assert len(evidence.scores()) == ALL


def test_draws_of_another_seed_are_not_known_answers(tmp_path, strong):
    drawn = Scripted("drawn", luck("drawn", 0.5))
    drawn.facts = replace(drawn.facts, identity={"sampling": {"temperature": 1.0}})
    before = ran(tmp_path / "before", plan_of(drawn), drawn)
    asked = len(drawn.asked)
    ran(tmp_path / "same", plan_of(drawn), drawn, known=[before])
    assert len(drawn.asked) == asked
    ran(tmp_path / "other", replace(plan_of(drawn), seed=2), drawn, known=[before])
    assert len(drawn.asked) == 2 * asked


def test_an_answer_that_is_known_is_asked_all_the_same_where_it_is_timed(tmp_path, strong):
    before = ran(tmp_path / "before", plan_of(strong), strong)
    strong.asked.clear()
    ran(tmp_path / "after", plan_of(strong, alone=BLOCK_ITEMS), strong, known=[before])
    assert [item for _, item, _ in strong.asked] == [f"{n:04}" for n in range(BLOCK_ITEMS)]


def test_every_sample_has_draws_of_its_own_and_a_model_against_itself_too(strong):
    plan = plan_of(strong)
    item = made_up_item()
    facts, second = strong.facts, replace(strong.facts, identity={**strong.facts.identity, "copy": 2})
    seeds = {
        seed_of(plan, facts, Question(item, 0)),
        seed_of(plan, facts, Question(item, 1)),
        seed_of(plan, second, Question(item, 0)),
        seed_of(replace(plan, seed=2), facts, Question(item, 0)),
    }
    assert len(seeds) == 4
    assert seed_of(plan, facts, Question(item, 0)) == seed_of(plan, facts, Question(item, 0))


def made_up_item():
    from tests.evaluation.made_up import Sums

    return Sums().items("en", 1, 1)[0]


def test_several_samples_are_asked(tmp_path, strong):
    evidence = ran(tmp_path / "c", plan_of(strong, samples=3), strong)
    assert len(evidence.answers()) == 3 * ALL // 2
    assert {answered.sample for answered in evidence.answers()} == {0, 1, 2}


def test_questions_are_asked_several_at_a_time(strong):
    gate = threading.Barrier(PARALLEL, timeout=20)

    def knows(item, sample):
        gate.wait()  # passes only if so many are asked at once
        return True

    from tests.evaluation.made_up import Sums

    questions = [Question(item, 0) for item in Sums().items("en", 2 * PARALLEL, 1)]
    together = Scripted("together", knows)
    assert len(list(answers_to(together, plan_of(strong), questions, PARALLEL))) == 2 * PARALLEL
    assert not together.closed


def test_who_leaves_in_the_middle_does_not_wait_for_long_answers():
    from tests.evaluation.made_up import Sums

    free = threading.Event()
    first = Sums().items("en", 4, 1)[0].id

    class Slow(Scripted):
        def ask(self, item, sample, seed):
            if item.id != first:
                assert free.wait(20)
            return super().ask(item, sample, seed)

        def close(self):
            super().close()
            free.set()  # as a model's running answers end when it is closed

    slow = Slow("slow", lambda item, sample: True)
    answers = answers_to(slow, plan_of(slow), [Question(item, 0) for item in Sums().items("en", 4, 1)], 4)
    next(answers)
    answers.close()
    assert slow.closed


def test_scoring_anew_asks_nothing_and_keeps_both_scores(tmp_path, strong, monkeypatch):
    ran(tmp_path / "c", plan_of(strong), strong).close()
    strong.asked.clear()
    with Evidence.open(tmp_path / "c", writing=True) as evidence:
        assert score(evidence) == 0
    from tests.evaluation import made_up

    stricter = replace(made_up.Sums().card, scorer="sums-2")
    monkeypatch.setattr(made_up.Sums, "__init__", lambda self: setattr(self, "card", stricter))
    with Evidence.open(tmp_path / "c", writing=True) as evidence:
        assert score(evidence) == COUNTS["sums/en"]
        assert len(evidence.all_scores()) == len(evidence.scores()) + COUNTS["sums/en"]
    assert strong.asked == []


def test_progress_says_how_far_it_is(tmp_path, strong, weak):
    told = []
    ran(tmp_path / "c", plan_of(strong, weak, alone=BLOCK_ITEMS), strong, weak, progress=told.append)
    assert [each.done for each in told] == list(range(1, ALL + 1))
    assert {each.of for each in told} == {ALL}
    assert [each.doing for each in told[: 2 * BLOCK_ITEMS + 1]] == ["timing"] * 2 * BLOCK_ITEMS + ["asking"]
    assert told[-1].seconds_left == pytest.approx(0, abs=1e-6)
    assert told[0].seconds_left > 0


def test_a_rerun_is_the_same_or_names_the_first_that_is_not(tmp_path, strong, weak):
    plan = plan_of(strong, weak)
    first = ran(tmp_path / "1", plan, strong, weak)
    toml = (tmp_path / "1" / "plan.toml").read_bytes()
    again = ran(tmp_path / "2", toml, strong, weak)
    assert first.plan_digest == again.plan_digest
    assert compare_outcomes(first, again).holds
    wrong = next(item for item in first.items("sums/en") if not luck("weak", 0.4)(item, 0))
    spoiled = Scripted("weak", lambda item, sample: item == wrong or luck("weak", 0.4)(item, sample))
    other = ran(tmp_path / "3", toml, strong, spoiled)
    found = compare_outcomes(first, other)
    assert not found.holds
    assert (found.first.contestant, found.first.item) == ("weak", wrong.id)
    assert found.first.first.text in found.first.where
    assert found.first.again.text in found.first.where


def test_who_promises_no_replay_is_counted_apart(tmp_path, strong):
    strong.facts = replace(strong.facts, replays=False)
    first = ran(tmp_path / "1", plan_of(strong), strong)
    again = ran(tmp_path / "2", plan_of(strong), strong)
    found = compare_outcomes(first, again)
    assert (found.same, found.unpromised, found.drifted) == (0, ALL // 2, 0)
    assert found.holds


def test_who_promises_no_replay_may_drift(tmp_path, strong):
    strong.facts = replace(strong.facts, replays=False)
    first = ran(tmp_path / "1", plan_of(strong), strong)
    other = Scripted("strong", luck("another", 0.5))
    other.facts = strong.facts
    found = compare_outcomes(first, ran(tmp_path / "2", plan_of(strong), other))
    assert found.drifted > 0
    assert found.holds


def test_an_answer_to_no_item_of_the_plan_is_named(tmp_path, strong):
    ran(tmp_path / "c", plan_of(strong), strong).close()
    path = tmp_path / "c" / "answers.jsonl"
    path.write_text(path.read_text().replace('"item":"0003"', '"item":"9999"'))
    with Evidence.open(tmp_path / "c", writing=True) as evidence, pytest.raises(EvaluationError, match="9999"):
        score(evidence)


def test_a_plan_is_read_back_from_its_folder(tmp_path, strong, weak):
    plan = plan_of(strong, weak, alone=BLOCK_ITEMS)
    assert ran(tmp_path / "c", plan, strong, weak).plan == Plan.read(plan.toml) == plan
