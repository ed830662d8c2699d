"""Packed files: what they hold is what the source says, and a cut-off packing leaves nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ouvert import models
from ouvert.kernels import packing
from ouvert.kernels.linear import Packed
from ouvert.packed import LAYOUT_VERSION, PackedFile, PackedWeights, packed_weights
from ouvert.packed.writing import write_packed
from ouvert.weights import CheckpointError, SafetensorsWriter, open_checkpoint, sha256_of

MADE_FROM = {"source_digest": "sha256:0", "recipe": "r"}


@pytest.fixture(scope="module")
def opened(smollm2):
    with open_checkpoint(smollm2) as checkpoint:
        family, config = models.recognise(checkpoint)
        yield family.parameters(config, checkpoint)


@pytest.fixture(scope="module")
def packed_path(opened, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "smollm2.safetensors"
    seen: list[tuple[int, int]] = []
    losses = write_packed(opened, path, progress=lambda *counts: seen.append(counts), **MADE_FROM)
    assert not any(loss.relative for loss in losses.values())
    assert seen[-1][0] == seen[-1][1] == sum(each.stored_bytes for each in opened if each.same_as is None)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    return path


def test_a_packed_file_holds_the_same_numbers(opened, packed_path):
    weights = PackedWeights(packed_path)
    assert weights.source_digest == "sha256:0"
    for parameter in [*opened[:12], *opened[-3:]]:
        weight = weights.place(parameter)
        if isinstance(weight, Packed):
            assert weight.data.ctypes.data % packing.ALIGNMENT == 0
            rows = np.array([0, 1, 17, weight.rows - 1], np.int32)
            found = packing.unpack(weight.layout, weight.data, weight.rows, weight.columns, rows)
            np.testing.assert_array_equal(found, parameter.decode()[rows])
        else:
            np.testing.assert_array_equal(weight, parameter.decode())


def test_a_parameter_of_another_model_is_refused(opened, packed_path):
    import dataclasses

    stranger = dataclasses.replace(opened[1], name="layers.99.q")
    with pytest.raises(CheckpointError, match=r"layers\.99\.q is None.*another model"):
        PackedWeights(packed_path).place(stranger)


def test_a_file_of_another_layout_version_is_refused(tmp_path):
    path = tmp_path / "old.safetensors"
    with SafetensorsWriter(path, {"a": ("U8", (1,))}, {"format": "ouvert packed rows8-0"}) as writer:
        writer.write("a", b"x")
    with pytest.raises(CheckpointError, match=r"rows8-0.*expected 'ouvert packed"):
        PackedWeights(path)


def test_a_killed_packing_leaves_nothing_under_the_final_name(smollm2, tmp_path):
    target = tmp_path / "packed.safetensors"
    program = f"""
import os, signal
from pathlib import Path
from ouvert import models
from ouvert.packed.writing import write_packed
from ouvert.weights import open_checkpoint
with open_checkpoint(Path({str(smollm2)!r})) as checkpoint:
    family, config = models.recognise(checkpoint)
    def die(done, total):
        if done > total // 2:
            os.kill(os.getpid(), signal.SIGKILL)
    write_packed(family.parameters(config, checkpoint), Path({str(target)!r}), progress=die, **{MADE_FROM!r})
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert not target.exists()
    with open_checkpoint(smollm2) as checkpoint:
        family, config = models.recognise(checkpoint)
        write_packed(family.parameters(config, checkpoint), target, **MADE_FROM)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_packing_a_large_tensor_takes_little_memory(tmp_path):
    """A matrix of 400 MB in float32 is packed with a peak far below its size."""
    source = tmp_path / "model.safetensors"
    with SafetensorsWriter(source, {"embedding": ("F32", (100_000, 1024))}) as writer:
        for _ in range(100):
            writer.write("embedding", np.ones((1000, 1024), np.float32))
    program = f"""
import resource
from pathlib import Path
from ouvert.packed.writing import write_packed
from ouvert.models import Parameter
from ouvert.models.sources import Plain
from ouvert.weights import open_checkpoint
with open_checkpoint(Path({str(source)!r})) as checkpoint:
    tensor = checkpoint.tensors["embedding"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_packed([Parameter("embedding", "embedding", tensor.shape, Plain(tensor))], Path({str(tmp_path / "packed")!r}),
                 **{MADE_FROM!r})
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(found.stdout) * unit < 250e6
    assert Path(tmp_path / "packed").stat().st_size > 400e6


def test_a_second_start_waits_for_the_weights_that_the_first_is_packing(smollm2, tmp_path):
    """Two terminals, one model, for the first time: both answer."""
    path = tmp_path / f"{LAYOUT_VERSION}-test.safetensors"
    said: list[str] = []
    first = SafetensorsWriter(path, {"a": ("U8", (1,))})

    def say(text: str) -> None:
        said.append(text)
        first.abandon()  # as if that process had been killed: then the second one packs

    with open_checkpoint(smollm2) as checkpoint:
        family, config = models.recognise(checkpoint)
        file = PackedFile(place=lambda _: path, source_digest=sha256_of(smollm2), say=say)
        weights, watch = packed_weights(checkpoint, family.parameters(config, checkpoint), file, 1)
        watch.close()
    assert said == ["Another process is packing this model's weights: waiting for it."]
    assert weights.placements["layers.0.q"].layout == "Q4_1"
