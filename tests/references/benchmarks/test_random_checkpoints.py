"""benchmarks/random_checkpoints.py: its GGUF file opens, packs and computes in Ouvert."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ouvert import arithmetic, models
from ouvert.engine import PackedFile, open_engine
from ouvert.weights import combined_digest, open_checkpoint, sha256_of

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "random_checkpoints.py"
IDS = (7919 * np.arange(150) + 13) % 320  # longer than the window

# Keys and values are kept in 16 bits, which NumPy's side does not do.
SIXTEEN_BIT_CACHE = 5e-3


@pytest.fixture(scope="module", params=["gpt-oss-tiny", "mixtral-tiny", "qwen3moe-tiny", "deepseek-tiny"])
def file(request, tmp_path_factory):
    command = [sys.executable, SCRIPT, request.param, "--layers", "2"]
    made = subprocess.run(
        [*command, "--into", tmp_path_factory.mktemp("made")], check=True, capture_output=True, text=True
    )
    return Path(made.stdout.strip())


def test_it_packs_and_computes(file, tmp_path):
    ops = arithmetic.Ops()
    with open_checkpoint(file) as checkpoint:
        digest = combined_digest({each.name: sha256_of(each) for each in checkpoint.files})
        model = models.load(checkpoint, ops)
        expected = model.forward(ops.begin([(ops.new_cache(model.memories), IDS)], "all"), ops)
    packed = PackedFile(place=lambda layout: tmp_path / layout, source_digest=digest)
    for _ in range(2):  # once packed now, once from the packed file
        opened = open_engine(file, exact=True, packed=packed, weights_digest=digest)
        logits = opened.engine.logits(IDS.tolist())
        np.testing.assert_allclose(logits, expected, rtol=0, atol=SIXTEEN_BIT_CACHE * np.abs(expected).max())
        opened.engine.close()
