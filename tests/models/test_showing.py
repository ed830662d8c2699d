"""What graphs compute for a tap alone: loops say the same, what the model goes on with fits, mistakes are noticed."""

import math

import numpy as np
import pytest

from ouvert import arithmetic, models
from ouvert.weights import open_checkpoint

from .conftest import golden_called

# The goldens that attend, and what holds of float64: sums of up to 40 numbers of size 1.
ATTENDS = ["llama", "mistral", "gpt_oss", "qwen2", "qwen3", "qwen3_moe", "mixtral", "deepseek_v3", "deepseek_v2"]
WITH_EXPERTS = ["gpt_oss", "mixtral", "qwen3_moe", "deepseek_v3"]
FLOAT64 = {"rtol": 1e-11, "atol": 1e-13}
IDS = np.random.default_rng(7).integers(0, 64, 23)


def loaded(case, ops):
    with open_checkpoint(golden_called(case).folder / "model.safetensors") as checkpoint:
        return models.load(checkpoint, ops)


def seen_of(case, *names, layer=1, ids=IDS):
    """The values of one layer, by their names within it, and the model."""
    ops = arithmetic.Ops(np.float64)
    model = loaded(case, ops)
    recorder = arithmetic.Recorder(*(f"layers.{layer}.{name}" for name in names))
    model.forward(ops.begin([(ops.new_cache(model.memories), ids)]), ops, recorder)
    return {name.split(".", 2)[2]: value for name, value in recorder.values().items()}, model


def rotated(values, model):
    return arithmetic.rotate(values, np.arange(len(values)), model.parameters.rope)


def rows_by_loops(q, k, scale, window=None, sinks=None, shift=0):
    """(weights, sink), head after head and token after token. `shift`: a window that begins too late."""
    tokens, q_heads, _ = q.shape
    group = q_heads // k.shape[1]
    weights, sink = np.zeros((tokens, q_heads, tokens)), np.zeros((tokens, q_heads))
    for t in range(tokens):
        first = 0 if window is None else max(0, t + 1 - window + shift)
        for h in range(q_heads):
            scores = [scale * float(q[t, h] @ k[s, h // group]) for s in range(first, t + 1)]
            largest = max(scores + ([] if sinks is None else [sinks[h]]))
            exponentials = [math.exp(score - largest) for score in scores]
            of_sink = 0.0 if sinks is None else math.exp(sinks[h] - largest)
            total = sum(exponentials) + of_sink
            weights[t, h, first : t + 1] = [each / total for each in exponentials]
            sink[t, h] = of_sink / total
    return weights, sink


# --- attention ---


@pytest.mark.parametrize("layer", [0, 1])
def test_rows_of_gpt_oss_are_what_loops_say_with_sinks_and_windows(layer):
    seen, model = seen_of("gpt_oss", "attention.q", "attention.k", "attention.weights", "attention.sink", layer=layer)
    config = model.config
    q, k = (rotated(seen[f"attention.{name}"], model) for name in "qk")
    sinks, window = model.parameters.layers[layer].sinks, config.windows[layer]
    given = {"scale": config.head_dim**-0.5, "window": window, "sinks": sinks}
    weights, sink = rows_by_loops(q, k, **given)
    np.testing.assert_allclose(seen["attention.weights"], weights, **FLOAT64)
    np.testing.assert_allclose(seen["attention.sink"], sink, **FLOAT64)
    np.testing.assert_allclose(seen["attention.weights"].sum(-1) + seen["attention.sink"], 1, rtol=0, atol=1e-14)
    plausible = {
        "a missing sink": given | {"sinks": None},
        "another scale": given | {"scale": 1 / config.head_dim},
        **({"a window that begins too late": given | {"shift": 1}} if window else {}),
    }
    for what, mistake in plausible.items():
        wrong, _ = rows_by_loops(q, k, **mistake)
        assert np.abs(wrong - weights).max() > 1e-3, what


@pytest.mark.parametrize("case", ATTENDS)
def test_rows_and_sinks_are_one_and_nothing_is_beyond_what_a_token_sees(case):
    seen, model = seen_of(case, "attention.weights", *(["attention.sink"] if case == "gpt_oss" else []))
    weights = seen["attention.weights"]
    window = getattr(model.config, "windows", [None] * 2)[1]
    np.testing.assert_allclose(weights.sum(-1) + seen.get("attention.sink", 0), 1, rtol=0, atol=1e-14)
    position = np.arange(len(IDS))
    visible = position <= position[:, None]
    if window is not None:
        visible &= position > position[:, None] - window
    assert (weights.transpose(0, 2, 1)[~visible] == 0).all()
    assert (weights.transpose(0, 2, 1)[visible] > 0).all()


@pytest.mark.parametrize("case", [case for case in ATTENDS if not case.startswith("deepseek")])
def test_values_by_the_rows_are_what_attention_gives(case):
    """Σ p · v · W_O: with the value vectors that were cached and the output matrix, of every head."""
    seen, model = seen_of(case, "attention.weights", "attention.v", "attention.mixed", "attention.out")
    v, weights = seen["attention.v"], seen["attention.weights"]
    each_kv = np.repeat(v, weights.shape[1] // v.shape[1], axis=1)  # (positions, q_heads, head_dim)
    mixed = np.einsum("thp,phd->thd", weights, each_kv).reshape(len(IDS), -1)
    np.testing.assert_allclose(mixed, seen["attention.mixed"], **FLOAT64)
    layer = model.parameters.layers[1]
    out = arithmetic.linear(mixed, layer.o, getattr(layer, "o_bias", None))
    np.testing.assert_allclose(out, seen["attention.out"], **FLOAT64)


@pytest.mark.parametrize("case", ["deepseek_v3", "deepseek_v2"])
def test_latents_by_the_rows_are_what_attention_gives(case):
    seen, model = seen_of(case, "attention.weights", "attention.latent", "attention.mixed")
    layer, width = model.parameters.layers[1], model.config.kv_lora_rank
    found = np.einsum("thp,pl->thl", seen["attention.weights"], seen["attention.latent"][:, :width])
    mixed = arithmetic.linear_heads(found.reshape(len(IDS), -1), layer.value)
    np.testing.assert_allclose(mixed, seen["attention.mixed"], **FLOAT64)


@pytest.mark.parametrize("case", ["gpt_oss", "llama", "deepseek_v3"])
def test_the_heaviest_are_the_heaviest_of_the_rows(case):
    seen, _ = seen_of(case, "attention.weights", "attention.top", "attention.top_weights")
    weights, top, top_weights = (seen[f"attention.{name}"] for name in ("weights", "top", "top_weights"))
    assert top.shape == top_weights.shape == (*weights.shape[:2], models.TOP)
    assert top.dtype == np.int32
    for t in range(len(IDS)):
        for h in range(weights.shape[1]):
            row = weights[t, h]
            visible = [s for s in range(t + 1) if row[s] > 0]
            best = sorted(visible, key=lambda s: (-row[s], s))[: models.TOP]
            padded = best + [-1] * (models.TOP - len(best))
            assert list(top[t, h]) == padded
            assert list(top_weights[t, h]) == [row[s] if s >= 0 else 0 for s in padded]


def test_rows_are_as_long_as_the_longest_sequence_of_a_step():
    ops = arithmetic.Ops()
    model = loaded("gpt_oss", ops)
    name = "layers.1.attention.weights"
    alone = []
    for ids in (IDS[:5], IDS):
        recorder = arithmetic.Recorder(name)
        model.forward(ops.begin([(ops.new_cache(model.memories), ids)]), ops, recorder)
        alone.append(recorder.values()[name])
    recorder = arithmetic.Recorder(name)
    work = [(ops.new_cache(model.memories), ids) for ids in (IDS[:5], IDS)]
    model.forward(ops.begin(work), ops, recorder)
    together = recorder.values()[name]
    assert together.shape == (28, alone[0].shape[1], 23)
    np.testing.assert_allclose(together[:5, :, :5], alone[0], rtol=1e-5, atol=1e-6)
    assert (together[:5, :, 5:] == 0).all()
    np.testing.assert_allclose(together[5:], alone[1], rtol=1e-5, atol=1e-6)


# --- experts ---


@pytest.mark.parametrize("case", WITH_EXPERTS)
def test_what_each_expert_adds_sums_up_to_what_they_add(case):
    seen, _ = seen_of(case, "experts.each", "experts.chosen", "experts.out")
    chosen, each = seen["experts.chosen"], seen["experts.each"]
    total = np.zeros_like(seen["experts.out"])
    for t in range(len(IDS)):
        for rank in np.argsort(chosen[t]):  # the order of their numbers
            total[t] += each[t, rank]
    np.testing.assert_array_equal(total, seen["experts.out"])


class KeepsExperts(arithmetic.Ops):
    """Keeps what was asked of the experts."""

    def each_expert(self, x, experts_, chosen, expert_weights):
        self.given = x, experts_
        return super().each_expert(x, experts_, chosen, expert_weights)


@pytest.mark.parametrize("case", WITH_EXPERTS)
def test_each_answer_is_of_the_expert_that_was_chosen_at_its_place(case):
    ops = KeepsExperts(np.float64)
    model = loaded(case, ops)
    recorder = arithmetic.Recorder(*(f"layers.1.experts.{name}" for name in ("each", "chosen", "weights")))
    model.forward(ops.begin([(ops.new_cache(model.memories), IDS)]), ops, recorder)
    seen = {name.rpartition(".")[2]: value for name, value in recorder.values().items()}
    each, chosen, weights, (x, experts) = seen["each"], seen["chosen"], seen["weights"], ops.given
    for t in (0, 11, 22):
        for rank, expert in enumerate(chosen[t]):
            answer = arithmetic.experts.one_expert(x[t : t + 1], experts, int(expert))
            np.testing.assert_allclose(each[t, rank], weights[t, rank] * answer[0], **FLOAT64)


# --- states ---


def test_the_hidden_attention_of_mamba_gives_what_the_scan_gives():
    """α[t, s] = C_t (Π over s < j <= t of exp(δ_j A)) δ_s B_s, by channel (Ali et al., arXiv:2403.01590)."""
    seen, model = seen_of("mamba", "mixer.convolved", "mixer.dt", "mixer.B", "mixer.C", "mixer.scanned")
    x, dt, B, C = (seen[f"mixer.{name}"] for name in ("convolved", "dt", "B", "C"))
    layer, delta = model.parameters.layers[1], np.logaddexp(0, dt)
    t = len(IDS) - 1
    y = layer.D * x[t]
    for s in range(t + 1):
        decay = np.exp(delta[s + 1 : t + 1].sum(0)[:, None] * layer.A)  # (channels, states)
        y += (decay * delta[s][:, None] * B[s] * C[t]).sum(-1) * x[s]
    np.testing.assert_allclose(y, seen["mixer.scanned"][t], **FLOAT64)


@pytest.mark.parametrize("case", ["mamba", "mamba2"])
def test_the_norm_of_a_state_is_that_of_what_is_kept(case):
    """After every token, however the tokens were cut into steps."""
    ops = arithmetic.Ops(np.float64)
    model = loaded(case, ops)
    whole, _ = seen_of(case, "mixer.state_norm")
    cache, recorder, norms = ops.new_cache(model.memories), arithmetic.Recorder("layers.1.mixer.state_norm"), []
    for cut in np.split(IDS, [1, 9, 10]):
        model.forward(ops.begin([(cache, cut)]), ops, recorder)
        norms.append(recorder.values()["layers.1.mixer.state_norm"])
        state = cache.layers[1].now.state  # (states, channels)
        heads = norms[-1].shape[1]
        expected = [np.linalg.norm(each) for each in np.split(state, heads, axis=1)]
        np.testing.assert_allclose(norms[-1][-1], expected, **FLOAT64)
    np.testing.assert_allclose(np.concatenate(norms), whole["mixer.state_norm"], **FLOAT64)


# --- names that never come ---


def test_a_name_that_never_comes_is_told_what_is_near_and_what_there_is():
    ops = arithmetic.Ops()
    model = loaded("llama", ops)
    recorder = arithmetic.Recorder("layers.0.atention.weights", "layers.99.experts.scores", "logits")
    model.forward(ops.begin([(ops.new_cache(model.memories), IDS)]), ops, recorder)
    with pytest.raises(LookupError) as caught:
        recorder.values()
    said = str(caught.value)
    assert "layers.0.atention.weights (near it: layers.0.attention.weights" in said
    assert "layers.99.experts.scores;" not in said.split("(near")[0]
    assert "This model shows embedding, logits, norm, and of layers 0 to" in said
    assert "attention.top_weights" in said
    assert "attention.sink" not in said  # llama has none
