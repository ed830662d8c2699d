"""What a plan asks when time is short."""

from types import SimpleNamespace

from ouvert.evaluation.planning import Draft, those_with_time


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
