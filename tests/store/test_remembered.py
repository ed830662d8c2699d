"""Digests of files elsewhere: read once, and again when the file changes."""

import json
import os

import pytest

from ouvert.store.error import StoreError
from ouvert.store.remembered import RememberedDigests


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"one")
    return path


@pytest.fixture
def remembered(tmp_path, monkeypatch):
    """Files of a test are new, and count as settled all the same."""
    monkeypatch.setattr("ouvert.store.remembered.SETTLED_NS", 0)
    return RememberedDigests(tmp_path / "home" / "digests.json")


def test_a_file_is_read_once(file, remembered):
    read = []
    for _ in range(2):
        assert remembered.digest_of(file, lambda path: read.append(path) or "sha256:1") == "sha256:1"
    assert read == [file]


def test_a_changed_file_is_read_again(file, remembered):
    remembered.digest_of(file, lambda path: "sha256:1")
    file.write_bytes(b"two")  # the same size
    os.utime(file, ns=(0, 0))
    assert remembered.digest_of(file, lambda path: "sha256:2") == "sha256:2"


def test_a_file_replaced_in_place_with_the_same_size_and_time_is_read_again(file, remembered):
    os.utime(file, ns=(5, 5))
    assert remembered.digest_of(file, lambda path: "sha256:1") == "sha256:1"
    file.write_bytes(b"two")
    os.utime(file, ns=(5, 5))
    assert remembered.digest_of(file, lambda path: "sha256:2") == "sha256:2"


def test_what_was_changed_a_moment_ago_is_read_again(file, remembered, monkeypatch):
    monkeypatch.setattr("ouvert.store.remembered.SETTLED_NS", 1 << 62)
    assert remembered.digest_of(file, lambda path: "sha256:1") == "sha256:1"
    assert remembered.digest_of(file, lambda path: "sha256:2") == "sha256:2"


def test_a_memory_of_an_earlier_version_is_not_misread(file, remembered):
    state = file.stat()
    remembered.path.parent.mkdir()
    remembered.path.write_text(json.dumps({str(file): [state.st_size, state.st_mtime_ns, state.st_ino, "sha256:old"]}))
    assert remembered.digest_of(file, lambda path: "sha256:new") == "sha256:new"


def test_a_file_that_changes_meanwhile_is_refused(file, remembered):
    def compute(path):
        path.write_bytes(b"longer than before")
        return "sha256:1"

    with pytest.raises(StoreError, match="changed while it was read"):
        remembered.digest_of(file, compute)


@pytest.mark.parametrize("damage", [b"", b"[1]", b'{"a": 3}', b"\xff"])
def test_a_damaged_memory_is_made_anew(file, remembered, damage):
    remembered.path.parent.mkdir()
    remembered.path.write_bytes(damage)
    assert remembered.digest_of(file, lambda path: "sha256:1") == "sha256:1"
    assert remembered.digest_of(file, lambda path: "sha256:2") == "sha256:1"
