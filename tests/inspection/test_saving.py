"""A trace in a file: read back with its model or without, and written without its words."""

import json
import stat

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import ouvert
from ouvert import InspectionError, inspection


@pytest.fixture(scope="module")
def model(speaking_model):
    with ouvert.load(speaking_model(), receipts=False, prefixes=False) as model:
        yield model


@pytest.fixture
def trace(model):
    trace = model.trace("again", temperature=0)
    trace.lens(top=2)
    trace.attribution(heads=True)
    trace.attention(0, query="answer", values=True)
    return trace


def test_a_trace_is_read_back_with_its_values_and_views(trace, tmp_path):
    trace.save(tmp_path / "a.trace")
    read = inspection.load_trace(tmp_path / "a.trace")
    assert read.tokens == trace.tokens
    for name in trace.names:
        np.testing.assert_array_equal(read[name], trace[name])
    for ours, theirs in zip(read.views, trace.views, strict=True):
        assert ours.json() == theirs.json()
    assert read.lens(top=2).json() == trace.lens(top=2).json()
    assert read.table()[-1]["rank"] == trace.table()[-1]["rank"]


def test_without_its_model_only_what_is_in_the_file_is_shown(trace, tmp_path):
    trace.save(tmp_path / "a.trace")
    read = inspection.load_trace(tmp_path / "a.trace")
    assert read.available == ["attention", "attribution", "confidence", "lens"]
    with pytest.raises(InspectionError, match=r"it was read from a file, .* load_trace\(path, model=...\)"):
        read.lens(top=3)


def test_with_its_model_everything_is_there_again(model, trace, tmp_path):
    trace.save(tmp_path / "a.trace")
    read = inspection.load_trace(tmp_path / "a.trace", model)
    np.testing.assert_array_equal(read["layers.0.attention.q"], trace["layers.0.attention.q"])


def test_another_model_is_refused(speaking_model, trace, tmp_path):
    trace.save(tmp_path / "a.trace")
    with (
        ouvert.load(speaking_model({"\n": "Bye", "Bye": "<|im_end|>"}), receipts=False, prefixes=False) as other,
        pytest.raises(InspectionError, match="gives other numbers"),
    ):
        inspection.load_trace(tmp_path / "a.trace", other)


def test_a_file_without_words_has_no_text_and_no_id(model, trace, tmp_path):
    trace.save(tmp_path / "a.trace", words=False)
    raw = (tmp_path / "a.trace").read_bytes()
    assert b"again" not in raw
    assert b"Hello" not in raw
    read = inspection.load_trace(tmp_path / "a.trace", model)
    assert {(token.text, token.id) for token in read.tokens} == {("", -1)}
    assert "embedding" not in read.names
    np.testing.assert_array_equal(read.confidence().ranks, trace.confidence().ranks)
    numbers = set()
    for view in read.views:
        facts = view.json()
        for name in ("ids", "alternative_ids", "came", "token"):
            numbers |= set(np.asarray(facts.get(name, [])).ravel().tolist())
    assert numbers == {-1}
    assert read.table()
    with pytest.raises(InspectionError, match="read from a file"):
        read.lens(top=3)


def test_only_its_owner_can_read_it_and_nothing_is_left_of_one_that_fails(trace, tmp_path, monkeypatch):
    trace.save(tmp_path / "a.trace")
    assert stat.S_IMODE((tmp_path / "a.trace").stat().st_mode) == 0o600

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ouvert.inspection.saving.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        trace.save(tmp_path / "b.trace")
    assert [file.name for file in tmp_path.iterdir()] == ["a.trace"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "[]",
        "{}",
        '{"trace": 2}',
        '{"trace":1,"words":true,"model":{},"tokens":[{"x":1}]}',
        "\ud800",
        "9" * 5000,
    ],
)
def test_what_is_no_trace_is_refused(tmp_path, header):
    path = tmp_path / "a.trace"
    if header is None:
        path.write_bytes(b"no trace at all")
    else:
        save_file({"x": np.zeros(1, np.float32)}, path, {"ouvert.trace": header.encode("utf-8", "replace").decode()})
    with pytest.raises(InspectionError, match=r"reading (the|a) trace"):
        inspection.load_trace(path)


def test_the_file_is_plain_safetensors(trace, tmp_path):
    trace.save(tmp_path / "a.trace")
    with safe_open(tmp_path / "a.trace", framework="numpy") as file:
        assert sorted(file.keys()) == sorted(trace.names)


def test_a_file_that_cannot_be_written_is_named_as_it_was_given(trace, tmp_path):
    for write in (trace.save, trace.page):
        with pytest.raises(FileNotFoundError) as caught:
            write(tmp_path / "nowhere" / "a.html")
        assert caught.value.filename == str(tmp_path / "nowhere" / "a.html")


def test_a_trace_and_its_views_say_what_they_are(trace):
    assert f"{len(trace.tokens)} tokens" in repr(trace)
    assert "layers.0.out" in repr(trace)
    shown = repr(trace.attribution(heads=True))
    assert shown.startswith("attribution (observation)\n")
    assert "layers.0.mlp.out" in shown
    assert "array(" not in shown


def test_the_word_that_an_attribution_was_asked_for_is_not_in_a_file_without_words(trace, tmp_path):
    trace.attribution("H", position=3)
    trace.attribution(ord("e"), position=4)
    trace.save(tmp_path / "a.trace", words=False)
    with safe_open(tmp_path / "a.trace", framework="numpy") as file:
        facts = json.loads(file.metadata()["ouvert.trace"])
    named = [key for key, view in facts["views"].items() if view["view"] == "attribution"]
    assert len(named) == 3
    assert not any("H" in key or "101" in key for key in named)


@pytest.mark.parametrize(
    "changed",
    [
        {"places": [10**6]},
        {"places": [2**70]},
        {"places": []},
        {"tokens": []},
        {"kind": "certain"},
        {"expanded": -1},
        {"views": {"lens": []}},
        {"model": []},
    ],
)
def test_a_file_whose_parts_do_not_belong_together_is_refused(model, trace, tmp_path, changed):
    header, values = parts(trace, tmp_path)
    save_file(values, tmp_path / "b.trace", {"ouvert.trace": json.dumps(header | changed)})
    for given in (None, model):
        with pytest.raises(InspectionError, match="reading"):
            inspection.load_trace(tmp_path / "b.trace", given)


def test_a_view_whose_words_are_missing_and_json_without_end_are_refused(trace, tmp_path):
    header, values = parts(trace, tmp_path)
    for view in header["views"].values():
        if "pieces" in view:
            view["pieces"] = {}
    for text in (json.dumps(header), "[" * 100_000):
        save_file(values, tmp_path / "b.trace", {"ouvert.trace": text})
        with pytest.raises(InspectionError, match="reading the trace"):
            inspection.load_trace(tmp_path / "b.trace")


def parts(trace, folder):
    """(its JSON, its values), read from its file."""
    trace.save(folder / "a.trace")
    with safe_open(folder / "a.trace", framework="numpy") as file:
        return json.loads(file.metadata()["ouvert.trace"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
