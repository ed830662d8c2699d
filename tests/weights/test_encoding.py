"""Numbers written as checkpoints have them, and GGUF files with any metadata."""

import struct

import numpy as np
import pytest

from ouvert.weights import CheckpointError, GgufWriter, decode, encode, gguf_metadata, gguf_value, open_checkpoint

# Half a step: of the mantissa's bits, or of the 127 steps to the largest of 32 and what the scale loses in 11 bits.
ERRORS = {"F32": 0.0, "F16": 2**-11, "BF16": 2**-8, "Q8_0": 0.5 / 127 + 2**-11}


@pytest.mark.parametrize("encoding", ERRORS)
@pytest.mark.parametrize("columns", [32, 96])
def test_what_is_written_is_read_again_within_half_a_step(encoding, columns):
    values = np.random.default_rng(1).standard_normal((5, columns)).astype(np.float32)
    values[2] = 0
    again = decode(encoding, encode(encoding, values), values.shape)
    largest = np.abs(values.reshape(-1, 32)).max(1).repeat(32).reshape(values.shape)
    step = largest if encoding == "Q8_0" else np.abs(values)
    assert (np.abs(again - values) <= step * ERRORS[encoding]).all()
    np.testing.assert_array_equal(encode(encoding, again), encode(encoding, values))


def test_ties_go_to_even_in_16_bits_and_away_from_zero_in_blocks():
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001], np.uint32).view(np.float32)
    assert encode("BF16", bits).view("<u2").tolist() == [0x3F80, 0x3F82, 0x3F81]
    block = np.zeros((1, 32), np.float32)
    block[0, :5] = 127, 0.5, -0.5, 1.5, 0.49999997
    assert encode("Q8_0", block)[2:7].view(np.int8).tolist() == [127, 1, -1, 2, 0]


@pytest.mark.parametrize(
    ("encoding", "values"),
    [
        ("F16", [65520.0]),
        ("BF16", [3.4e38]),
        ("F16", [np.nan]),
        ("Q8_0", [np.inf] * 32),
        ("Q8_0", [1.0] * 31),
        ("Q4_0", [1.0] * 32),
    ],
)
def test_what_an_encoding_cannot_hold_is_refused(encoding, values):
    with pytest.raises(CheckpointError, match=r"Writing numbers"):
        encode(encoding, np.array([values], np.float32))


def test_metadata_of_any_type_go_into_another_file_as_they_are(tmp_path):
    """Arrays, bytes that are no UTF-8, and an alignment of its own."""
    tokens = b"".join(struct.pack("<Q", len(each)) + each for each in (b"a", b"\xff\xfe"))
    metadata = {
        "general.architecture": gguf_value("", "llama"),
        "general.alignment": gguf_value("", 128),
        "tokenizer.tokens": struct.pack("<IIQ", 9, 8, 2) + tokens,
        "scale": gguf_value("", 0.5),
    }
    values = np.arange(96, dtype=np.float32).reshape(3, 32)
    with GgufWriter(tmp_path / "one", {"a": ("Q8_0", (3, 32)), "b": ("F32", (96,))}, metadata) as writer:
        writer.write("b", values.reshape(-1))
        writer.write("a", encode("Q8_0", values))
    assert gguf_metadata(tmp_path / "one") == metadata
    with open_checkpoint(tmp_path / "one") as checkpoint:
        assert checkpoint.metadata["tokenizer.tokens"] == ["a", "\udcff\udcfe"]
        np.testing.assert_array_equal(checkpoint.tensors["b"].decode(), values.reshape(-1))
        np.testing.assert_allclose(checkpoint.tensors["a"].decode(), values, atol=95 * ERRORS["Q8_0"])


def test_names_and_encodings_that_gguf_does_not_have_are_refused(tmp_path):
    for tensors in ({"a" * 64: ("F32", (1,))}, {"a": ("F8_E4M3", (1,))}):
        with pytest.raises(CheckpointError, match=r"Writing GGUF"):
            GgufWriter(tmp_path / "one", tensors, {})
    with pytest.raises(CheckpointError, match=r"expected 0 to"):
        gguf_value("key", -1)
