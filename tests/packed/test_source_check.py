"""What a packed file is made from is read again beside it, and compared with its digest."""

import os

import numpy as np
import pytest

from ouvert.packed.source_check import SourceCheck
from ouvert.weights import CheckpointError, SafetensorsWriter, open_checkpoint, sha256_of


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    with SafetensorsWriter(path, {"a": ("F32", (100_000,))}) as writer:
        writer.write("a", np.ones(100_000, np.float32))
    return path


def test_files_of_their_digest_are_let_through(path):
    with open_checkpoint(path) as checkpoint, SourceCheck(checkpoint, sha256_of(path)) as check:
        check.refuse_what_changed()


def test_files_of_another_digest_are_refused(path):
    with (
        open_checkpoint(path) as checkpoint,
        SourceCheck(checkpoint, "sha256:" + "0" * 64) as check,
        pytest.raises(
            CheckpointError, match=rf"packing .*: its digest is {sha256_of(path)}, expected sha256:0+\. .*fetch"
        ),
    ):
        check.refuse_what_changed()


def test_a_file_that_is_cut_shorter_while_it_is_packed_is_refused_however_far_it_was_read(path):
    with open_checkpoint(path) as checkpoint, SourceCheck(checkpoint, sha256_of(path)) as check:
        check.refuse_what_changed()  # all of it is read and right
        os.truncate(path, 4096)
        assert checkpoint.tensors["a"].data[-4:].sum() == 0  # what packing would read now
        with pytest.raises(CheckpointError, match="was cut shorter while it was read"):
            check.refuse_what_changed()
