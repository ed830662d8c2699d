"""Edits beside plain hooks on transformers' modules, on tiny checkpoints, in NumPy and in native programs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ouvert import arithmetic, kernels, models, packed
from ouvert.models import Edit, changes_of
from ouvert.weights import open_checkpoint

GOLDENS = Path(__file__).parents[2] / "goldens" / "models"
IDS = np.random.default_rng(11).integers(0, 64, 30)
START, STOP = 4, 25
# Of the largest logit: float32 throughout, summed in another order.
WITHIN = 3e-5
OPERATIONS = ("add", "project_out", "replace", "scale", "zero")
CASES = {
    "llama": ("out", "attention.out", "attention.mixed", "mlp.out"),
    "qwen2": ("out", "attention.out", "attention.mixed", "mlp.out"),
    "qwen3": ("out", "attention.out", "attention.mixed", "mlp.out"),
    "gpt_oss": ("out", "attention.out", "attention.mixed", "experts.out"),
    "mixtral": ("out", "attention.out", "attention.mixed"),
    "mamba": ("out", "mixer.out"),
    "mamba2": ("out", "mixer.out"),
    "deepseek_v3": ("out", "attention.out", "attention.mixed", "mlp.out"),
}
LAYER = 0


def hooked(model, tap, change):
    """A hook on the module whose output, or input, is that value in transformers."""
    layer = (model.model if hasattr(model, "model") else model.backbone).layers[LAYER]

    def output(module, inputs, output):
        rest = output[1:] if isinstance(output, tuple) else None
        value = change(output if rest is None else output[0])
        return value if rest is None else (value, *rest)

    def entering(module, inputs):
        return (change(inputs[0]), *inputs[1:])

    if tap == "attention.mixed":
        return layer.self_attn.o_proj.register_forward_pre_hook(entering)
    module = {"out": "", "attention.out": "self_attn", "mlp.out": "mlp", "experts.out": "mlp", "mixer.out": "mixer"}[
        tap
    ]
    return (getattr(layer, module) if module else layer).register_forward_hook(output)


def in_torch(operation, vector, strength, columns):
    """The change of a hidden state (1, tokens, width), by the formulas of docs/formats/edits.md."""

    def change(hidden):
        hidden = hidden.clone()
        x = hidden[:, START:STOP, columns]
        v = torch.from_numpy(vector)
        if operation == "add":
            x = x + strength * v
        elif operation == "project_out":
            unit = v / v.norm()
            x = x - strength * (x @ unit)[..., None] * unit
        elif operation == "replace":
            x = x + strength * (v - x)
        else:
            x = x * (1 + strength * ((float(v[0]) if operation == "scale" else 0) - 1))
        hidden[:, START:STOP, columns] = x
        return hidden

    return change


def placed(folder, places):
    with open_checkpoint(folder / "model.safetensors") as checkpoint:
        return models.load(checkpoint, places)


def in_numpy(folder, edit):
    ops = arithmetic.Ops()
    model = placed(folder, ops)
    batch = ops.begin([(ops.new_cache(model.memories), IDS)], "all")
    tap = arithmetic.ChangingTap([changes_of([edit], model)] * len(IDS), batch.positions, batch.wanted)
    return model.forward(batch, ops, tap)


def in_program(folder, edit):
    model = placed(folder, packed.InMemory())
    programs = kernels.Programs(model, threads=1, exact=True, cache="f32")
    edits = kernels.Edits(changes_of([edit], model))
    program = programs.sibling(places=edits.places)
    sequence = program.new_sequence(99)
    sequence.edits = edits
    return program.step([(sequence, IDS.astype(np.int32))], "all")


@pytest.mark.parametrize("heads", [(), (1,)], ids=["all", "a head"])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("case", CASES)
def test_an_edit_is_what_a_hook_makes_of_the_value(case, operation, heads, make_models):
    theirs = make_models.open_model(GOLDENS / case)
    own = placed(GOLDENS / case, arithmetic.Ops())
    shown = dict(models.shown_by(own.family.name, own.config))
    for tap in CASES[case] if not heads else [tap for tap in CASES[case] if tap == "attention.mixed"]:
        width = int(np.prod(shown[f"layers.{LAYER}.{tap}"].shape(own.config)))
        each = width // own.config.sizes()["q_heads"] if heads else width
        columns = slice(heads[0] * each, (heads[0] + 1) * each) if heads else slice(0, width)
        vector = np.random.default_rng(7).standard_normal(each).astype(np.float32)
        handle = hooked(theirs, tap, in_torch(operation, vector, 0.75, columns))
        with torch.no_grad():
            expected = theirs(torch.from_numpy(IDS)[None]).logits[0].numpy()
        handle.remove()
        values = {"scale": vector[:1], "zero": vector[:0]}.get(operation, vector)
        edit = Edit(
            operation=operation, tap=f"layers.{LAYER}.{tap}", values=tuple(map(float, values)), strength=0.75,
            start=START, stop=STOP, heads=heads,
        )  # fmt: skip
        for ours in (in_numpy(GOLDENS / case, edit), in_program(GOLDENS / case, edit)):
            np.testing.assert_allclose(ours, expected, rtol=0, atol=WITHIN * np.abs(expected).max(), err_msg=tap)
