"""Where heads look, beside transformers' own attention (eager), in NumPy and in native programs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ouvert import arithmetic, kernels, models, packed
from ouvert.weights import open_checkpoint

GOLDENS = Path(__file__).parents[2] / "goldens" / "models"
CASES = [
    "llama", "mistral", "mixtral-window", "qwen2", "qwen2-window", "qwen3", "qwen3_moe", "gpt_oss", "deepseek_v2",
    "deepseek_v3",
]  # fmt: skip
IDS = np.random.default_rng(11).integers(0, 64, 40)
# Weights are at most 1. A score of size 30 is rounded by 2e-6, and was summed of rounded numbers.
WITHIN = 2e-5


def theirs_of(folder, make_models):
    """(layers, tokens, heads, positions)."""
    model = make_models.open_model(folder)
    with torch.no_grad():
        found = model(torch.from_numpy(IDS)[None], output_attentions=True).attentions
    return np.stack([each[0].transpose(0, 1).numpy() for each in found])


def in_numpy(folder, *names):
    ops = arithmetic.Ops()
    with open_checkpoint(folder / "model.safetensors") as checkpoint:
        model = models.load(checkpoint, ops)
    recorder = arithmetic.Recorder(*(f"layers.{n}.{name}" for n in range(len(model.memories)) for name in names))
    model.forward(ops.begin([(ops.new_cache(model.memories), IDS)]), ops, recorder)
    seen = recorder.values()
    return [np.stack([seen[f"layers.{n}.{name}"] for n in range(len(model.memories))]) for name in names]


def in_program(folder, *names):
    with open_checkpoint(folder / "model.safetensors") as checkpoint:
        model = models.load(checkpoint, packed.InMemory())
        layers = range(len(model.memories))
        watch = [f"layers.{n}.{name}" for n in layers for name in names]
        program = kernels.build(kernels.Tracer(exact=True, cache="f32"), model, threads=2, watch=watch)
    program.step([(program.new_sequence(99), IDS.astype(np.int32))], "last")
    heads = model.config.num_attention_heads
    shown = [np.stack([program.seen(f"layers.{n}.{name}") for n in layers]) for name in names]
    return [each.reshape(len(each), len(IDS), heads, *([-1] if each.shape[2] > heads else [])) for each in shown]


@pytest.mark.parametrize("ours_of", [in_numpy, in_program])
@pytest.mark.parametrize("case", CASES)
def test_rows_are_those_of_transformers(case, ours_of, make_models):
    [ours] = ours_of(GOLDENS / case, "attention.weights")
    theirs = theirs_of(GOLDENS / case, make_models)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=WITHIN)
    assert ((theirs == 0) == (ours == 0)).all()


@pytest.fixture
def with_large_sinks(tmp_path):
    """gpt_oss whose heads have sinks of which some take nearly all."""
    shutil.copytree(GOLDENS / "gpt_oss", tmp_path / "large")
    tensors = load_file(tmp_path / "large" / "model.safetensors")
    for name, values in tensors.items():
        if name.endswith("self_attn.sinks"):
            tensors[name] = torch.linspace(-4, 9, values.numel()).to(values.dtype)
    save_file(tensors, tmp_path / "large" / "model.safetensors", {"format": "pt"})
    return tmp_path / "large"


@pytest.mark.parametrize("ours_of", [in_numpy, in_program])
def test_large_sinks_take_what_transformers_says(with_large_sinks, ours_of, make_models):
    weights, sinks = ours_of(with_large_sinks, "attention.weights", "attention.sink")
    theirs = theirs_of(with_large_sinks, make_models)
    np.testing.assert_allclose(weights, theirs, rtol=0, atol=WITHIN)
    np.testing.assert_allclose(sinks, 1 - theirs.sum(-1), rtol=0, atol=WITHIN)
    assert sinks.max() > 0.99
    assert sinks.min() < 0.05
    without = weights / weights.sum(-1, keepdims=True)  # what a tool that forgets sinks shows
    assert np.abs(without - theirs).max() > 0.5
