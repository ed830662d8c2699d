"""Directions in the store: names, two at once, removal."""

import threading

import pytest

from ouvert.store import Directions, StoreError


@pytest.fixture
def directions(tmp_path):
    return Directions(tmp_path)


def test_what_is_put_is_there_until_it_is_removed(directions):
    assert directions.names() == ()
    path = directions.put("formal", lambda file: file.write_bytes(b"12345"))
    assert directions.names() == ("formal",)
    assert directions.path("formal") == path
    with pytest.raises(StoreError, match="there is a direction 'formal' on this machine already"):
        directions.put("formal", lambda file: file.write_bytes(b"other"))
    assert path.read_bytes() == b"12345"
    directions.put("formal", lambda file: file.write_bytes(b"other"), replace=True)
    assert directions.remove("formal") == 5
    with pytest.raises(StoreError, match=r"there is no direction 'formal' .*none yet.*ouvert direction make formal"):
        directions.path("formal")


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "A", ".hidden", "x" * 65, "a\n", "é"])
def test_a_name_is_no_path(directions, name):
    with pytest.raises(StoreError, match="a direction cannot be called"):
        directions.put(name, lambda file: file.write_bytes(b""))
    with pytest.raises(StoreError, match="a direction cannot be called"):
        directions.path(name)


def test_what_fails_leaves_nothing(directions):
    def fails(file):
        file.write_bytes(b"half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        directions.put("formal", fails)
    assert not [*directions.folder.iterdir()]


def test_of_two_at_once_one_is_kept_whole(tmp_path):
    """Both have written before either gives its name."""
    both, outcomes = threading.Barrier(2), []

    def put(text):
        def write(file):
            own = file.with_name(f".{text}{file.name}")
            own.write_bytes(text.encode())
            both.wait()
            own.rename(file)

        try:
            Directions(tmp_path).put("one", write)
            outcomes.append(text)
        except StoreError as problem:
            outcomes.append(str(problem))

    threads = [threading.Thread(target=put, args=(text,)) for text in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = [each for each in outcomes if each in ("first", "second")]
    assert len(kept) == 1
    assert any("direction" in each for each in outcomes if each not in kept)
    assert Directions(tmp_path).path("one").read_bytes().decode() in ("first", "second")
