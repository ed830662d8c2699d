"""Digests of pieces, however the bytes come."""

import hashlib

import numpy as np
import pytest

from ouvert.packed.pieces import PIECE_BYTES, PieceDigests


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES])
@pytest.mark.parametrize("step", [PIECE_BYTES * 3, 1 << 20, 3333333])
def test_pieces_have_the_digests_of_their_bytes(size, step):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    digests = PieceDigests()
    for start in range(0, size, step):
        digests.add(memoryview(data)[start : start + step])
    expected = [hashlib.sha256(data[n : n + PIECE_BYTES]).digest() for n in range(0, size, PIECE_BYTES)]
    assert digests.all() == expected
