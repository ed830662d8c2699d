"""Mapped files know which file they are of."""

import os

from ouvert.weights.mapping import map_file


def test_a_file_knows_when_it_was_changed_whatever_its_times_say(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, ns=(5, 5))
    mapped = map_file(path).base.obj
    assert mapped.state_now() == mapped.state
    path.write_bytes(b"two")
    os.utime(path, ns=(5, 5))
    now = mapped.state_now()
    assert (now.size, now.modified_ns) == (mapped.state.size, mapped.state.modified_ns)
    assert now != mapped.state
