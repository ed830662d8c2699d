"""Every family's tiny checkpoint, by every implementation, against what transformers computed from it in float64."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ouvert import models
from ouvert.weights import open_checkpoint

from .implementations import IMPLEMENTATIONS
from .test_operations import LACKING

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
FILES = sorted(file for kind in ("safetensors", "gguf") for file in GOLDENS.glob(f"*/model.{kind}"))
# Logits are made by two layers of sums over 8 to 48 terms, each rounded to 24 bits. transformers in float32 is within
# 1e-6 of the largest logit of transformers in float64 on these checkpoints (3.3e-6 where states decay by powers of
# powers), and so are we; two and a half times the latter is allowed.
FLOAT32 = 8e-6
# float64 leaves only its own rounding, provided both turn by the same frequencies (transformers raises to powers in
# float32, and hands its frequencies over in golden.safetensors) and add the same eps (a GGUF file has it in float32).
FLOAT64 = 1e-13


def lacks(implementation, file):
    """Whether it has no scan, and the family is one of those that ask for it: it is refused by its name before."""
    return "convolve" in LACKING[implementation.name] and "mamba" in file.parent.name


EVERY_PAIR = [(each, file) for file in FILES for each in IMPLEMENTATIONS if not lacks(each, file)]
of_every_pair = pytest.mark.parametrize(
    ("implementation", "file"),
    EVERY_PAIR,
    ids=[f"{file.parent.name}{file.suffix}-{each.name}" for each, file in EVERY_PAIR],
)


def is_float64(implementation):
    return implementation.rounding < 2**-50


def load(implementation, file, golden):
    with open_checkpoint(file) as checkpoint:
        model = models.load(checkpoint, implementation)
    if is_float64(implementation) and hasattr(model.parameters, "rope"):
        rope = replace(model.parameters.rope, inverse_frequencies=golden["inverse_frequencies"])
        model = replace(model, parameters=replace(model.parameters, rope=rope))
    return model


@of_every_pair
def test_prompt_and_decoding_agree_with_transformers(implementation, file):
    golden = load_file(file.with_name("golden.safetensors"))
    model, expected = load(implementation, file, golden), golden["float64"]
    exact = is_float64(implementation) and file.suffix == ".safetensors"
    tolerance = (FLOAT64 if exact else FLOAT32) * np.abs(expected).max()
    for pieces in ([21], [1] * 21, [7, 1, 1, 12], [3, 18]):
        found = implementation.run(model, golden["ids"], pieces)
        np.testing.assert_allclose(found.rows, expected, rtol=0, atol=tolerance, err_msg=str(pieces))


def test_every_family_has_a_golden():
    with_one = set()
    for file in FILES:
        with open_checkpoint(file) as checkpoint:
            with_one.add(models.recognise(checkpoint)[0].name)
    assert with_one == {family.name for family in models.FAMILIES}
