"""What a trace shows, against forward hooks on the modules of transformers: another implementation of the families."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ouvert import inspection, kernels, models, packed
from ouvert.weights import open_checkpoint

GOLDENS = Path(__file__).parents[2] / "goldens" / "models"
IDS = tuple(int(token) for token in np.random.default_rng(7).integers(0, 64, 21))
ATTENDING = ["deepseek_v3", "gpt_oss", "llama", "mixtral-window", "qwen2", "qwen3", "qwen3_moe"]
ALL = [*ATTENDING, "mamba", "mamba2", "falcon_mamba"]
# Float32 there and here, in another order.
TOLERANCE = 2e-5


class Transcript:
    prompt_ids, output_ids, spans, channels, message, expanded, receipt = IDS, (), (), (), None, 0, None


@pytest.fixture(params=ALL)
def case(request):
    return request.param


def traced(case):
    with open_checkpoint(GOLDENS / case / "model.safetensors") as checkpoint:
        model = models.load(checkpoint, packed.InMemory())
    subject = inspection.Subject(
        name=case, model=model, threads=1, exact=True, cache_type="f32", facts={}, tokenizer=None,
        watch=lambda names: kernels.build(kernels.Tracer(exact=True, cache="f32"), model, threads=1, watch=names),
    )  # fmt: skip
    return inspection.trace_of(subject, Transcript())


def hooked(theirs, modules):
    """{name: (first output, second output or None)} of these modules in one forward pass."""
    seen = {}

    def keeping(name):
        def hook(module, given, output):
            both = output if isinstance(output, tuple) else (output, None)
            seen[name] = tuple(None if each is None else each[0].detach().numpy() for each in both[:2])

        return hook

    hooks = [module.register_forward_hook(keeping(name)) for name, module in modules.items()]
    with torch.no_grad():
        theirs(torch.tensor([IDS]))
    for hook in hooks:
        hook.remove()
    return seen


def layers_of(theirs):
    return theirs.backbone.layers if hasattr(theirs, "backbone") else theirs.model.layers


def assert_same(ours, theirs, name):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE * max(np.abs(theirs).max(), 1), err_msg=name)


def test_the_residual_stream_and_the_lens_are_theirs(case, make_models):
    theirs, trace = make_models.open_model(GOLDENS / case), traced(case)
    seen = hooked(theirs, {f"layers.{n}.out": layer for n, layer in enumerate(layers_of(theirs))})
    norm = theirs.backbone.norm_f if hasattr(theirs, "backbone") else theirs.model.norm
    focus = trace.focus(range(64))
    for n, (name, (stream, _)) in enumerate(seen.items()):
        assert_same(trace[name], stream, name)
        with torch.no_grad():
            lens = theirs.lm_head(norm(torch.from_numpy(stream))).numpy()
        # The output matrix takes numbers of 16 bits here.
        np.testing.assert_allclose(focus.logits[n], lens, rtol=0, atol=2e-4 * np.abs(lens).max(), err_msg=name)


@pytest.mark.parametrize("case", ATTENDING)
def test_attention_rows_and_what_attention_adds_are_theirs(case, make_models):
    theirs, trace = make_models.open_model(GOLDENS / case), traced(case)
    seen = hooked(theirs, {f"layers.{n}.attention": layer.self_attn for n, layer in enumerate(layers_of(theirs))})
    for n, (name, (out, weights)) in enumerate(seen.items()):
        found = trace.attention(n, query="all")
        assert_same(trace[f"{name}.out"], out, name)
        assert_same(found.weights.swapaxes(0, 1), weights, name)
        if case == "gpt_oss":  # their rows lack what the sink takes
            assert_same(found.sinks.T, 1 - weights.sum(axis=-1), name)
            assert found.sinks.max() > 0.05


@pytest.mark.parametrize("case", ["gpt_oss", "mixtral-window", "qwen3_moe"])
def test_what_experts_add_is_theirs(case, make_models):
    theirs, trace = make_models.open_model(GOLDENS / case), traced(case)
    layers = inspection.experts.layers_with_experts(trace.subject)
    seen = hooked(theirs, {f"layers.{n}.experts.out": layers_of(theirs)[n].mlp for n in layers})
    for name, (out, _) in seen.items():
        assert_same(trace[name], out.reshape(trace[name].shape), name)
        each = trace[name.replace("out", "each")].reshape(len(IDS), trace.experts().top_k, -1)
        assert_same(each.sum(axis=1), out.reshape(trace[name].shape), name)


def test_a_gpt_oss_whose_sinks_take_nearly_all_is_seen_as_such(make_models):
    """What tools had wrong: heads that route almost all of their attention to the sink are another function."""
    theirs, trace = make_models.open_model(GOLDENS / "gpt_oss"), traced("gpt_oss")
    large = np.linspace(2, 12, len(trace.subject.model.parameters.layers[0].sinks)).astype(np.float32)
    for n, layer in enumerate(layers_of(theirs)):
        trace.subject.model.parameters.layers[n].sinks[:] = large
        with torch.no_grad():
            layer.self_attn.sinks.copy_(torch.from_numpy(large))
    trace = inspection.trace_of(trace.subject, Transcript())
    seen = hooked(theirs, {n: layer.self_attn for n, layer in enumerate(layers_of(theirs))})
    for n, (out, weights) in seen.items():
        found = trace.attention(n, query="all")
        assert found.sinks.max() > inspection.attention.AT_REST
        assert_same(found.sinks.T, 1 - weights.sum(axis=-1), str(n))
        assert_same(trace[f"layers.{n}.attention.out"], out, str(n))
