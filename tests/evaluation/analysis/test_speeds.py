"""Figures of speed, memory, energy and money: from answers asked alone on a machine that held still, or withheld."""

from dataclasses import replace
from itertools import count

import pytest
from tests.evaluation.made_up import Scripted, entrants, made_up_plan, made_up_suites, still_machine

from ouvert.evaluation import EvaluationError, Evidence, analyse, prices, run
from ouvert.evaluation.analysis.speeds import blocks_of
from ouvert.evaluation.speed import BLOCK_ITEMS, Block, Machine, blocks, canary, steal_between


@pytest.fixture(autouse=True)
def suites(monkeypatch):
    made_up_suites(monkeypatch)


def compared(folder, *contestants, machine=None, blocks_alone=2, **changes):
    plan = made_up_plan(contestants, {"sums/en": 12})
    rows = tuple(replace(row, alone=blocks_alone * BLOCK_ITEMS) for row in plan.rows)
    with Evidence.create(folder, replace(plan, rows=rows, **changes)) as evidence:
        run(evidence, entrants(*contestants), machine=machine or still_machine())
    return analyse(Evidence.open(folder))


def half(item, sample):
    return int(item.id) % 2 == 0


def test_seconds_to_a_right_answer_turn_the_order_round(tmp_path):
    slow, quick = Scripted("slow", lambda *_: True, seconds=3.0), Scripted("quick", half, seconds=2.0)
    first, second = compared(tmp_path / "c", slow, quick).speeds
    assert (first.n, first.whole, first.per_right, first.ratio) == (8, 3.0, 3.0, 1.0)
    assert (second.whole, second.per_right) == (2.0, 4.0)
    assert second.ratio == pytest.approx(2 / 3)
    assert second.per_right_interval.low < 4.0 <= second.per_right_interval.high
    assert first.visible == 1.5


@pytest.mark.parametrize(("looks", "steal"), [([1.0, 100.0, 94.0, 106.0], 0), ([1.0, 100.0, 100.0, 100.0], 10)])
def test_a_machine_that_drifts_has_its_figures_withheld(tmp_path, looks, steal):
    seen, counted = iter(looks), count()
    machine = Machine(look=lambda: next(seen), ticks=lambda: ((n := next(counted)) * 100, n * steal))
    found = compared(tmp_path / "c", Scripted("a", half), machine=machine)
    [speed] = found.speeds
    assert speed.withheld == "machine_drifted"
    assert speed.whole is None
    assert found.limits["busy_machine"] == ("a",)


def test_one_drift_of_three_blocks_leaves_two(tmp_path):
    looks = iter([1.0, 100.0, 100.0, 100.0, 90.0])  # the first is for warming up
    [speed] = compared(
        tmp_path / "c",
        Scripted("a", half),
        machine=Machine(look=lambda: next(looks), ticks=lambda: None),
        blocks_alone=3,
    ).speeds
    assert (speed.withheld, speed.n) == ("", 2 * BLOCK_ITEMS)


def test_who_was_timed_apart_is_not_compared(tmp_path):
    both = Scripted("a", half), Scripted("b", half)
    plan = made_up_plan(both, {"sums/en": 8})
    plan = replace(plan, rows=tuple(replace(row, alone=BLOCK_ITEMS) for row in plan.rows))
    huge = [replace(each, memory=10**18) for each in entrants(*both)]
    with Evidence.create(tmp_path / "c", plan) as evidence:
        run(evidence, huge, machine=still_machine())
    found = analyse(Evidence.open(tmp_path / "c"))
    assert {speed.withheld for speed in found.speeds} == {"one_after_the_other"}


def test_nothing_timed_is_said(tmp_path):
    found = compared(tmp_path / "c", Scripted("a", half), blocks_alone=0)
    assert found.speeds[0].withheld == "not_timed"
    assert found.resources[0].not_measured["cost"] == "no_price"


def test_money_is_the_machines_time_and_its_energy(tmp_path):
    stated = prices("0.25EUR/kWh", "800EUR/4y/1000h", 40.0)
    one = Scripted("a", half, seconds=9.0, about={"memory": {"2048": 3e9, "8192": 7e9}, "bytes": 2e9})
    [found] = compared(tmp_path / "c", one, prices=stated).resources
    assert found.joules == pytest.approx(9 * 40)
    assert found.cost == pytest.approx(9 / 3600 * 800 / 4000 + 360 / 3.6e6 * 0.25)
    assert found.cost_per_right == pytest.approx(2 * found.cost)
    assert found.currency == "EUR"
    assert (found.peak_bytes, found.context) == (7e9, 8192)
    assert found.fits == {"8": False, "16": True, "32": True}


def test_energy_that_nobody_measured_is_not_invented(tmp_path):
    [found] = compared(tmp_path / "c", Scripted("a", half), prices=prices("0.25EUR/kWh", None)).resources
    assert found.joules is None
    assert found.cost is None
    assert found.not_measured == {"peak_bytes": "not_said", "joules": "joules", "cost": "joules"}


@pytest.mark.parametrize(
    ("tariff", "machine", "watts", "said"),
    [
        ("cheap", None, None, "such as 0.25EUR/kWh"),
        (None, "800EUR", None, "such as 800EUR/4y/1000h"),
        (None, "800EUR/0y/1000h", None, "such as 800EUR/4y/1000h"),
        ("0.25USD/kWh", "800EUR/4y/1000h", None, "the currency of the tariff, USD"),
        (None, None, -3.0, "such as 43"),
    ],
)
def test_what_is_no_price_is_refused(tariff, machine, watts, said):
    with pytest.raises(EvaluationError, match=said):
        prices(tariff, machine, watts)


def test_the_canary_is_a_rate_that_two_looks_agree_about():
    first, second = canary(0.05), canary(0.05)
    assert 0.02 < first / second < 50  # also on a crowded machine


def test_rows_take_turns_in_being_timed():
    items = {"a": list(range(8)), "b": list(range(4))}
    assert [(each.row, each.items) for each in blocks(items)] == [
        ("a", (0, 1, 2, 3)), ("b", (0, 1, 2, 3)), ("a", (4, 5, 6, 7)),
    ]  # fmt: skip
    assert [each.number for each in blocks(items)] == [0, 1, 2]


def test_steal_is_the_share_that_other_machines_took():
    assert steal_between((100, 5), (200, 15)) == 0.1
    assert steal_between(None, (200, 15)) is None
    assert steal_between((100, 5), (100, 5)) is None


@pytest.mark.parametrize(
    "line", [{"block": 0}, {"block": 0, "row": "r", "order": 3, "interleaved": True, "canary": [1]}]
)
def test_a_damaged_line_is_named(line):
    with pytest.raises(EvaluationError, match=r"speed.jsonl"):
        blocks_of([line])


def test_a_block_says_who_is_asked_when():
    block = Block(0, "r", ("1", "2"))
    assert list(block.order(["a", "b"])) == [("a", "1"), ("b", "1"), ("b", "2"), ("a", "2")]
