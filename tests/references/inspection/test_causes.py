"""Patching, ablation and steering beside plain hooks on transformers' modules, on tiny checkpoints."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from ouvert import inspection, kernels, models, packed
from ouvert.inspection.directions.testing import EDITS, edited, random_units
from ouvert.inspection.layer_programs import LayerPrograms
from ouvert.inspection.metrics import Difference
from ouvert.inspection.rerun import Rerun
from ouvert.weights import open_checkpoint

GOLDENS = Path(__file__).parents[2] / "goldens" / "models"
RANDOM = np.random.default_rng(3)
CLEAN = tuple(RANDOM.integers(0, 64, 8).tolist())
CORRUPTED = (*CLEAN[:3], 17, *CLEAN[4:])
OF, LESS = 5, 11
# Of an effect, where 1 is the whole difference: float32 throughout, summed in another order.
WITHIN = 2e-3
CASES = {
    "llama": "attention.out",
    "qwen2": "mlp.out",
    "qwen3": "attention.out",
    "gpt_oss": "attention.out",
    "mixtral": "attention.out",
    "mamba": "mixer.out",
    "mamba2": "mixer.out",
    "deepseek_v3": "attention.out",
}
MODULES = {"out": "", "attention.out": "self_attn", "mlp.out": "mlp", "mixer.out": "mixer"}


class Tokens:
    """A metric of two tokens by their ids: these checkpoints have no tokenizer."""

    def ready_for(self, subject):
        return Difference(OF, LESS, ("of", "less"))


def subject_of(case):
    with open_checkpoint(GOLDENS / case / "model.safetensors") as checkpoint:
        model = models.load(checkpoint, packed.InMemory())
    return inspection.Subject(
        name=case, model=model, threads=1, exact=True, cache_type="f32", facts={}, tokenizer=None,
        watch=lambda names: kernels.build(kernels.Tracer(exact=True, cache="f32"), model, threads=1, watch=names),
    )  # fmt: skip


def layers_of(model):
    return (model.model if hasattr(model, "model") else model.backbone).layers


@contextmanager
def hooked(module, change):
    """`change(hidden)` in the place of what a module gives, (1, tokens, width)."""

    def hook(module, inputs, output):
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def metric(model, ids):
    with torch.no_grad():
        row = model(torch.tensor([ids])).logits[0, -1].numpy()
    return float(row[OF]) - float(row[LESS])


def shown_by(module, model, ids):
    kept = []
    with hooked(module, lambda hidden: kept.append(hidden.clone()) or hidden):
        metric(model, ids)
    return kept[0]


def with_row(hidden, row, value):
    hidden = hidden.clone()
    hidden[:, row] = value
    return hidden


@pytest.mark.parametrize("case", CASES)
def test_every_effect_is_that_of_a_hook(case, make_models):
    theirs, ours = make_models.open_model(GOLDENS / case), subject_of(case)
    clean, corrupted = metric(theirs, CLEAN), metric(theirs, CORRUPTED)
    for over in ("out", CASES[case]):
        request = inspection.PatchRequest(clean=CLEAN, corrupted=CORRUPTED, metric=Tokens(), over=over, donors=0)
        found = inspection.patch(ours, request)
        for i, n in enumerate(found.layers):
            layer = layers_of(theirs)[int(n)]
            module = getattr(layer, MODULES[over]) if MODULES[over] else layer
            given = shown_by(module, theirs, CLEAN)
            for row in range(len(CLEAN)):
                with hooked(module, lambda hidden, row=row, given=given: with_row(hidden, row, given[:, row])):
                    expected = (metric(theirs, CORRUPTED) - corrupted) / (clean - corrupted)
                assert found.effects[i, row] == pytest.approx(expected, abs=WITHIN), (over, n, row)


@pytest.mark.parametrize("case", CASES)
def test_a_direction_does_what_a_hook_does(case, make_models):
    theirs, ours = make_models.open_model(GOLDENS / case), subject_of(case)
    [unit] = random_units(ours.width("embedding", 1), 1, 2)
    v, length = torch.from_numpy(unit), 0.8
    changes = {
        "add": lambda hidden: hidden + length * v,
        "subtract": lambda hidden: hidden - length * v,
        "project_out": lambda hidden: hidden - (hidden @ v)[..., None] * v,
    }
    programs = LayerPrograms(ours)
    run = Rerun(programs, CLEAN)
    rows = edited(run.values["layers.0.out"], unit[None], length)
    for name, found in zip(EDITS, run.logits_after(0, 0, rows, 0), strict=True):
        with hooked(layers_of(theirs)[0], changes[name]), torch.no_grad():
            expected = theirs(torch.tensor([CLEAN])).logits[0].numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)
    programs.close()
