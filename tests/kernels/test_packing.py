"""Packed layouts: exactly the bytes of docs/formats/packed.md, and exactly the numbers of the encoding."""

import numpy as np
import pytest

from ouvert.arithmetic import as_mxint8
from ouvert.kernels import packing
from ouvert.weights import blocks, decode

from .encoded_weights import RECORDS, encoded

EXACT = [
    "F32",
    "F16",
    "BF16",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "IQ4_NL",
    "MXFP4",
]


@pytest.fixture
def random():
    return np.random.default_rng(5)


# The definition, in NumPy: codes and scales of an encoding, and where a layout puts them.


def codes_and_scales(encoding, data, rows, columns):
    """Unsigned codes (rows, columns), and per layout-block scale bytes: list of (rows, blocks, bytes) in order."""
    part = data.view(RECORDS[encoding]).reshape(rows, -1)
    flat = part.reshape(-1)
    out = np.empty((len(flat), 256 if encoding.endswith("K") else 32), np.float32)

    def bytes_of(values):
        return np.ascontiguousarray(values).view(np.uint8).reshape(rows, part.shape[1], -1)

    match encoding:
        case "Q4_0" | "IQ4_NL" | "Q4_1" | "MXFP4":
            blocks.halves(flat["codes"], out)
        case "Q5_0" | "Q5_1":
            out[:] = blocks.five_bit(flat)
        case "Q8_0":
            out[:] = flat["codes"].astype(np.int32) + 128
        case _:  # the decoders give codes when scales are one and minima nothing
            plain = flat.copy()
            plain["scale"] = 1
            plain["scales"] = 1
            if encoding in ("Q4_K", "Q5_K"):
                plain["minimum"] = 0
                plain["scales"] = [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1]
            if encoding == "Q3_K":  # 6-bit scales of 33, which stand for one
                plain["scales"] = [0x11] * 8 + [0xAA] * 4
            {"Q3_K": blocks.q3_k, "Q4_K": blocks.q4_k, "Q5_K": blocks.q5_k, "Q6_K": blocks.q6_k}[encoding](plain, out)
            out += {"Q3_K": 32, "Q6_K": 32}.get(encoding, 0)
    codes = out.astype(np.uint8).reshape(rows, columns)
    match encoding:
        case "MXFP4":
            scales = [bytes_of(part["exponent"])]
        case "Q4_1" | "Q5_1":
            scales = [bytes_of(part["scale"]), bytes_of(part["minimum"])]
        case "Q5_0":
            scales = [bytes_of(part["scale"]), bytes_of((-16 * part["scale"].astype(np.float32)).astype(np.float16))]
        case "Q4_K" | "Q5_K":
            six, minima = blocks.six_bit_scales(flat["scales"])
            low = ((six & 15) | (minima & 15) << 4).astype(np.uint8)
            pairs = (six >> 4 | (minima >> 4) << 2).astype(np.uint32)
            high = np.bitwise_or.reduce(pairs << (4 * np.arange(8, dtype=np.uint32)), axis=1)
            scales = [bytes_of(part["scale"]), bytes_of(part["minimum"])]
            scales += [low.reshape(rows, -1, 8)[:, :, n : n + 1] for n in range(8)]
            scales += [bytes_of(high.astype("<u4"))]
        case "Q6_K":
            scales = [bytes_of(part["scale"])] + [bytes_of(part["scales"][:, :, n]) for n in range(16)]
        case "Q3_K":
            plain = flat.copy()
            plain["scale"], plain["codes"], plain["third_bits"] = 1, 0b01010101, 255  # codes of 5 stand for one
            blocks.q3_k(plain, out)
            subs = out.reshape(rows, -1, 16, 16)[:, :, :, 0].astype(np.int8)
            scales = [bytes_of(part["scale"])] + [bytes_of(subs[:, :, n]) for n in range(16)]
        case _:
            scales = [bytes_of(part["scale"])]
    return codes, scales


def lay_out(encoding, data, rows, columns):
    """docs/formats/packed.md in NumPy."""
    layout = packing.LAYOUTS[encoding]
    groups = -(-rows // 16)
    if layout in ("F32", "F16", "BF16"):
        size = 4 if layout == "F32" else 2
        values = np.zeros((groups * 16, columns, size), np.uint8)
        values[:rows] = data.reshape(rows, columns, size)
        return pad(values.reshape(groups, 16, columns, size).transpose(0, 2, 1, 3).reshape(groups, -1)).reshape(-1)
    some_codes, some_scales = codes_and_scales(encoding, data, rows, columns)
    codes = np.zeros((groups * 16, columns), np.uint8)
    codes[:rows] = some_codes
    scales = []
    for part in some_scales:
        whole = np.zeros((groups * 16, *part.shape[1:]), np.uint8)
        whole[:rows] = part
        scales.append(whole.reshape(groups, 16, part.shape[1], -1).swapaxes(1, 2).reshape(groups, part.shape[1], -1))
    scale_bytes = np.concatenate(scales, axis=2)
    u = codes.reshape(groups, 16, -1, 8, 4).transpose(0, 2, 3, 1, 4)  # (groups, blocks, 8, 16 rows, 4 columns)
    if layout == "Q8_0":
        parts = [u]
    else:
        parts = [u[:, :, :4] & 15 | (u[:, :, 4:] & 15) << 4]
    if layout in ("Q5_1", "Q5_K"):
        parts.append(np.packbits(u.reshape(*u.shape[:3], 64) >> 4, axis=-1, bitorder="little"))
    if layout == "Q6_K":
        high = u >> 4
        shifted = [high[:, :, n::4] << (2 * n) for n in range(4)]
        parts.append(shifted[0] | shifted[1] | shifted[2] | shifted[3])
    code_bytes = np.concatenate([part.reshape(*u.shape[:2], -1) for part in parts], axis=2)
    scales_in_256 = 8 * scale_bytes.shape[1] // code_bytes.shape[1]
    stretches = []
    for n in range(-(-code_bytes.shape[1] // 8)):
        own_scales = scale_bytes[:, n * scales_in_256 : (n + 1) * scales_in_256]
        stretches += [pad(own_scales.reshape(groups, -1)), code_bytes[:, 8 * n : 8 * n + 8].reshape(groups, -1)]
    return np.concatenate(stretches, axis=1).reshape(-1)


def pad(rows):
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 64)))


@pytest.mark.parametrize("encoding", EXACT)
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 48])
def test_the_bytes_are_those_of_the_definition(random, encoding, rows):
    for columns in (256, 768):
        data = encoded(random, encoding, rows, columns)
        packed, loss = packing.pack(encoding, data, rows, columns)
        np.testing.assert_array_equal(packed, lay_out(encoding, data, rows, columns))
        assert loss.relative == 0


@pytest.mark.parametrize("encoding", EXACT)
def test_unpacking_gives_what_the_encoding_says(random, encoding):
    rows, columns = 37, 512
    data = encoded(random, encoding, rows, columns)
    packed, _ = packing.pack(encoding, data, rows, columns)
    unpacked = packing.unpack(packing.LAYOUTS[encoding], packed, rows, columns)
    np.testing.assert_array_equal(unpacked, decode(encoding, data, (rows, columns)))


@pytest.mark.parametrize("encoding", ["Q4_0", "Q4_1", "Q5_0", "Q8_0", "IQ4_NL", "MXFP4"])
@pytest.mark.parametrize("columns", [32, 96, 576])
def test_columns_need_only_be_whole_blocks(random, encoding, columns):
    data = encoded(random, encoding, 16, columns)
    packed, _ = packing.pack(encoding, data, 16, columns)
    np.testing.assert_array_equal(packed, lay_out(encoding, data, 16, columns))


@pytest.mark.parametrize("encoding", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("columns", [1, 7, 33])
def test_floats_may_have_any_number_of_columns(random, encoding, columns):
    data = encoded(random, encoding, 5, columns)
    packed, _ = packing.pack(encoding, data, 5, columns)
    unpacked = packing.unpack(encoding, packed, 5, columns)
    np.testing.assert_array_equal(unpacked, decode(encoding, data, (5, columns)))


def test_every_exponent_of_mxfp4_is_exact(random):
    data = encoded(random, "MXFP4", 16, 32 * 16)
    data.view(blocks.MXFP4)["exponent"] = np.arange(256)
    packed, _ = packing.pack("MXFP4", data, 16, 512)
    np.testing.assert_array_equal(packing.unpack("MXFP4", packed, 16, 512), decode("MXFP4", data, (16, 512)))


def test_every_half_is_read_right():
    halves = np.arange(1 << 16, dtype="<u2")
    finite = halves[np.isfinite(halves.view("<f2"))].copy()
    data = finite.view(np.uint8)
    packed, _ = packing.pack("F16", data, 1, len(finite))
    np.testing.assert_array_equal(packing.unpack("F16", packed, 1, len(finite))[0], finite.view("<f2"))


def test_pieces_of_rows_are_pieces_of_bytes(random):
    rows, columns, encoding = 50, 512, "Q4_K"
    data = encoded(random, encoding, rows, columns)
    whole, _ = packing.pack(encoding, data, rows, columns, threads=2)
    row = len(data) // rows
    pieces = [
        packing.pack(encoding, data[begin * row : end * row], end - begin, columns)[0]
        for begin, end in [(0, 16), (16, 48), (48, 50)]
    ]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("layout", ["Q8_0", "BF16", "F16"])
@pytest.mark.parametrize("encoding", ["F32", "F16", "BF16", "Q2_K"])
def test_what_a_rounded_layout_loses_is_reported(random, encoding, layout):
    if encoding == "Q2_K" and layout != "Q8_0":
        with pytest.raises(ValueError, match="not offered"):
            packing.pack(encoding, encoded(random, encoding, 16, 512), 16, 512, layout=layout)
        return
    rows, columns = 33, 512
    data = encoded(random, encoding, rows, columns)
    weights = decode(encoding, data, (rows, columns)).astype(np.float64)
    packed, loss = packing.pack(encoding, data, rows, columns, layout=layout)
    error = packing.unpack(layout, packed, rows, columns) - weights
    assert loss.squared_error == pytest.approx(np.sum(error**2), rel=1e-9)
    assert loss.relative == pytest.approx(np.sqrt(np.mean(error**2) / np.mean(weights**2)), rel=1e-9)
    assert loss.relative < {"Q8_0": 0.008, "BF16": 0.003, "F16": 0.0003}[layout]


def test_rounding_to_8_bits_is_to_the_nearest(random):
    weights = random.standard_normal((16, 64)).astype(np.float32)
    weights[3, 32:] = 0
    packed, _ = packing.pack("F32", weights.reshape(-1).view(np.uint8), 16, 64, layout="Q8_0")
    scale = (np.abs(weights.reshape(16, 2, 32)).max(-1) / np.float32(127)).astype(np.float16).astype(np.float32)
    codes = np.rint(
        np.divide(
            weights.reshape(16, 2, 32),
            scale[:, :, None],
            where=scale[:, :, None] > 0,
            out=np.zeros((16, 2, 32), np.float32),
        )
    )
    expected = np.clip(codes, -127, 127) * scale[:, :, None]
    np.testing.assert_array_equal(packing.unpack("Q8_0", packed, 16, 64), expected.reshape(16, 64))


@pytest.mark.parametrize("columns", [1, 16, 33, 64])
@pytest.mark.parametrize("rows", [1, 16, 37])
def test_the_bytes_of_mxint8_are_those_of_the_definition(random, rows, columns):
    """A block of up to 32 columns: a byte n + 127 for each of 16 rows, then their codes column by column."""
    values = as_mxint8(random.standard_normal((rows, columns)).astype(np.float32))
    packed, loss = packing.pack("F32", values.reshape(-1).view(np.uint8), rows, columns, layout="MXINT8")
    assert loss.relative == 0
    np.testing.assert_array_equal(packing.unpack("MXINT8", packed, rows, columns), values)
    groups, expected = -(-rows // 16), []
    whole = np.zeros((groups * 16, columns), np.float32)
    whole[:rows] = values
    for group in whole.reshape(groups, 16, columns):
        for begin in range(0, columns, 32):
            block = group[:, begin : begin + 32]
            n = np.frexp(np.abs(block).max(1))[1] - 7
            codes = block / np.exp2(n.astype(np.float64))[:, None]
            expected += [np.where(block.any(1), n + 127, 0).astype(np.uint8), codes.T.astype(np.int8).view(np.uint8)]
    found = np.concatenate([each.reshape(-1) for each in expected])
    np.testing.assert_array_equal(packed[: len(found)], found)
    assert len(packed) == -(-len(found) // 64) * 64


def test_what_mxint8_cannot_hold_is_refused():
    for bad in (np.inf, np.nan, 2.0**46):
        values = np.ones((16, 40), np.float32)
        values[3, 35] = bad
        with pytest.raises(ValueError, match="1 blocks have a value"):
            packing.pack("F32", values.reshape(-1).view(np.uint8), 16, 40, layout="MXINT8")


def test_bits_per_weight():
    expected = {
        "MXFP4": 4.25,
        "Q4_0": 4.5,
        "IQ4_NL": 4.5,
        "Q4_1": 5,
        "Q5_1": 6,
        "Q4_K": 4.5,
        "Q5_K": 5.5,
        "Q6_K": 6.625,
    }
    expected |= {"Q8_0": 8.5, "BF16": 16, "F16": 16, "F32": 32, "MXINT8": 8.25}
    assert {layout: packing.bits_per_weight(layout, 4096, 4096) for layout in expected} == expected


def test_what_does_not_fit_is_named(random):
    data = encoded(random, "Q4_0", 16, 64)
    with pytest.raises(ValueError, match="not offered"):
        packing.pack("IQ2_XXS", data, 16, 64)
    with pytest.raises(ValueError, match=r"data is uint8\(575,\), expected contiguous uint8\(576,\)"):
        packing.pack("Q4_0", data[:-1], 16, 64)
    with pytest.raises(ValueError, match="multiple of 32"):
        packing.pack("Q4_0", data, 16, 48)
    with pytest.raises(ValueError, match="multiple of 256"):
        packing.pack("Q4_K", data, 16, 64)
    with pytest.raises(ValueError, match="expected a list of numbers below 16"):
        packing.unpack("Q4_0", packing.pack("Q4_0", data, 16, 64)[0], 16, 64, np.array([16]))


def test_scales_a_layout_cannot_hold_are_refused(random):
    large = encoded(random, "Q5_0", 16, 64)
    large.view(blocks.Q5_0)["scale"][3] = 5000  # its minimum would be -80000
    with pytest.raises(ValueError, match="1 blocks have a value or scale"):
        packing.pack("Q5_0", large, 16, 64)
    weights = np.zeros((16, 64), np.float32)
    weights[5, 40] = np.inf
    with pytest.raises(ValueError, match="1 blocks have a value or scale"):
        packing.pack("F32", weights.reshape(-1).view(np.uint8), 16, 64, layout="Q8_0")
