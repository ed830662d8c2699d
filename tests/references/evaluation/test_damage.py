"""The damage of rounding against transformers: both models there in float32, KL in float64 by torch."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import ouvert
from ouvert.evaluation.measures.damage import Window, damage_of

GOLDENS = Path(__file__).parents[2] / "goldens" / "models"
# Logits of two float32 programs differ by some units in their last place (tests/references/models): of a divergence of
# a few thousandths a nat that is some millionths. Rounding is twenty thousand times that.
ABSOLUTE = 3e-6


def rounded_copy(folder, to):
    shutil.copytree(folder, to)
    tensors = load_file(to / "model.safetensors")
    for name, values in tensors.items():
        if values.ndim == 2 and values.is_floating_point():
            step = values.abs().max().float() / 24
            tensors[name] = ((values.float() / step).round() * step).to(values.dtype).contiguous()
    save_file(tensors, to / "model.safetensors", {"format": "pt"})
    return to


@pytest.mark.parametrize("case", ["llama", "qwen2", "gpt_oss"])
def test_the_sums_are_those_of_transformers_and_torch(case, make_models, tmp_path):
    folders = [GOLDENS / case, rounded_copy(GOLDENS / case, tmp_path / "rounded")]
    ids = np.random.default_rng(3).integers(0, 64, 60).tolist()
    window = Window(language="en", text=case, number=0, ids=tuple(ids), start=20)
    with torch.no_grad():
        reference, rounded = (
            torch.log_softmax(make_models.open_model(each)(torch.tensor([ids])).logits[0].double(), -1)
            for each in folders
        )
    rows = slice(19, 59)
    divergence = torch.nn.functional.kl_div(rounded[rows], reference[rows], reduction="sum", log_target=True)
    own = torch.arange(19, 59), torch.tensor(ids[20:])
    settings = {"exact": True, "cache": "f32", "precision": "stored", "receipts": False, "prefixes": False}
    whole, copy = (ouvert.load(each, **settings) for each in folders)
    found = damage_of(copy, whole, window)
    assert found["tokens"] == 40
    assert found["divergence"] == pytest.approx(float(divergence), abs=40 * ABSOLUTE)
    assert found["divergence"] > 100 * 40 * ABSOLUTE
    assert found["change"] == pytest.approx(float((rounded[own] - reference[own]).sum()), abs=400 * ABSOLUTE)
    assert found["flips"] == int((reference[rows].argmax(-1) != rounded[rows].argmax(-1)).sum())
    for model in (whole, copy):
        model.close()
