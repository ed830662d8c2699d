"""Makes tests/goldens/weights with the `gguf` package and torch. Run in the environment of the references:

python tests/goldens/make_weights.py [folder]
"""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.quants import dequantize
from safetensors.torch import save_file

# GGUF's encodings, and at which byte offsets their blocks have F16 scales.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "MXFP4": [],
}  # fmt: skip
# Zero, the smallest and the largest numbers of F16, infinity and NaN, as bits.
EXTREMES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0xFE01]
FEW_EXTREMES = [0x0001, 0x7BFF, 0x7C00, 0xFE01]
EXPONENTS = [0, 1, 2, 126, 127, 128, 253, 254, 255]


def random_blocks(name: str, count: int, seed: int, extremes: Sequence[int] = EXTREMES) -> np.ndarray:
    """uint8 (blocks, bytes of a block): random codes and scales, then blocks with extreme scales in each place."""
    random = np.random.default_rng(seed)
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    columns = [(at, bits) for at in SCALES[name] for bits in extremes]
    blocks = random.integers(
        0, 256, (count + len(columns) + (len(EXPONENTS) if name == "MXFP4" else 0), size), np.uint8
    )
    for at in SCALES[name]:  # everyday scales, both signs
        values = random.normal(0, 0.02, len(blocks)).astype("<f2")
        blocks[:, at : at + 2] = values.view(np.uint8).reshape(-1, 2)
    for row, (at, bits) in enumerate(columns, count):
        blocks[row, at : at + 2] = np.array([bits], "<u2").view(np.uint8)
    if name == "MXFP4":
        blocks[:count, 0] = random.integers(117, 133, count)
        blocks[count:, 0] = EXPONENTS
    return blocks


def decoded(name: str, blocks: np.ndarray) -> np.ndarray:
    """float32 (blocks, weights of a block), by the `gguf` package."""
    with np.errstate(all="ignore"):
        return dequantize(blocks, gguf.GGMLQuantizationType[name])


def fp8_decoded(codes: torch.Tensor, scales: torch.Tensor, block: int = 128) -> torch.Tensor:
    """DeepSeek's weight = FP8 code × the scale of its block, with torch's own e4m3."""
    wide = scales.repeat_interleave(block, 0)[: codes.shape[0]].repeat_interleave(block, 1)[:, : codes.shape[1]]
    return codes.view(torch.float8_e4m3fn).to(torch.float32) * wide


def make(folder: Path) -> None:
    """Write the golden files."""
    folder.mkdir(parents=True, exist_ok=True)
    versions = {name: version(name) for name in ("gguf", "torch", "numpy", "safetensors")}
    goldens: dict[str, torch.Tensor] = {}
    for name in SCALES:
        blocks = random_blocks(name, 1, 1, FEW_EXTREMES)
        goldens[f"{name}.bytes"] = torch.from_numpy(blocks)
        goldens[f"{name}.values"] = torch.from_numpy(decoded(name, blocks))
    random = torch.Generator().manual_seed(1)
    every_code = torch.arange(256, dtype=torch.uint8)
    goldens["F8_E4M3.bytes"] = every_code
    goldens["F8_E4M3.values"] = every_code.view(torch.float8_e4m3fn).to(torch.float32)
    bits = torch.cat([torch.arange(0, 1 << 16, 257), torch.tensor([0x7F80, 0xFF80, 0x7FC0])]).to(torch.uint16)
    for name, kind in (("F16", torch.float16), ("BF16", torch.bfloat16)):
        goldens[f"{name}.bytes"] = bits.view(torch.uint8).clone()
        goldens[f"{name}.values"] = bits.view(kind).to(torch.float32)
    codes = torch.randint(0, 256, (11, 13), generator=random, dtype=torch.uint8)
    scales = torch.rand(3, 4, generator=random)
    goldens["fp8_blocks_of_4.codes"], goldens["fp8_blocks_of_4.scales"] = codes, scales
    goldens["fp8_blocks_of_4.values"] = fp8_decoded(codes, scales, 4)
    save_file(goldens, folder / "decoded.safetensors", metadata=versions)
    make_gguf(folder / "small.gguf", versions)


def make_gguf(path: Path, versions: dict[str, str]) -> None:
    """A GGUF file with a value of every metadata type and a tensor of every encoding."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("golden.versions", " ".join(f"{name}={number}" for name, number in versions.items()))
    writer.add_uint8("number.u8", 255)
    writer.add_int8("number.i8", -128)
    writer.add_uint16("number.u16", 65535)
    writer.add_int16("number.i16", -32768)
    writer.add_uint32("number.u32", 2**32 - 1)
    writer.add_int32("number.i32", -(2**31))
    writer.add_uint64("number.u64", 2**64 - 1)
    writer.add_int64("number.i64", -(2**63))
    writer.add_float32("number.f32", 0.1)
    writer.add_float64("number.f64", 0.1)
    writer.add_bool("truth", True)
    writer.add_array("texts", ["", "Ġa", "日本", "🙂", "a\nb"])
    writer.add_array("integers", [-1, 0, 1])
    writer.add_array("floats", [0.5, -2.0])
    writer.add_array("truths", [True, False])
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_tensor("plain.f32", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("plain.f16", np.arange(6, dtype=np.float16).reshape(3, 2))
    writer.add_tensor("plain.i32", np.arange(-3, 3, dtype=np.int32))
    for name in SCALES:
        writer.add_tensor(
            f"quantised.{name}", random_blocks(name, 1, seed=2)[:3], raw_dtype=gguf.GGMLQuantizationType[name]
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("weights"))
