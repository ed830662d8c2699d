"""To how many bits weights are rounded: the rule, files of two precisions side by side, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest

from ouvert.kernels import packing
from ouvert.models import Parameter
from ouvert.models.sources import Fp8Blocks, Plain
from ouvert.packed import (
    InMemory,
    PackedFile,
    PackedWeights,
    damage_in,
    layout_at,
    packed_weights,
    placements,
    settled,
)
from ouvert.packed.writing import write_packed
from ouvert.weights import CheckpointError, SafetensorsWriter, open_checkpoint, sha256_of

HIDDEN, INNER, WORDS, LAYERS = 256, 512, 512, 4
MATRICES = {
    "embedding": ("embedding", (WORDS, HIDDEN)),
    "unembedding": ("linear", (WORDS, HIDDEN)),
    **{
        f"layers.{n}.{name}": ("linear", shape)
        for n in range(LAYERS)
        for name, shape in {
            "q": (HIDDEN, HIDDEN),
            "v": (HIDDEN, HIDDEN),
            "k": (64, HIDDEN),  # too small to round
            "router": (512, HIDDEN),
            "down": (HIDDEN, INNER),
        }.items()
    },
    "layers.0.experts.up": ("experts", (4, INNER, HIDDEN)),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model's worth of matrices in BF16, and a norm in F32."""
    path = tmp_path_factory.mktemp("source") / "model.safetensors"
    random = np.random.default_rng(1)
    tensors = {name: ("BF16", shape) for name, (_, shape) in MATRICES.items()}
    with SafetensorsWriter(path, {**tensors, "norm": ("F32", (HIDDEN,))}) as writer:
        for name, (_, shape) in tensors.items():
            values = (random.standard_normal(shape) * 0.05).astype(np.float32)
            writer.write(name, (values.view(np.uint32) >> 16).astype("<u2"))
        writer.write("norm", np.ones(HIDDEN, np.float32))
    return path


def parameters_of(checkpoint):
    kinds = {name: kind for name, (kind, _) in MATRICES.items()} | {"norm": "norm"}
    return [Parameter(name, kinds[name], tensor.shape, Plain(tensor)) for name, tensor in checkpoint.tensors.items()]


@pytest.fixture
def opened(source):
    with open_checkpoint(source) as checkpoint:
        yield checkpoint, parameters_of(checkpoint)


# (our name, shape, layers) -> the layout at 4 bits: the table of docs/formats/packed.md, by example.
RULE = [
    ("layers.5.q", (4096, 4096), 32, "Q4_K"),
    ("layers.5.gate", (14336, 4096), 32, "Q4_K"),
    ("embedding", (128256, 4096), 32, "Q6_K"),
    ("unembedding", (128256, 4096), 32, "Q6_K"),
    ("layers.5.router", (128, 2048), 32, None),
    ("layers.5.k", (128, 256), 32, None),
    ("layers.0.x", (1000, 100), 32, None),
    ("layers.3.v", (1024, 4096), 32, "Q6_K"),
    ("layers.4.k", (1024, 4096), 32, "Q6_K"),
    ("layers.4.down", (4096, 14336), 32, "Q4_K"),
    ("layers.6.down", (4096, 14336), 32, "Q6_K"),
    ("layers.31.experts.down", (8, 4096, 14336), 32, "Q6_K"),
    ("layers.5.q", (576, 576), 30, "Q5_1"),
    ("embedding", (49152, 576), 30, "Q8_0"),
    ("layers.5.key", (128, 512, 128), 61, "Q8_0"),
    ("layers.5.dt", (5120, 160), 64, "Q8_0"),
]


@pytest.mark.parametrize(("name", "shape", "layers", "layout"), RULE, ids=[row[0] for row in RULE])
def test_the_rule_of_four_bits(name, shape, layers, layout):
    assert layout_at(name, shape, "4", layers=layers, tied=True) == layout


def test_an_embedding_that_is_no_head_needs_less():
    assert layout_at("embedding", (128256, 4096), "4", layers=32, tied=False) == "Q5_K"
    assert layout_at("embedding", (49152, 576), "4", layers=30, tied=False) == "Q5_1"


def test_eight_and_sixteen_bits_are_one_layout_each():
    assert {layout_at("layers.1.q", (4096, 4096), bits, layers=32, tied=True) for bits in ("8", "16", "stored")} == {
        "Q8_0",
        "BF16",
        None,
    }


def test_what_nobody_has_quantised_has_four_bits_unless_another_precision_is_asked_for(opened, monkeypatch):
    _, parameters = opened
    assert settled(parameters, None) == "stored"  # a toy
    monkeypatch.setattr("ouvert.packed.precision.SMALL_MODEL", 1 << 20)
    assert settled(parameters, None) == "4"
    assert settled(parameters, "8") == "8"
    assert settled(parameters, "stored") == "stored"
    placed = placements(parameters, "4")
    assert placed["layers.0.q"].layout == "Q4_K"
    assert placed["layers.0.k"].layout == placed["layers.0.router"].layout == "BF16"
    assert placed["norm"].layout is None


def test_sixteen_bits_of_sixteen_are_as_they_are_stored(opened):
    assert settled(opened[1], "16") == "stored"


def test_what_is_quantised_stays_as_it_is_and_gets_no_more_bits(smollm2):
    from ouvert.packed import open_model

    with open_model(smollm2) as files:
        assert files.settled(None) == files.settled("stored") == "stored"
        with pytest.raises(CheckpointError, match=r"stored with 8 bits at most.*@stored.*leave the precision out"):
            files.settled("16")


def test_a_limit_leaves_a_model_of_fewer_bits_as_it_is_and_rounds_one_of_more(smollm2, opened):
    from ouvert.packed import PrecisionLimit, open_model

    with open_model(smollm2) as files:
        assert files.settled(PrecisionLimit("16")) == "stored"
        assert files.placed_bytes(PrecisionLimit("16")) == files.placed_bytes("stored")
    assert settled(opened[1], PrecisionLimit("8")) == "8"
    assert settled(opened[1], PrecisionLimit("stored")) == "stored"


def test_more_bits_than_asked_for_are_rounded_from_any_encoding(smollm2):
    """SmolLM2's embedding is in Q8_0: at 8 bits it stays, at 4 it is a head and stays too; asked for less, it goes."""
    from ouvert.packed import open_model
    from ouvert.packed.placement import placed_chunks

    with open_model(smollm2) as files:
        embedding = files.parameters[0]
        assert placements(files.parameters, "4")["embedding"].layout == "Q8_0"
        [(first, _, loss), *_] = placed_chunks(embedding, 2, "Q5_1")
        rows = len(first) * 8 // 6 // 576
        found = packing.unpack("Q5_1", first, rows, 576)
        wanted = embedding.rows(0, rows).decode()
    assert 0.01 < loss.relative < 0.05
    np.testing.assert_allclose(found, wanted, atol=0.05 * float(np.abs(wanted).max()))


def packed_of(source, folder, precision, said=None):
    file = PackedFile(
        place=lambda name: folder / f"{name}.safetensors",
        source_digest=sha256_of(source),
        say=None if said is None else said.append,
    )
    with open_checkpoint(source) as checkpoint:
        weights, watch = packed_weights(checkpoint, parameters_of(checkpoint), file, 2, precision)
    watch.close()
    return weights


def test_files_of_several_precisions_lie_side_by_side(source, tmp_path):
    found = {precision: packed_of(source, tmp_path, precision) for precision in ("stored", "8", "4")}
    assert {each.precision for each in found.values()} == {"stored", "8", "4"}
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 3
    assert sum("-4bit-" in name for name in names) == sum("-8bit-" in name for name in names) == 1
    sizes = [found[precision].checkpoint.path.stat().st_size for precision in ("stored", "8", "4")]
    assert sizes == sorted(sizes, reverse=True)
    again = packed_of(source, tmp_path, "4")
    assert again.made == found["4"].made


def test_what_is_lost_is_said_and_kept(source, tmp_path):
    said = []
    weights = packed_of(source, tmp_path, "4", said)
    losses = weights.losses()
    assert 0.05 < losses["layers.1.q"].relative < 0.08
    assert losses["layers.0.k"].relative == losses["norm"].relative == 0
    assert losses["unembedding"].relative < 0.02
    assert "Rounded to 4 bits (" in said[-1]
    worst = max(losses, key=lambda name: losses[name].relative)
    assert f"most in {worst}, by {losses[worst].relative:.2%}" in said[-1]
    assert packed_of(source, tmp_path, "stored").losses() == {}


def test_rounded_weights_and_their_losses_are_checked_like_all_others(source, tmp_path):
    path = packed_of(source, tmp_path, "4").checkpoint.path
    assert damage_in(path) is None
    data = bytearray(path.read_bytes())
    with open_checkpoint(path) as checkpoint:
        losses = checkpoint.tensors["ouvert.losses"].data.tobytes()
    data[data.find(losses) + 3] ^= 1
    path.write_bytes(data)
    assert "ouvert.losses" in damage_in(path)


def test_memory_and_file_hold_the_same_bytes_for_any_number_of_threads(source, tmp_path, opened):
    _, parameters = opened
    weights = packed_of(source, tmp_path, "4")
    in_memory = InMemory(3, placements(parameters, "4"))
    for parameter in parameters:
        one, other = weights.place(parameter), in_memory.place(parameter)
        assert np.array_equal(getattr(one, "data", one), getattr(other, "data", other))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, r"packing layers\.0\.q: .*1 blocks.*--precision 16"),
        (np.inf, r"packing layers\.0\.q: .*1 blocks.*--precision 16"),
        (-1e30, r"packing layers\.0\.q: .*1 blocks.*--precision 16"),
        (None, r"packing layers\.0\.q: as \w+ it loses 100%.*--precision 16"),
    ],
)
@pytest.mark.parametrize("precision", ["8", "4"])
def test_a_matrix_that_fewer_bits_cannot_hold_is_refused_by_name_and_nothing_appears(tmp_path, value, said, precision):
    """One value that is none or too large, or (None) all of them below the smallest scale that a half has."""
    values = np.full((256, 256), 0.01, np.float32) if value is not None else np.full((256, 256), 1e-9, np.float32)
    if value is not None:
        values[3, 5] = value
    source, target = tmp_path / "model.safetensors", tmp_path / "packed.safetensors"
    with SafetensorsWriter(source, {"layers.0.q": ("F32", (256, 256))}) as writer:
        writer.write("layers.0.q", values)
    with open_checkpoint(source) as checkpoint:
        parameter = Parameter("layers.0.q", "linear", (256, 256), Plain(checkpoint.tensors["layers.0.q"]))
        with pytest.raises(CheckpointError, match=said):
            write_packed([parameter], target, source_digest="s", recipe="r", precision=precision)
        with pytest.raises(CheckpointError, match=said):
            InMemory(1, placements([parameter], precision)).place(parameter)
        write_packed([parameter], target, source_digest="s", recipe="r", precision="16")  # there it is as it is
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "packed.safetensors"]


def fp8_values(codes):
    """E4M3FN by its definition: a sign, four bits of an exponent, three of a mantissa, no infinities."""
    sign, exponent, mantissa = codes >> 7, codes >> 3 & 15, codes & 7
    size = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent.astype(float) - 7))
    return np.where(sign, -size, size)


@pytest.mark.parametrize("precision", ["8", "4"])
def test_fp8_is_rounded_as_the_bf16_that_is_read_from_it(tmp_path, precision):
    random = np.random.default_rng(5)
    codes, scales = random.integers(0, 127, (384, 512)), random.uniform(0.001, 0.01, (3, 4)).astype(np.float32)
    codes = (codes | random.integers(0, 2, codes.shape) << 7).astype(np.uint8)
    values = (fp8_values(codes) * scales.repeat(128, 0).repeat(128, 1).astype(float)).astype(np.float32)
    bits = values.view(np.uint32)
    in_bf16 = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")
    source = tmp_path / "model.safetensors"
    tensors = {"codes": ("F8_E4M3", codes.shape), "scales": ("F32", scales.shape), "plain": ("BF16", codes.shape)}
    with SafetensorsWriter(source, tensors) as writer:
        for name, content in {"codes": codes, "scales": scales, "plain": in_bf16}.items():
            writer.write(name, content)
    with open_checkpoint(source) as checkpoint:
        read = checkpoint.tensors
        one, other = (
            Parameter("layers.0.q", "linear", codes.shape, each)
            for each in (Fp8Blocks(read["codes"], read["scales"]), Plain(read["plain"]))
        )
        assert settled([one], "16") == "stored"
        placed = [InMemory(1, placements([each], settled([each], precision))).place(each) for each in (one, other)]
        assert placements([one], precision)["layers.0.q"].layout == {"8": "Q8_0", "4": "Q4_K"}[precision]
    assert np.array_equal(placed[0].data, placed[1].data)
    found = packing.unpack({"8": "Q8_0", "4": "Q4_K"}[precision], placed[0].data, *codes.shape)
    error = np.linalg.norm(found - values) / np.linalg.norm(values)
    assert error < {"8": 0.01, "4": 0.12}[precision]


def test_another_rounding_leaves_no_file_behind(source, tmp_path, monkeypatch):
    old = packed_of(source, tmp_path, "4").checkpoint.path
    monkeypatch.setattr("ouvert.packed.kept.ROUNDING_VERSION", 1000)
    monkeypatch.setattr("ouvert.packed.precision.ROUNDING_VERSION", 1000)
    said = []
    fresh = packed_of(source, tmp_path, "4", said).checkpoint.path
    assert list(tmp_path.iterdir()) == [fresh]
    assert any(f"Removed {old}" in line for line in said)


def test_rounding_a_large_matrix_takes_little_memory(tmp_path):
    """400 MB in BF16, which would be 800 MB in float32, are rounded with a peak far below that."""
    source = tmp_path / "model.safetensors"
    with SafetensorsWriter(source, {"layers.0.q": ("BF16", (200_000, 1024))}) as writer:
        for _ in range(100):
            writer.write("layers.0.q", np.full((2000, 1024), 0x3C01, "<u2"))
    program = f"""
import resource
from pathlib import Path
from ouvert.packed.writing import write_packed
from ouvert.models import Parameter
from ouvert.models.sources import Plain
from ouvert.weights import open_checkpoint
with open_checkpoint(Path({str(source)!r})) as checkpoint:
    parameter = Parameter("layers.0.q", "linear", (200_000, 1024), Plain(checkpoint.tensors["layers.0.q"]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_packed([parameter], Path({str(tmp_path / "packed")!r}), source_digest="s", recipe="r", precision="4")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)
    assert grown < 300_000  # kilobytes


def test_a_file_that_was_rounded_by_a_killed_process_does_not_appear(source, tmp_path):
    target = tmp_path / "packed.safetensors"
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(__file__.rpartition("/")[0])!r})
from pathlib import Path
from test_precision import parameters_of
from ouvert.packed.writing import write_packed
from ouvert.weights import open_checkpoint
def die(done, total):
    if done > total // 2:
        os.kill(os.getpid(), signal.SIGKILL)
with open_checkpoint(Path({str(source)!r})) as checkpoint:
    write_packed(parameters_of(checkpoint), Path({str(target)!r}), source_digest="s", recipe="r", precision="4",
                 progress=die)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert not target.exists()
    with open_checkpoint(source) as checkpoint:
        write_packed(parameters_of(checkpoint), target, source_digest="s", recipe="r", precision="4")
    assert PackedWeights(target).precision == "4"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
