"""The goldens are what transformers says today, and decoding step by step agrees with its decoding."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ouvert import arithmetic, models
from ouvert.weights import open_checkpoint

GOLDENS = Path(__file__).parents[2] / "goldens" / "models"
CASES = sorted(folder.name for folder in GOLDENS.iterdir())

# Another build of torch may add in another order: a few units in the last place of float32, of the largest logit.
FLOAT32 = 8e-6
FLOAT64 = 1e-13
# At position 63 the last bit of a frequency is 63 times the last bit of an angle.
FAR = 2e-5
# transformers (5.24, Mamba2Mixer.forward) gives time_step_limit to the scan of a prompt, and forgets it in decoding.
FORGETS_BOUNDS = "mamba2-biased"


def assert_same(ours, theirs, tolerance):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def test_every_case_has_its_golden(make_models):
    assert sorted(make_models.CASES) == CASES


@pytest.mark.parametrize("case", CASES)
def test_the_golden_is_what_transformers_says_today(case, make_models):
    golden = load_file(GOLDENS / case / "golden.safetensors")
    single, double = make_models.logits_of(GOLDENS / case, golden["ids"])
    assert_same(golden["float32"], single, FLOAT32)
    assert_same(golden["float64"], double, FLOAT64)
    frequencies = make_models.frequencies_of(make_models.open_model(GOLDENS / case)).numpy()
    np.testing.assert_allclose(golden["inverse_frequencies"], frequencies, rtol=2e-7)


@pytest.mark.parametrize("case", CASES)
def test_decoding_agrees_with_its_decoding(case, make_models):
    """Its cache and our past, one token at a time, far beyond the window and up to the end of the context."""
    ids = np.random.default_rng(5).integers(0, 64, 64)
    model = make_models.open_model(GOLDENS / case)
    theirs, cache = [], None
    with torch.no_grad():
        if case == FORGETS_BOUNDS:
            theirs = model(torch.from_numpy(ids)[None]).logits[0].numpy()
        for token in ids if case != FORGETS_BOUNDS else []:
            answer = model(torch.tensor([[token]]), cache=cache, use_cache=True)
            cache = answer.cache
            theirs.append(answer.logits[0, -1].numpy())
    ops = arithmetic.Ops()
    with open_checkpoint(GOLDENS / case / "model.safetensors") as checkpoint:
        ours_model = models.load(checkpoint, ops)
    past = ops.new_cache(ours_model.memories)
    ours = [ours_model.forward(ops.begin([(past, [token])]), ops)[0] for token in ids]
    assert_same(np.array(ours), np.array(theirs), FAR)


@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_straight_from_transformers_is_read(case, make_models, tmp_path):
    """Sharded and in float32, as save_pretrained writes it today, config included; 4-bit experts decoded."""
    model = make_models.open_model(GOLDENS / case)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    golden = load_file(GOLDENS / case / "golden.safetensors")
    ops = arithmetic.Ops()
    with open_checkpoint(tmp_path) as checkpoint:
        loaded = models.load(checkpoint, ops)
    ours = loaded.forward(ops.begin([(ops.new_cache(loaded.memories), golden["ids"])], "all"), ops)
    assert_same(ours, golden["float32"], FLOAT32)


def test_the_golden_frequencies_are_what_transformers_says_today(make_ropes):
    golden = json.loads((GOLDENS.parent / "models_rope.json").read_text())
    today = make_ropes.ropes()
    assert golden.keys() == today.keys()
    for name in golden:
        np.testing.assert_allclose(golden[name]["inverse_frequencies"], today[name]["inverse_frequencies"], rtol=2e-7)
        assert golden[name]["magnitude"] == pytest.approx(today[name]["magnitude"], rel=1e-12)
