"""The lens and the focus lens, confidence and attribution: what proves each of them."""

import json

import numpy as np
import pytest

import ouvert
from ouvert import inspection, kernels
from ouvert.inspection import InspectionError
from ouvert.inspection.head import Head

from .conftest import IDS, Transcript


def logits_after(subject, stream, tokens=None):
    head = Head(subject, tokens)
    try:
        return head.all_logits(stream)
    finally:
        head.close()


# --- lens ---


def test_the_last_layers_row_is_the_logits_bit_for_bit(subject, trace, served_logits):
    stream = trace(subject)[f"layers.{subject.layers - 1}.out"]
    np.testing.assert_array_equal(logits_after(subject, stream), served_logits(subject))


def test_the_lens_of_the_last_layer_names_what_the_model_says(subject, trace, served_logits):
    lens = trace(subject).lens(top=3)
    expected = served_logits(subject)
    assert lens.layers.tolist()[-1] == subject.layers - 1
    np.testing.assert_array_equal(lens.ids[-1], np.argsort(-expected, axis=1, kind="stable")[:, :3])
    np.testing.assert_array_equal(lens.came_logprobs[-1][:-1], trace(subject).confidence().logprobs)
    np.testing.assert_array_equal(lens.came_ranks[-1][:-1], trace(subject).confidence().ranks)


def test_each_layer_is_normed_by_its_own_vector(case, exact, trace, in_numpy):
    """The definition, in float64, of what other tools had wrong for years: the scale is that row's own."""
    traced = trace(exact)
    weights = exact.model.parameters
    eps = getattr(exact.model.config, "rms_norm_eps", None) or exact.model.config.layer_norm_epsilon
    matrix = unpacked(weights.unembedding)
    last = traced[f"layers.{exact.layers - 1}.out"].astype(np.float64)
    for n in range(exact.layers):
        x = traced[f"layers.{n}.out"].astype(np.float64)
        ours = logits_after(exact, traced[f"layers.{n}.out"])
        expected = lens_in_float64(x, x, weights.norm, eps, matrix)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-3 * np.abs(expected).max())
        if n < exact.layers - 1:  # the tolerance notices the scale of the last layer's vector
            planted = lens_in_float64(x, last, weights.norm, eps, matrix)
            assert np.abs(ours - planted).max() > 2e-2 * np.abs(expected).max()


def lens_in_float64(x, scaled_by, norm, eps, matrix):
    return (x / np.sqrt((scaled_by**2).mean(axis=1, keepdims=True) + eps) * norm) @ matrix.T.astype(np.float64)


def unpacked(packed):
    from ouvert import kernels

    return kernels.unpack(packed.layout, packed.data, packed.rows, packed.columns)


def test_the_last_layer_is_always_there(subject_called, trace):
    traced = trace(subject_called("llama"))
    assert traced.lens(layers=[0]).layers.tolist() == [0, 1]
    assert traced.lens(layers="every 2").layers.tolist() == [1]
    assert traced.lens(layers="all").layers.tolist() == [0, 1]


@pytest.mark.parametrize("layers", [[2], [-1], "every", "some", [0.0]])
def test_layers_that_are_not_there_are_refused(subject_called, trace, layers):
    with pytest.raises(InspectionError, match="layers: "):
        trace(subject_called("llama")).lens(layers=layers)


@pytest.mark.parametrize("top", [0, 65, 1.0, True])
def test_a_top_that_is_not_there_is_refused(subject_called, trace, top):
    with pytest.raises(InspectionError, match="top="):
        trace(subject_called("llama")).lens(top=top)


# --- focus lens ---


def test_the_focus_lens_is_the_whole_lens_bit_for_bit(subject, trace):
    traced, tokens = trace(subject), [63, 0, 17, 17, 16]
    focus = traced.focus(tokens)
    for n in range(subject.layers):
        whole = logits_after(subject, traced[f"layers.{n}.out"])
        np.testing.assert_array_equal(focus.logits[n], whole[:, tokens])


def test_a_token_that_the_model_does_not_have_is_refused(subject_called, trace):
    with pytest.raises(InspectionError, match="focus lens"):
        trace(subject_called("llama")).focus([64])


# --- confidence ---


@pytest.fixture(scope="module")
def spoken(speaking_model):
    with ouvert.load(speaking_model(), receipts=False, prefixes=False) as model:
        yield model, model.trace("again", max_tokens=6, temperature=0)


def test_confidence_is_what_the_sampler_reports(spoken):
    model, traced = spoken
    confidence = traced.confidence()
    reported = model.score(traced.ids, 5)
    assert [token.logprob for token in reported] == confidence.logprobs.tolist()
    for n, token in enumerate(reported):
        pairs = zip(confidence.alternative_ids[n].tolist(), confidence.alternative_logprobs[n].tolist(), strict=True)
        assert tuple(pairs) == token.top
    assert confidence.places.tolist() == list(range(1, len(traced.tokens)))


def test_ranks_and_entropy_are_those_of_the_logits(spoken):
    model, traced = spoken
    logits = model.logits(traced.ids).astype(np.float64)[:-1]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    expected = -(shares * np.log(shares)).sum(axis=1)
    np.testing.assert_allclose(traced.confidence().entropy, expected, rtol=1e-5, atol=1e-6)
    chosen = logits[np.arange(len(logits)), traced.ids[1:]]
    np.testing.assert_array_equal(traced.confidence().ranks, 1 + (logits > chosen[:, None]).sum(axis=1))


def test_tokens_say_whose_they_are(spoken):
    model, traced = spoken
    text = "".join(token.text for token in traced.tokens)
    assert text == model.render("again").text + "Hello from a tiny model."
    answer = [token for token in traced.tokens if token.part == "answer"]
    assert "".join(token.text for token in answer) == "Hello from a tiny model."
    assert {(token.message, token.channel, token.source) for token in answer} == {(1, "final", "chosen")}
    [said] = [token for token in traced.tokens if token.part == "prompt" and token.source == "supplied"]
    assert (said.text, said.message) == ("again", 0)


# --- attribution ---


def test_the_parts_add_up_to_the_logit(subject, trace):
    for heads in (False, "attention" in subject.views or "attention.mixed" in str(list(subject.names))):
        found = trace(subject).attribution(17, 9, heads=heads)
        assert found.sum == pytest.approx(found.logit, abs=2e-3 * np.abs(found.values).sum())
        assert found.rounding == found.logit - found.sum
        assert len(found.parts) == len(found.values) == len(set(found.parts))


def test_with_float32_activations_the_parts_add_up_within_float32(exact, trace, served_logits):
    found = trace(exact).attribution(17, 9)
    assert found.logit == served_logits(exact)[9, 17]
    assert found.sum == pytest.approx(found.logit, abs=2e-5 * np.abs(found.values).sum())


def test_a_part_that_is_left_out_is_noticed(exact, trace):
    found = trace(exact).attribution(17, 9)
    for value in found.values:
        if abs(value) > 1e-3 * np.abs(found.values).sum():
            assert found.sum - value != pytest.approx(found.logit, abs=2e-5 * np.abs(found.values).sum())


def test_heads_add_up_to_their_layers_attention(subject_called, trace):
    for case in ("llama", "gpt_oss", "deepseek_v3"):
        found = trace(subject_called(case, exact=True)).attribution(17, 9, heads=True)
        whole = [value for part, value in zip(found.parts, found.values, strict=True) if ".attention.out" in part]
        np.testing.assert_allclose(found.heads.sum(axis=1) + found.head_rest, whole)
        bias = [
            np.asarray(getattr(layer, "o_bias", 0.0)) @ inspection.attribution.direction(
                trace(subject_called(case, exact=True)).subject,
                trace(subject_called(case, exact=True))[f"layers.{len(whole) - 1}.out"][9], 17,
            ) if getattr(layer, "o_bias", None) is not None else 0.0
            for layer in subject_called(case, exact=True).model.parameters.layers
        ]  # fmt: skip
        np.testing.assert_allclose(found.head_rest, bias, atol=1e-5 * np.abs(found.values).sum())


def test_left_out_it_is_of_the_last_token(subject_called, trace):
    found = trace(subject_called("llama")).attribution()
    assert (found.place, found.token) == (len(IDS) - 2, IDS[-1])
    likeliest = trace(subject_called("llama")).attribution(position=-1)
    assert likeliest.token == trace(subject_called("llama")).lens(top=1).ids[-1, -1, 0]


# --- forms ---


def test_a_view_is_read_back_from_its_json(subject, trace):
    traced = trace(subject)
    for view in (traced.confidence(), traced.lens(), traced.focus([1, 2]), traced.attribution()):
        facts = json.loads(json.dumps(view.json()))
        assert json.loads(json.dumps(type(view).from_json(facts).json())) == facts
        assert view.table()
        assert "<table>" in view._repr_html_()


def test_what_is_no_view_is_refused():
    with pytest.raises(InspectionError, match="reading a view"):
        inspection.Lens.from_json({"view": "lens"})


def test_the_last_row_has_the_bits_of_an_answer_whose_prompt_was_expanded(subject_called):
    subject = subject_called("deepseek_v3")
    tracer = kernels.Tracer()
    program = kernels.build(tracer, subject.model, threads=1)
    sequence = program.new_sequence(len(IDS))
    sequence.expanded = 12
    logits = program.step([(sequence, np.array(IDS, np.int32))], "all")
    traced = inspection.trace_of(subject, Transcript(expanded=12))
    np.testing.assert_array_equal(traced.focus(range(64)).logits[-1], logits)


def test_a_model_of_embeddings_shows_its_values_and_says_that_it_has_no_lens(embedding_model):
    with ouvert.load(embedding_model, receipts=False, prefixes=False) as model:
        trace = model.trace(ids=[5, 6, 7])
        assert trace["layers.1.out"].shape[0] == trace["norm"].shape[0] == 3
        assert trace.available == ["attention"]
        for view in (trace.confidence, trace.lens, trace.attribution):
            with pytest.raises(InspectionError, match="which has no logits, expected one of its views: attention"):
                view()
        assert trace._repr_html_()
