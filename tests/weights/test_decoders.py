"""Every decoder against what independent decoders gave (tests/goldens/make_weights.py)."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ouvert.weights import (
    ENCODINGS,
    CheckpointError,
    blocks,
    decode,
    decode_fp8_blocks,
    decode_mxfp4_blocks,
    encoded_bytes,
    floats,
)

QUANTISED = sorted(name for name, how in ENCODINGS.items() if how.block_weights > 1)
SMALL_FLOATS = ["F16", "BF16", "F8_E4M3"]


@pytest.fixture(scope="module")
def decoded(goldens: Path) -> dict[str, np.ndarray]:
    return load_file(goldens / "decoded.safetensors")


def same_bits(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Equal to the last bit, zeros with their signs; any NaN equals any other, since processors choose its payload."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype == np.float32
    both_nan = np.isnan(ours) & np.isnan(theirs)
    return bool(np.all((np.ascontiguousarray(ours).view(np.uint32) == theirs.view(np.uint32)) | both_nan))


@pytest.mark.parametrize("name", QUANTISED + SMALL_FLOATS)
def test_decoded_weights_equal_those_of_independent_decoders(name: str, decoded: dict[str, np.ndarray]) -> None:
    values = decoded[f"{name}.values"]
    assert same_bits(decode(name, decoded[f"{name}.bytes"].reshape(-1), values.shape), values)


def test_fp8_blocks_equal_torch_even_where_the_last_blocks_are_cut_off(decoded: dict[str, np.ndarray]) -> None:
    codes, scales, values = (decoded[f"fp8_blocks_of_4.{part}"] for part in ("codes", "scales", "values"))
    assert same_bits(decode_fp8_blocks(codes, scales, (4, 4)), values)


def test_both_layouts_of_mxfp4_hold_the_same_numbers(decoded: dict[str, np.ndarray]) -> None:
    ggml = decoded["MXFP4.bytes"]
    codes = np.concatenate([ggml[:, 1:] & 15, ggml[:, 1:] >> 4], axis=1)  # weights in order
    adjacent = codes[:, 0::2] | codes[:, 1::2] << 4
    assert np.array_equal(decode_mxfp4_blocks(adjacent, ggml[:, 0]).reshape(-1, 32), decoded["MXFP4.values"])


def test_infinite_and_undefined_scales_come_out_as_arithmetic_has_them() -> None:
    block = np.zeros(34, np.uint8)
    block[2:5] = 0, 1, 255  # codes 0, 1, -1
    for scale, expected in ((np.inf, [np.nan, np.inf, -np.inf]), (np.nan, [np.nan] * 3)):
        block[:2] = np.array([scale], "<f2").view(np.uint8)
        assert np.array_equal(decode("Q8_0", block, (32,))[:3], np.array(expected), equal_nan=True)


# Mistakes that are easily made, each as a decoder. None may pass for the right one.


def halves_swapped(records: np.ndarray, out: np.ndarray) -> None:
    out[:, :16], out[:, 16:] = records["codes"] >> 4, records["codes"] & 15


def halves_side_by_side(records: np.ndarray, out: np.ndarray) -> None:
    out[:, 0::2], out[:, 1::2] = records["codes"] & 15, records["codes"] >> 4


def q4_0_swapped(records: np.ndarray, out: np.ndarray) -> None:
    halves_swapped(records, out)
    out[:] = (out - 8) * blocks.column(records["scale"])


def q4_0_side_by_side(records: np.ndarray, out: np.ndarray) -> None:
    halves_side_by_side(records, out)
    out[:] = (out - 8) * blocks.column(records["scale"])


def q4_0_off_by_one(records: np.ndarray, out: np.ndarray) -> None:
    blocks.halves(records["codes"], out)
    out[:] = (out - 7) * blocks.column(records["scale"])


def q4_1_minimum_taken_off(records: np.ndarray, out: np.ndarray) -> None:
    blocks.halves(records["codes"], out)
    out[:] = out * blocks.column(records["scale"]) - blocks.column(records["minimum"])


def q4_k_minimum_added(records: np.ndarray, out: np.ndarray) -> None:
    turned = records.copy()
    turned["minimum"] = -turned["minimum"]
    blocks.q4_k(turned, out)


def q4_k_scale_for_minimum(records: np.ndarray, out: np.ndarray) -> None:
    turned = records.copy()
    turned["scale"], turned["minimum"] = records["minimum"], records["scale"]
    blocks.q4_k(turned, out)


def q5_0_fifth_bits_backwards(records: np.ndarray, out: np.ndarray) -> None:
    turned = records.copy()
    turned["fifth_bits"] = records["fifth_bits"][:, ::-1]
    blocks.q5_0(turned, out)


def q3_k_third_bit_inverted(records: np.ndarray, out: np.ndarray) -> None:
    turned = records.copy()
    turned["third_bits"] = ~records["third_bits"]
    blocks.q3_k(turned, out)


def q6_k_unsigned_scales(records: np.ndarray, out: np.ndarray) -> None:
    blocks.q6_k(records, out)
    positive = np.repeat(records["scales"] >= 0, 16, axis=1)
    out[:] = np.where(positive, out, -out)


def mxfp4_side_by_side(records: np.ndarray, out: np.ndarray) -> None:
    halves_side_by_side(records, out)
    out[:] = blocks.E2M1_DOUBLED[out.astype(int)] * blocks.HALF_POWERS[records["exponent"]][:, None]


def mxfp4_not_halved(records: np.ndarray, out: np.ndarray) -> None:
    blocks.mxfp4(records, out)
    out *= 2


def iq4_nl_as_q4_0(records: np.ndarray, out: np.ndarray) -> None:
    blocks.q4_0(records, out)


def bf16_cut_to_f16(codes: np.ndarray, out: np.ndarray) -> None:
    floats.same(codes.view("<f2"), out)


def f8_with_infinities(codes: np.ndarray, out: np.ndarray) -> None:
    floats.f8_e4m3(codes, out)
    out[np.isnan(out)] = np.inf


MISTAKES = {
    "Q4_0": [q4_0_swapped, q4_0_side_by_side, q4_0_off_by_one],
    "Q4_1": [q4_1_minimum_taken_off],
    "Q4_K": [q4_k_minimum_added, q4_k_scale_for_minimum],
    "Q5_0": [q5_0_fifth_bits_backwards],
    "Q3_K": [q3_k_third_bit_inverted],
    "Q6_K": [q6_k_unsigned_scales],
    "MXFP4": [mxfp4_side_by_side, mxfp4_not_halved],
    "IQ4_NL": [iq4_nl_as_q4_0],
    "BF16": [bf16_cut_to_f16],
    "F8_E4M3": [f8_with_infinities],
}


@pytest.mark.parametrize(
    ("name", "mistake"), [(name, mistake) for name, mistakes in MISTAKES.items() for mistake in mistakes]
)
def test_a_plausible_mistake_is_noticed(name: str, mistake: blocks.Decoder, decoded: dict[str, np.ndarray]) -> None:
    values = decoded[f"{name}.values"]
    out = np.empty(
        (math.prod(values.shape) // ENCODINGS[name].block_weights, ENCODINGS[name].block_weights), np.float32
    )
    with np.errstate(all="ignore"):
        mistake(decoded[f"{name}.bytes"].reshape(-1).view(ENCODINGS[name].layout), out)
    assert not same_bits(out.reshape(values.shape), values)


@pytest.mark.parametrize("name", [name for name in QUANTISED if name != "MXFP4"])
def test_no_bit_of_a_block_is_overlooked(name: str) -> None:
    """Turn over each bit of an ordinary block: some weight must change. (MXFP4 has two zeros, so it is left out.)"""
    how = ENCODINGS[name]
    record = np.random.default_rng(3).integers(0, 256, how.block_bytes, np.uint8).view(how.layout)
    record["scale"] = 0.011
    if "minimum" in (how.layout.names or ()):
        record["minimum"] = 0.023
    before = record.view(np.uint8).copy()
    for field, (_, offset, *_) in (how.layout.fields or {}).items():
        for bit in range(8 * how.layout[field].itemsize):
            changed = before.copy()
            changed[offset + bit // 8] ^= 1 << bit % 8
            values = [decode(name, data, (how.block_weights,)) for data in (before, changed)]
            # A code under a scale of zero has no say; the seed makes none.
            assert not same_bits(*values), (field, bit)


def test_fp8_scales_exchanged_between_axes_are_noticed(decoded: dict[str, np.ndarray]) -> None:
    codes, scales, values = (decoded[f"fp8_blocks_of_4.{part}"] for part in ("codes", "scales", "values"))
    turned = np.ascontiguousarray(scales.T).reshape(scales.shape)
    assert not same_bits(decode_fp8_blocks(codes, turned, (4, 4)), values)


@pytest.mark.parametrize("name", ["U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F64", "F32"])
def test_plain_numbers_keep_their_type(name: str) -> None:
    kind = ENCODINGS[name].result
    values = np.array([[0, 1, 2], [100, 101, 127]], kind)
    out = decode(name, values.reshape(-1).view(np.uint8), (2, 3))
    assert out.dtype == kind
    assert np.array_equal(out, values)
    assert out.flags.writeable


def test_truth_values_are_true_for_any_byte_but_zero() -> None:
    assert decode("BOOL", np.array([0, 1, 7], np.uint8), (3,)).tolist() == [False, True, True]


def test_many_pieces_give_what_one_piece_gives() -> None:
    data = np.random.default_rng(4).integers(0, 256, 84 * 3001, np.uint8)
    with np.errstate(all="ignore"):
        whole = np.empty((3001, 256), np.float32)
        blocks.q2_k(data.view(blocks.Q2_K), whole)
    assert same_bits(decode("Q2_K", data, (3001, 256)), whole)


def test_tensors_without_numbers_and_single_numbers_decode() -> None:
    assert decode("Q4_K", np.empty(0, np.uint8), (0, 256)).shape == (0, 256)
    assert decode("F32", np.array([1.5], "<f4").view(np.uint8), ()).item() == 1.5


@pytest.mark.parametrize("name", ["Q3_K", "MXFP4", "F8_E4M3"])
def test_temporary_memory_does_not_grow_with_the_tensor(name: str) -> None:
    weights = 1 << 23
    data = np.zeros(encoded_bytes(name, (weights,)), np.uint8)
    tracemalloc.start()
    decode(name, data, (weights,))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * weights + (4 << 20)


def test_wrong_sizes_and_unknown_encodings_are_refused() -> None:
    with pytest.raises(CheckpointError, match="takes 18 bytes"):
        decode("Q4_0", np.zeros(17, np.uint8), (32,))
    with pytest.raises(CheckpointError, match="multiple of 32"):
        decode("Q4_0", np.zeros(18, np.uint8), (2, 16))
    with pytest.raises(CheckpointError, match="IQ2_XXS cannot be decoded"):
        decode("IQ2_XXS", np.zeros(18, np.uint8), (32,))
    with pytest.raises(CheckpointError, match=r"scales of shape \(2, 1\)"):
        decode_fp8_blocks(np.zeros((129, 128), np.uint8), np.zeros((1, 2), np.float32))
    with pytest.raises(CheckpointError, match="do not fit"):
        decode_mxfp4_blocks(np.zeros((2, 3, 16), np.uint8), np.zeros((3, 2), np.uint8))
