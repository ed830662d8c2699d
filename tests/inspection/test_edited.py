"""A trace of an edited model: it says that it is an intervention, and its numbers are those of the edited answer."""

import numpy as np
import pytest

import ouvert
from ouvert import Edit, InspectionError


@pytest.fixture(scope="module")
def model(speaking_model):
    with ouvert.load(speaking_model(), receipts=False, prefixes=False) as model:
        yield model


@pytest.fixture(scope="module")
def vector(model):
    return np.random.default_rng(0).standard_normal(model.opened.model.config.hidden_size).astype(np.float32)


def test_an_edited_answer_is_looked_into_as_it_was_written(model, vector):
    edits = [Edit.add("layers.0.mlp.out", vector, 0.5)]
    plain, edited = model.trace("again", temperature=0), model.trace("again", temperature=0, edits=edits)
    assert (plain.kind, edited.kind) == ("observation", "intervention")
    assert edited.lens().json()["kind"] == edited.confidence().json()["kind"] == "intervention"
    assert edited.facts["variant"] != "base"
    assert edited.facts["identity_digest"] != plain.facts["identity_digest"]
    answer = model.chat("again", temperature=0, edits=edits)
    list(answer)
    assert edited.ids == [*answer.prompt_ids, *answer.token_ids]
    logits = model.engine.logits(edited.ids, answer.request.variant)
    np.testing.assert_array_equal(edited.lens(top=3).ids[-1], np.argsort(-logits, axis=1, kind="stable")[:, :3])
    np.testing.assert_array_equal(edited.focus([3, 5]).logits[-1], logits[:, [3, 5]])


def test_a_text_is_read_by_the_edited_model_too(model, vector):
    plain = model.trace(text="again and again")
    none = model.trace(text="again and again", edits=[Edit.add("layers.0.out", vector, 0.0)])
    moved = model.trace(text="again and again", edits=[Edit.add("layers.0.out", vector, 1.0, positions="last")])
    np.testing.assert_array_equal(none["layers.0.out"], plain["layers.0.out"])
    np.testing.assert_array_equal(moved["layers.0.out"][:-1], plain["layers.0.out"][:-1])
    np.testing.assert_allclose(moved["layers.0.out"][-1], plain["layers.0.out"][-1] + vector, atol=1e-5)


def test_the_parts_add_up_where_a_part_was_edited(model, vector):
    trace = model.trace(text="again and again", edits=[Edit.add("layers.0.attention.out", vector, 0.5)])
    found = trace.attribution(7, 3)
    assert found.sum == pytest.approx(found.logit, abs=2e-3 * np.abs(found.values).sum())


@pytest.mark.parametrize(
    ("tap", "views"), [("layers.0.out", ["attribution"]), ("norm", ["lens", "focus", "attribution"])]
)
def test_views_that_an_edit_would_make_wrong_are_refused(model, vector, tap, views):
    trace = model.trace(text="again", edits=[Edit.add(tap, vector, 0.5)])
    shown = {"lens": trace.lens, "focus": lambda: trace.focus([1]), "attribution": trace.attribution}
    for view, show in shown.items():
        if view in views:
            with pytest.raises(InspectionError, match=f"{view}: an edit changes"):
                show()
        else:
            assert show().kind == "intervention"


def test_a_loaded_trace_of_an_edited_model_stays_an_intervention(model, vector, tmp_path):
    model.trace(text="again", edits=[Edit.scale("layers.0.attention.out", 0.5)]).save(tmp_path / "a.trace")
    read = ouvert.inspection.load_trace(tmp_path / "a.trace")
    assert (read.kind, read.confidence().kind) == ("intervention", "intervention")
