"""Digests of files."""

import hashlib
from pathlib import Path

import pytest

from ouvert.weights import sha256_of


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 5])
def test_the_digest_is_that_of_the_whole_content(tmp_path: Path, size: int) -> None:
    data = (b"\x00\xff\x10" * (size // 3 + 1))[:size]
    (tmp_path / "x").write_bytes(data)
    seen: list[int] = []
    assert sha256_of(tmp_path / "x", seen.append) == "sha256:" + hashlib.sha256(data).hexdigest()
    assert seen == sorted(seen)
    assert seen[-1:] == ([size] if size else [])


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "absent")
