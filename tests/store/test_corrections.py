"""Corrections in the store: kept whole, the owner's alone, found again, taken as data as they are."""

import json
import stat

import pytest

from ouvert.store import Corrections, StoreError

SAID = {
    "messages": [{"role": "user", "content": "Is it far?"}],
    "given": "No.",
    "wanted": "Yes, two hours.",
    "model": "m",
}


@pytest.fixture
def corrections(tmp_path):
    return Corrections(tmp_path)


def test_what_is_kept_is_there_until_it_is_removed(corrections):
    assert corrections.all() == ()
    made = corrections.add(SAID)
    [found] = corrections.all()
    assert (found.id, found.asked) == (made.id, "Is it far?")
    assert {key: found.facts[key] for key in SAID} == SAID
    assert found.created.endswith("Z")
    corrections.remove(made.id)
    assert corrections.all() == ()
    with pytest.raises(StoreError, match="there is no correction"):
        corrections.remove(made.id)


def test_it_is_the_owners_alone(corrections):
    made = corrections.add(SAID)
    assert stat.S_IMODE(corrections.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((corrections.folder / f"{made.id}.json").stat().st_mode) == 0o600


def test_a_second_correction_of_the_same_answer_replaces_the_first(corrections):
    first = corrections.add(SAID)
    second = corrections.add(SAID | {"wanted": "Yes."})
    corrections.add(SAID | {"given": "Perhaps."})
    assert second.id == first.id
    assert [each.facts["wanted"] for each in corrections.all()] == ["Yes.", "Yes, two hours."]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"messages": []}, "messages is no list of messages"),
        ({"messages": [{"content": "a"}]}, "messages is no list of messages"),
        ({"messages": [*SAID["messages"], {"role": "assistant", "content": "No."}]}, "belongs into given and wanted"),
        ({"given": ""}, "given is no text"),
        ({"wanted": None}, "wanted is no text"),
        ({"wanted": "No."}, "nothing was corrected"),
        ({"receipt": 3}, "receipt or reasoning_effort is no text"),
        ({"mood": "good"}, "it has the keys mood"),
        ({"id": "0123456789abcdef"}, "it has the keys id"),
    ],
)
def test_what_is_no_correction_is_refused(corrections, changes, says):
    with pytest.raises(StoreError, match=says):
        corrections.add(SAID | changes)
    assert corrections.all() == ()


def test_an_id_is_no_path(corrections, tmp_path):
    (tmp_path / "other.json").write_text("{}")
    for identity in ("../other", "", "A" * 16, "x" * 40):
        with pytest.raises(StoreError, match="there is no correction"):
            corrections.remove(identity)
    assert (tmp_path / "other.json").exists()


def test_the_export_is_data_as_it_is(corrections, tmp_path):
    from ouvert.tuning.rows import read_rows
    from ouvert.tuning.shapes import converted

    with pytest.raises(StoreError, match="no corrections on this machine yet"):
        corrections.export(tmp_path / "a.jsonl")
    corrections.add(SAID)
    corrections.add(SAID | {"wanted": "Ouí\n🙂", "given": "x", "reasoning_effort": "low", "receipt": "sha256:00"})
    path = tmp_path / "a.jsonl"
    assert corrections.export(path) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for method in ("sft", "dpo", "kto"):
        values, shape = converted(read_rows(path), method, ())
        assert shape.name == "correction"
        assert [value.chosen.content for _, value in values] == ["Yes, two hours.", "Ouí\n🙂"]
    with pytest.raises(StoreError, match="there already"):
        corrections.export(path)


def test_a_damaged_file_is_named(corrections):
    made = corrections.add(SAID)
    path = corrections.folder / f"{made.id}.json"
    for content in ("{", json.dumps({"ouvert_correction": 2, "id": made.id, "created": "x", **SAID}), "[]"):
        path.write_text(content)
        with pytest.raises(StoreError, match=f"{made.id}.json cannot be read"):
            corrections.all()
