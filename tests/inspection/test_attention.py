"""Attention, experts and states: what proves each view, on every family that has it."""

import numpy as np
import pytest

from ouvert import arithmetic, inspection
from ouvert.inspection import InspectionError
from ouvert.inspection.attention import head_values, output_matrices
from ouvert.inspection.states import hidden_names, joined_steps, terms_of

from .conftest import IDS, Transcript

ATTENDING = ["deepseek_v3", "gpt_oss", "gpt_oss-mxfp4", "llama", "mixtral-window", "qwen2", "qwen3", "qwen3_moe"]
MIXTURES = ["deepseek_v3", "gpt_oss", "gpt_oss-mxfp4", "mixtral-window", "qwen3_moe"]
STATES = ["falcon_mamba", "mamba", "mamba2"]


# --- attention ---


@pytest.mark.parametrize("case", ATTENDING)
def test_a_row_and_its_sink_add_up_to_one_and_nothing_is_beyond_what_is_seen(case, subject_called, trace):
    subject = subject_called(case)
    traced = trace(subject)
    for layer in range(subject.layers):
        found = traced.attention(layer, query="all")
        total = found.weights.astype(np.float64).sum(axis=-1) + (0 if found.sinks is None else found.sinks)
        np.testing.assert_allclose(total, 1, atol=2e-6)
        assert (found.sinks is not None) == case.startswith("gpt_oss")
        at, query = found.places[None, :], found.queries[:, None]
        seen = (at <= query) & (at > query - (found.window or len(IDS)))
        assert (found.weights[~np.broadcast_to(seen[:, None], found.weights.shape)] == 0).all()
        assert (found.weights[np.broadcast_to(seen[:, None], found.weights.shape)] > 0).all()


def test_the_windows_that_a_model_has_are_shown(subject_called, trace):
    subject = subject_called("gpt_oss")
    windows = [trace(subject).attention(layer).window for layer in range(subject.layers)]
    assert windows == list(subject.model.config.windows)
    assert any(window is not None and window < len(IDS) for window in windows)


@pytest.mark.parametrize("case", ATTENDING)
def test_shares_times_values_times_the_output_matrix_are_what_the_layer_adds(case, subject_called, trace):
    subject = subject_called(case, exact=True)
    traced = trace(subject)
    for layer in range(subject.layers):
        found, out = traced.attention(layer, query="all", values=True), traced[f"layers.{layer}.attention.out"]
        values = traced[f"layers.{layer}.attention.{'latent' if case == 'deepseek_v3' else 'v'}"]
        of_heads = head_values(subject, layer, found.heads, values)
        added = [
            found.weights[:, h] @ (of_head @ matrix.T)
            for h, (of_head, matrix) in enumerate(
                zip(of_heads, output_matrices(subject, layer, found.heads), strict=True)
            )
        ]
        bias = getattr(subject.model.parameters.layers[layer], "o_bias", None)
        total = np.sum(added, axis=0) + (0 if bias is None else np.asarray(bias))
        np.testing.assert_allclose(total, out, rtol=0, atol=2e-5 * np.abs(out).max())
        row = np.linalg.norm(next(iter(head_values(subject, layer, found.heads, values))) @ next(
            output_matrices(subject, layer, found.heads)).T, axis=1)  # fmt: skip
        np.testing.assert_allclose(found.added[:, 0], found.weights[:, 0] * row, rtol=1e-4, atol=1e-7)
        if found.sinks is not None:  # the tolerance notices sinks that were folded into the row
            folded = found.weights / found.weights.sum(axis=-1, keepdims=True)
            assert np.abs(folded - found.weights).max() > 1e-3


@pytest.mark.parametrize("case", ATTENDING)
def test_served_rows_are_those_of_the_numpy_graph(case, subject_called, trace, in_numpy):
    traced = trace(subject_called(case, exact=True))
    for layer in range(traced.subject.layers):
        name = f"layers.{layer}.attention.weights"
        expected = in_numpy(case, [name])[name]
        np.testing.assert_allclose(traced.attention(layer, query="all").weights, expected, atol=2e-5)


def test_a_head_whose_sink_takes_all_is_at_rest(subject_called, trace):
    subject = subject_called("gpt_oss")
    before = trace(subject).attention(0)
    assert not before.at_rest.any()
    sinks = subject.model.parameters.layers[0].sinks
    kept = sinks.copy()
    sinks[1] = 50.0
    try:
        after = trace(subject).attention(0)
    finally:
        sinks[:] = kept
    assert after.at_rest[0].tolist() == [head == 1 for head in range(len(sinks))]
    assert after.weights[0, 1].sum() < 1e-3


def test_one_head_and_one_query_are_part_of_the_whole(subject_called, trace):
    traced = trace(subject_called("llama"))
    whole, part = traced.attention(1, query="all"), traced.attention(1, head=2, query=7)
    np.testing.assert_array_equal(part.weights[0, 0], whole.weights[7, 2, :8])
    assert (part.queries.tolist(), part.heads.tolist(), part.places.tolist()) == ([7], [2], list(range(8)))


def test_a_query_behind_several_steps_is_found(subject_called, trace, monkeypatch):
    whole = trace(subject_called("llama")).attention(0, query=20, values=True)
    monkeypatch.setattr(inspection.subject, "STEP_BYTES", 1)  # as few tokens a step as there may be
    stepwise = trace(subject_called("llama"), record="embedding").attention(0, query=20, values=True)
    np.testing.assert_array_equal(stepwise.weights, whole.weights)
    np.testing.assert_array_equal(stepwise.added, whole.added)


@pytest.mark.parametrize("given", [{"layer": 2}, {"layer": "0"}, {"layer": 0, "head": 6}, {"layer": 0, "query": 21}])
def test_layers_heads_and_queries_that_are_not_there_are_refused(subject_called, trace, given):
    with pytest.raises(InspectionError, match=r"attention: (layer|head)=|positions: "):
        trace(subject_called("llama")).attention(**given)


def test_more_queries_than_are_shown_at_once_are_refused(subject_called, trace):
    with pytest.raises(InspectionError, match="300 queries, expected at most 256"):
        trace(subject_called("llama"), ids=[1] * 300, record="embedding").attention(0, query="all")


# --- experts ---


@pytest.mark.parametrize("case", MIXTURES)
def test_every_token_takes_its_experts_and_each_is_counted(case, subject_called, trace):
    subject = subject_called(case)
    found = trace(subject).experts(norms=True)
    assert found.counts.sum(axis=1).tolist() == [found.top_k * len(IDS)] * len(found.layers)
    np.testing.assert_allclose(found.load.sum(axis=1), 1)
    assert (found.load_entropy <= np.log(found.experts) + 1e-9).all()
    assert found.chosen.shape == found.weights.shape == found.norms.shape == (len(found.layers), len(IDS), found.top_k)
    assert all(len(set(token)) == found.top_k for layer in found.chosen.tolist() for token in layer)
    if not case.startswith(("deepseek", "qwen3")):  # softmax over the chosen ones
        np.testing.assert_allclose(found.weights.sum(axis=-1), 1, rtol=1e-5)


def test_agreement_is_the_share_that_the_token_before_had_too():
    chosen = np.array([[[0, 1], [1, 0], [1, 2], [3, 4]]])
    np.testing.assert_array_equal(inspection.experts.agreement(chosen), [[np.nan, 1.0, 0.5, 0.0]])


def test_what_the_chosen_experts_add_is_what_the_layer_adds(subject_called, trace):
    subject = subject_called("gpt_oss", exact=True)
    traced = trace(subject)
    each = traced["layers.0.experts.each"].reshape(len(IDS), traced.experts().top_k, -1)
    np.testing.assert_allclose(each.sum(axis=1), traced["layers.0.experts.out"], atol=1e-5)
    np.testing.assert_allclose(traced.experts(norms=True).norms[0], np.linalg.norm(each, axis=-1), rtol=1e-5)


# --- states ---


@pytest.mark.parametrize("case", STATES)
@pytest.mark.parametrize("query", [0, 1, 20])
def test_the_terms_of_hidden_attention_add_up_to_what_the_scan_gives(case, query, subject_called, trace):
    subject = subject_called(case, exact=True)
    traced = trace(subject)
    for layer in range(subject.layers):
        names = hidden_names(subject, layer)
        step = joined_steps(traced.steps(names, traced.places), names)
        weights, terms, skip = terms_of(subject, step, layer, query)
        expected = traced[f"layers.{layer}.mixer.scanned"][query]
        total = terms.sum(axis=0) + skip
        np.testing.assert_allclose(total, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
        view = traced.hidden_attention(layer, query)
        np.testing.assert_allclose(view.weights, np.abs(weights).mean(axis=1))
        assert len(view.places) == query + 1
        if query == 20:  # the tolerance notices a token that is left out
            assert np.abs(total - terms[-1] - expected).max() > 2e-4 * np.abs(expected).max()


@pytest.mark.parametrize("case", STATES)
def test_norms_are_those_of_the_states_that_the_cache_holds(case, subject_called, trace):
    traced = trace(subject_called(case, exact=True))
    ops = arithmetic.Ops()
    from .conftest import placed

    model = placed(case, ops)
    cache = ops.new_cache(model.memories)
    model.forward(ops.begin([(cache, IDS)]), ops)
    expected = [np.linalg.norm(layer.now.state) for layer in cache.layers]
    np.testing.assert_allclose(traced.states().norms[:, -1], expected, rtol=1e-4)
    assert (traced.states().time_steps > 0).all()
    assert (traced.states().longest_steps >= traced.states().time_steps).all()


def test_tokens_in_the_expanded_form_look_where_absorbed_ones_do(subject_called, served_logits):
    """Latent attention, computed in its two forms: another order of products, the same rows but for rounding."""
    subject = subject_called("deepseek_v3", exact=True)
    absorbed = inspection.trace_of(subject, Transcript())
    expanded = inspection.trace_of(subject, Transcript(expanded=12))
    assert not np.array_equal(expanded["layers.1.out"], absorbed["layers.1.out"])
    for layer in range(subject.layers):
        rows = expanded.attention(layer, query="all").weights
        np.testing.assert_allclose(rows, absorbed.attention(layer, query="all").weights, atol=1e-5)
