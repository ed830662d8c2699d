"""A trace: the values that it keeps, their names, what it costs, and what it refuses."""

import numpy as np
import pytest

from ouvert import inspection
from ouvert.inspection import InspectionError

from .conftest import FAMILIES, IDS, Transcript


def test_what_is_kept_is_what_the_graph_shows(case, exact, trace, in_numpy):
    traced = trace(exact, record=["embedding", "layers.*.out", "norm"])
    for name, expected in in_numpy(case, traced.names).items():
        np.testing.assert_allclose(traced[name], expected, rtol=2e-4, atol=2e-4, err_msg=name)


def test_a_value_that_was_not_kept_is_computed_when_it_is_asked_for(subject, trace):
    late, early = trace(subject, record="embedding"), trace(subject, record="*.out")
    name = f"layers.{subject.layers - 1}.out"
    assert late.names == ["embedding"]
    np.testing.assert_array_equal(late[name], early[name])
    assert name in late.names


def test_the_numbers_are_the_same_however_many_steps_they_took(subject, trace, monkeypatch):
    whole = trace(subject)
    monkeypatch.setattr(inspection.subject, "STEP_BYTES", 1)  # as few tokens a step as there may be
    stepwise = trace(subject)
    for name in whole.names:
        np.testing.assert_array_equal(stepwise[name], whole[name])
    np.testing.assert_array_equal(stepwise.confidence().logprobs, whole.confidence().logprobs)


@pytest.mark.parametrize(
    ("positions", "places"),
    [("all", range(21)), ("prompt", range(15)), ("answer", range(15, 21)), ("last", [20]), ([-1, 3, 3], [3, 20])],
)
def test_only_the_positions_asked_for_are_kept(subject_called, positions, places):
    subject = subject_called("llama")
    answered = Transcript(prompt_ids=IDS[:15], output_ids=IDS[15:])
    whole = inspection.trace_of(subject, answered)
    traced = inspection.trace_of(subject, answered, positions=positions)
    assert traced.places.tolist() == list(places)
    np.testing.assert_array_equal(traced["layers.0.out"], whole["layers.0.out"][list(places)])


@pytest.mark.parametrize("positions", ["answer", "message 3", "somewhere", [21], [-22], [1.0], [True], []])
def test_positions_that_are_not_there_are_refused(subject_called, trace, positions):
    with pytest.raises(InspectionError, match="positions: "):
        trace(subject_called("llama"), positions=positions)


@pytest.mark.parametrize(
    ("other", "ours"),
    [
        ("blocks.1.hook_resid_post", "layers.1.out"),
        ("blocks.1.hook_resid_pre", "layers.0.out"),
        ("blocks.0.hook_in", "embedding"),
        ("layers_output[1]", "layers.1.out"),
        ("blocks.0.attn.hook_z", "layers.0.attention.mixed"),
        ("model.layers.1.self_attn.v_proj", "layers.1.attention.v"),
        ("model.layers.1.mlp", "layers.1.mlp.out"),
        ("lm_head", "logits"),
    ],
)
def test_names_of_other_tools_lead_to_the_same_value(subject_called, trace, other, ours):
    traced = trace(subject_called("llama"))
    np.testing.assert_array_equal(traced[other], traced[ours])


def test_a_name_that_means_other_numbers_in_this_family_is_no_alias(subject_called, trace):
    with pytest.raises(InspectionError, match="no such value"):  # theirs is before the norm of the heads
        trace(subject_called("qwen3"))["blocks.0.attn.hook_q"]


def test_an_unknown_name_lists_near_ones_of_its_layer(subject_called, trace):
    with pytest.raises(InspectionError) as caught:
        trace(subject_called("llama"), record=["layers.1.attention.outt"])
    assert "Near names: layers.1.attention.out, " in str(caught.value)


def test_too_many_bytes_are_refused_before_anything_is_computed_with_both_numbers(subject_called, trace):
    subject = subject_called("llama")
    size = 4 * len(IDS) * subject.width("layers.0.out", len(IDS))
    assert trace(subject, record="layers.0.out", max_bytes=size)["layers.0.out"].nbytes == size
    with pytest.raises(InspectionError, match=rf"takes {size} bytes .* expected at most {size - 1} "):
        trace(subject, record="layers.0.out", max_bytes=size - 1)


@pytest.mark.parametrize(("given", "expected"), [("2 GB", 2 * 10**9), ("1.5kb", 1500), (7, 7)])
def test_sizes_may_be_written_with_their_unit(given, expected):
    assert inspection.price.as_bytes(given) == expected


@pytest.mark.parametrize("given", ["", "many", -1, True, "2 GiB"])
def test_what_is_no_size_is_refused(given):
    with pytest.raises(InspectionError, match="max_bytes"):
        inspection.price.as_bytes(given)


def test_the_price_counts_exactly_what_is_kept(subject):
    plan = inspection.plan_of(subject, Transcript(), positions=[1, 2])
    kept = inspection.trace_of(subject, Transcript(), positions=[1, 2])
    assert plan.bytes == sum(kept[name].nbytes for name in kept.names)
    assert plan.tokens == len(IDS)
    assert plan.seconds > 0


@pytest.mark.parametrize("ids", [(), (64,), (-1, 3)])
def test_ids_that_the_model_does_not_have_are_refused(subject_called, trace, ids):
    with pytest.raises(InspectionError, match="token ids"):
        trace(subject_called("llama"), ids)


def test_every_view_says_that_it_is_an_observation_and_how_it_is_computed(subject, trace):
    for view in (trace(subject).confidence(), trace(subject).lens()):
        assert view.json()["kind"] == "observation"
        assert view.how.says
        for lines in view.how.lines:
            assert 'tap("' in lines.text
            path = inspection.graph_lines.__file__.rpartition("/ouvert/")[0] + "/" + lines.file
            with open(path, encoding="utf-8") as file:
                assert lines.text in file.read()


def test_a_view_that_a_family_does_not_have_is_refused_with_those_that_it_has(subject_called, trace):
    with pytest.raises(
        InspectionError, match=r"experts: .* family llama, .* one of its views: confidence, lens, focus"
    ):
        trace(subject_called("llama")).experts()
    with pytest.raises(InspectionError, match=r"attention: .* family mamba, .* states"):
        trace(subject_called("mamba")).attention(0)
    with pytest.raises(InspectionError, match=r"states: .* family gpt_oss"):
        trace(subject_called("gpt_oss")).states()


def test_every_family_that_runs_is_looked_into():
    from ouvert.models import FAMILIES as ALL

    assert {family.name for family in ALL} <= {case.split("-")[0] for case in FAMILIES}
