"""Decoders and readers against independent ones, live: the `gguf` package, torch, transformers, safetensors."""

import importlib.util
from pathlib import Path
from types import ModuleType

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize
from safetensors.torch import save_file
from transformers.integrations import mxfp4

from ouvert.weights import ENCODINGS, decode, decode_fp8_blocks, decode_mxfp4_blocks, encode, open_checkpoint

GOLDENS = Path(__file__).parents[2] / "goldens"
QUANTISED = sorted(name for name, how in ENCODINGS.items() if how.block_weights > 1)


def loaded_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_weights", GOLDENS / "make_weights.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


goldens = loaded_script()


def same_bits(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Equal to the last bit; any NaN equals any other."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype == np.float32
    both_nan = np.isnan(ours) & np.isnan(theirs)
    return bool(
        np.all((np.ascontiguousarray(ours).view(np.uint32) == np.ascontiguousarray(theirs).view(np.uint32)) | both_nan)
    )


def test_goldens_are_what_the_references_say_today(tmp_path: Path) -> None:
    goldens.make(tmp_path)
    for name in ("decoded.safetensors", "small.gguf"):
        with open_checkpoint(tmp_path / name) as now, open_checkpoint(GOLDENS / "weights" / name) as then:
            assert now.tensors.keys() == then.tensors.keys()
            for key, tensor in now.tensors.items():
                assert tensor.shape == then.tensors[key].shape
                assert tensor.encoding == then.tensors[key].encoding
                assert np.array_equal(tensor.data, then.tensors[key].data), key
            if now.format == "gguf":
                assert {**now.metadata, "golden.versions": ""} == {**then.metadata, "golden.versions": ""}


@pytest.mark.parametrize("name", QUANTISED)
@pytest.mark.parametrize("seed", [11, 12])
def test_quantised_blocks_equal_gguf(name: str, seed: int) -> None:
    """4000 random blocks, and every pair of an extreme scale and a place for one."""
    blocks = goldens.random_blocks(name, 4000, seed)
    values = goldens.decoded(name, blocks)
    assert same_bits(decode(name, blocks.reshape(-1), values.shape), values)


@pytest.mark.parametrize("name", QUANTISED)
def test_quite_random_bytes_equal_gguf(name: str) -> None:
    """Scales of any bits: infinities, NaNs and the smallest numbers among them."""
    how = ENCODINGS[name]
    blocks = np.random.default_rng(13).integers(0, 256, (4000, how.block_bytes), np.uint8)
    values = goldens.decoded(name, blocks)
    assert same_bits(decode(name, blocks.reshape(-1), values.shape), values)


@pytest.mark.parametrize(
    ("name", "kind"), [("F16", torch.float16), ("BF16", torch.bfloat16), ("F8_E4M3", torch.float8_e4m3fn)]
)
def test_every_small_float_equals_torch(name: str, kind: torch.dtype) -> None:
    size = ENCODINGS[name].block_bytes
    bits = np.arange(1 << 8 * size, dtype=f"<u{size}")
    theirs = torch.from_numpy(bits.view(f"<i{size}")).view(kind).to(torch.float32).numpy()
    assert same_bits(decode(name, bits.view(np.uint8), bits.shape), theirs)


@pytest.mark.parametrize("shape", [(1, 1), (127, 129), (128, 128), (129, 127), (300, 513), (576, 1000)])
def test_fp8_blocks_equal_torch(shape: tuple[int, int]) -> None:
    random = torch.Generator().manual_seed(shape[0])
    codes = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
    scales = torch.randn(-(-shape[0] // 128), -(-shape[1] // 128), generator=random) * 1e-3
    scales.view(-1)[0] = torch.tensor([float("inf"), float("nan"), 1e-42, 3e38][shape[0] % 4])
    theirs = goldens.fp8_decoded(codes, scales).numpy()
    assert same_bits(decode_fp8_blocks(codes.numpy(), scales.numpy()), theirs)


def test_mxfp4_as_gpt_oss_has_it_equals_transformers() -> None:
    """All exponents. 255 counts on to 2^128 in torch and ggml and here; the OCP document calls it "not a number"."""
    random = torch.Generator().manual_seed(3)
    blocks = torch.randint(0, 256, (2, 51, 5, 16), generator=random, dtype=torch.uint8)
    scales = torch.arange(2 * 51 * 5).remainder(256).to(torch.uint8).reshape(2, 51, 5)
    theirs = mxfp4._convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)  # (experts, columns, rows)
    ours = decode_mxfp4_blocks(blocks.numpy(), scales.numpy())
    assert same_bits(ours.transpose(0, 2, 1), theirs.numpy())


def test_the_small_file_reads_like_gguf_reads_it() -> None:
    path = GOLDENS / "weights" / "small.gguf"
    reader = gguf.GGUFReader(path)
    with open_checkpoint(path) as ours:
        for key, value in ours.metadata.items():
            if key != "nested":  # the package does not rebuild these
                assert reader.fields[key].contents() == value
        assert [tensor.name for tensor in reader.tensors] == list(ours.tensors)
        for tensor in reader.tensors:
            assert ours.tensors[tensor.name].shape == tuple(int(n) for n in tensor.shape[::-1])
            assert ours.tensors[tensor.name].encoding == tensor.tensor_type.name
            assert np.array_equal(ours.tensors[tensor.name].data, tensor.data.reshape(-1).view(np.uint8))


def test_a_split_model_of_gguf_reads_whole(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", split_max_tensors=2)
    for n in range(5):
        writer.add_tensor(f"t{n}", np.full((2, 2), n, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_checkpoint(tmp_path) as checkpoint:
        assert len(checkpoint.files) == 3
        assert checkpoint.metadata["general.architecture"] == "llama"
        assert [tensor.decode()[0, 0] for tensor in checkpoint.tensors.values()] == [0, 1, 2, 3, 4]


def test_every_tensor_of_the_real_small_model_equals_gguf(smollm2: Path) -> None:
    with open_checkpoint(smollm2) as ours:
        for tensor in gguf.GGUFReader(smollm2).tensors:
            assert same_bits(ours.tensors[tensor.name].decode(), dequantize(tensor.data, tensor.tensor_type)), (
                tensor.name
            )


def test_tensors_that_torch_saved_are_read(tmp_path: Path) -> None:
    arrays = {
        "bf16": torch.randn(3, 5).to(torch.bfloat16),
        "fp8": torch.randn(4, 4).to(torch.float8_e4m3fn),
        "f16": torch.randn(7).to(torch.float16),
        "u8": torch.arange(5, dtype=torch.uint8),
        "i64": torch.arange(-2, 2),
    }
    save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "pt"})
    with open_checkpoint(tmp_path / "x.safetensors") as checkpoint:
        for name, tensor in arrays.items():
            wanted = tensor.to(torch.float32) if tensor.is_floating_point() else tensor
            assert np.array_equal(checkpoint.tensors[name].decode(), wanted.numpy())


@pytest.mark.parametrize("name", ["F16", "BF16", "Q8_0"])
def test_what_is_written_equals_gguf(name: str) -> None:
    random = np.random.default_rng(4)
    values = random.standard_normal((257, 96)).astype(np.float32) * np.exp(random.uniform(-20, 9, (257, 1)))
    values = values.astype(np.float32)
    values[3] = 0
    theirs = gguf.quants.quantize(values, gguf.GGMLQuantizationType[name])
    np.testing.assert_array_equal(encode(name, values), np.ascontiguousarray(theirs).reshape(-1).view(np.uint8))
