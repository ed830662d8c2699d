"""The speed of a disk: of what is there, or of a file made for this, and nothing is left behind."""

import pytest

from ouvert.engine import EngineError, disk, measure_disk


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(disk, "SECONDS", 0.05)
    monkeypatch.setattr(disk, "LEAST_BYTES", 2 * disk.READ_BYTES)


def test_where_nothing_large_is_a_file_is_written_and_removed(tmp_path):
    folder = tmp_path / "not" / "yet"
    assert measure_disk(folder).bytes_per_second > 10**6
    assert list(tmp_path.iterdir()) == []


def test_the_largest_file_is_read_and_stays_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    large = tmp_path / "models" / "large"
    large.write_bytes(bytes(3 * disk.READ_BYTES))
    (tmp_path / "small").write_bytes(b"x")
    read = []
    monkeypatch.setattr(disk, "opened", lambda path, opened=disk.opened: read.append(path) or opened(path))
    assert measure_disk(tmp_path).bytes_per_second > 10**6
    assert read == [large]
    assert large.stat().st_size == 3 * disk.READ_BYTES
    assert sorted(each.name for each in tmp_path.iterdir()) == ["models", "small"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineError, match=r"measuring the disk: .*file.*cannot be read or written"):
        measure_disk(tmp_path / "file" / "below")
