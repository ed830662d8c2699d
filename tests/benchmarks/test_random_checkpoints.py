"""benchmarks/random_checkpoints.py: a folder of random weights opens, packs and computes like one that was fetched."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ouvert import arithmetic, models
from ouvert.engine import PackedFile, open_engine
from ouvert.weights import combined_digest, open_checkpoint, sha256_of

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "random_checkpoints.py"
IDS = (7919 * np.arange(150) + 13) % 320  # longer than the window

# Keys and values are kept in 16 bits, which NumPy does not do: less than 1e-3 of the largest logit was seen.
SIXTEEN_BIT_CACHE = 5e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    command = [sys.executable, SCRIPT, "gpt-oss-tiny", "--layers", "2", "--layout", "hf"]
    made = subprocess.run(
        [*command, "--into", tmp_path_factory.mktemp("made")], check=True, capture_output=True, text=True
    )
    return Path(made.stdout.strip())


def test_it_is_what_was_asked_for(folder):
    assert folder.name == "gpt-oss-tiny-2-layers-hf"
    with open_checkpoint(folder) as checkpoint:
        family, config = models.recognise(checkpoint)
        assert (family.name, config.windows, config.num_local_experts) == ("gpt_oss", (128, None), 6)
        parameters = {each.name: each for each in family.parameters(config, checkpoint)}
        assert parameters["layers.1.up"].encoding == "MXFP4"
        assert parameters["unembedding"].encoding == "BF16"
        assert json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].keys() == (
            checkpoint.tensors.keys()
        )
        # As much as a trained model's: sums of many products stay near one.
        for name, columns in (("layers.0.gate", 64), ("layers.0.down", 96), ("layers.0.q", 64)):
            assert parameters[name].decode().std() * np.sqrt(columns) == pytest.approx(1, rel=0.4)


def test_it_packs_and_computes(folder, tmp_path):
    ops = arithmetic.Ops()
    with open_checkpoint(folder) as checkpoint:
        digest = combined_digest({each.name: sha256_of(each) for each in checkpoint.files})
        model = models.load(checkpoint, ops)
        expected = model.forward(ops.begin([(ops.new_cache(model.memories), IDS)], "all"), ops)
    packed = PackedFile(place=lambda layout: tmp_path / layout, source_digest=digest)
    for _ in range(2):  # once packed now, once from the packed file
        opened = open_engine(folder, exact=True, packed=packed, weights_digest=digest)
        logits = opened.engine.logits(IDS.tolist())
        np.testing.assert_allclose(logits, expected, rtol=0, atol=SIXTEEN_BIT_CACHE * np.abs(expected).max())
        opened.engine.close()
