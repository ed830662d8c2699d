"""Fetches that are given up, cut off or killed: what is said of them, how they go on, and how they are removed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from ouvert.store import Cancelled, Hub, Store, StoreError, Unreachable

from .bodies import gguf
from .hub_server import Fault, TinyHub
from .test_hub import Watcher

CONTENT = gguf(3_000_000)
NAME = "org/model"


@pytest.fixture(autouse=True)
def model(tiny_hub: TinyHub) -> None:
    tiny_hub.repositories[NAME] = {"m.gguf": CONTENT, "LICENSE": b"text"}


class GivesUp(Watcher):
    """Somebody who does not want a fetch any more after so many bytes."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def require_wanted(self) -> None:
        if self.counts and self.counts[-1][1] >= self.after:
            raise Cancelled("given up")


def cut_off(store: Store, tiny_hub: TinyHub, after: int) -> None:
    tiny_hub.faults["m.gguf"] = Fault(cut_after=after, cuts=99)
    with pytest.raises(Unreachable):
        store.pull(f"hf:{NAME}", name="mine", hub=Hub(endpoint=tiny_hub.address, pause=0.0, retries=0))
    tiny_hub.faults.clear()


def test_a_fetch_that_is_cancelled_keeps_what_came_and_goes_on_from_there(
    store: Store, tiny_hub: TinyHub, hub: Hub
) -> None:
    with pytest.raises(Cancelled):
        store.pull(f"hf:{NAME}", name="mine", hub=hub, progress=GivesUp(1_000_000))
    [left] = store.unfinished()
    assert (left.name, left.source, left.total, left.under_way) == ("mine", f"hf:{NAME}", len(CONTENT), False)
    assert 1_000_000 <= left.arrived < len(CONTENT)
    assert store.pull(left.source, name=left.name, hub=hub).path.read_bytes() == CONTENT
    assert store.unfinished() == ()
    assert tiny_hub.ranges("m.gguf") == [None, f"bytes={left.arrived}-"]


def test_a_fetch_that_is_cut_off_is_unfinished_until_it_is_removed(store: Store, tiny_hub: TinyHub) -> None:
    cut_off(store, tiny_hub, 1_234_567)
    [left] = store.unfinished()
    assert (left.arrived, left.total) == (1_234_567, len(CONTENT))
    removed = store.remove("mine")
    assert removed.freed > 1_234_567  # and the record
    assert store.unfinished() == ()
    assert not list(store.blobs.folder.glob("*.partial"))
    with pytest.raises(StoreError, match="nothing to remove"):
        store.remove("mine")


def test_what_another_fetch_waits_for_stays_when_one_is_removed(store: Store, tiny_hub: TinyHub) -> None:
    cut_off(store, tiny_hub, 1_000_000)
    tiny_hub.faults["m.gguf"] = Fault(cut_after=10, cuts=99)
    with pytest.raises(Unreachable):
        store.pull(f"hf:{NAME}", name="other", hub=Hub(endpoint=tiny_hub.address, retries=0))
    store.remove("mine")
    assert [(each.name, each.arrived) for each in store.unfinished()] == [("other", 1_000_010)]


def test_where_nothing_came_nothing_is_unfinished(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    with pytest.raises(StoreError):
        store.pull("hf:org/absent", hub=hub)
    with pytest.raises(Unreachable):
        store.pull(f"hf:{NAME}", hub=Hub(endpoint="http://127.0.0.1:9", retries=0))
    assert store.unfinished() == ()


def test_a_pause_between_tries_ends_when_nobody_wants_the_fetch(store: Store, tiny_hub: TinyHub) -> None:
    tiny_hub.faults["m.gguf"] = Fault(cut_after=1_000_000, cuts=99)
    with pytest.raises(Cancelled):
        store.pull(
            f"hf:{NAME}", hub=Hub(endpoint=tiny_hub.address, pause=600.0, retries=3), progress=GivesUp(1_000_000)
        )


def test_waiting_for_another_process_ends_when_nobody_wants_the_fetch(store: Store, hub: Hub) -> None:
    class Never(Watcher):
        def require_wanted(self) -> None:
            raise Cancelled("given up")

    with store.locks.model("mine", Watcher()), pytest.raises(Cancelled):
        store.pull(f"hf:{NAME}", name="mine", hub=hub, progress=Never())


def test_another_processs_fetch_is_seen_with_what_has_arrived(store: Store, hub: Hub) -> None:
    seen = []

    class Looks(Watcher):
        def advance(self, count: int) -> None:
            super().advance(count)
            seen.extend(Store(store.home).unfinished())

    store.pull(f"hf:{NAME}", name="mine", hub=hub, progress=Looks())
    assert all(each.under_way and each.total == len(CONTENT) for each in seen)
    arrived = [each.arrived for each in seen]
    assert arrived == sorted(arrived)
    assert 0 < arrived[len(arrived) // 2] < len(CONTENT)


def test_sweeping_removes_what_was_left_and_its_record(store: Store, tiny_hub: TinyHub) -> None:
    cut_off(store, tiny_hub, 1_000_000)
    store.sweep()
    assert store.unfinished() == ()
    assert not list(store.blobs.folder.glob("*"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 9})),
        lambda path: path.write_text(
            json.dumps(json.loads(path.read_text()) | {"contents": [{"key": "../../x", "size": 1}]})
        ),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
)
def test_a_record_that_cannot_be_understood_is_passed_over_and_written_anew(
    store: Store, tiny_hub: TinyHub, hub: Hub, spoil: Callable[[Path], object]
) -> None:
    cut_off(store, tiny_hub, 1_000_000)
    [record] = (store.home / "fetches").iterdir()
    spoil(record)
    assert store.unfinished() == ()
    store.pull(f"hf:{NAME}", name="mine", hub=hub)
    assert not list((store.home / "fetches").iterdir())
    assert tiny_hub.ranges("m.gguf")[-1] == "bytes=1000000-"


PULL = """
import sys
from pathlib import Path
from ouvert.store import Hub, Store
Store(Path(sys.argv[1])).pull("hf:org/model", name="mine", hub=Hub(endpoint=sys.argv[2], pause=600.0))
"""


def test_a_fetch_whose_process_is_killed_is_unfinished_and_goes_on(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    tiny_hub.faults["m.gguf"] = Fault(cut_after=1_500_000, cuts=1)  # then it waits, and is killed
    process = subprocess.Popen([sys.executable, "-c", PULL, str(store.home), tiny_hub.address])
    try:
        while not any(each.arrived == 1_500_000 and each.under_way for each in store.unfinished()):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    [left] = store.unfinished()
    assert (left.arrived, left.under_way) == (1_500_000, False)
    assert store.pull(left.source, name=left.name, hub=hub).path.read_bytes() == CONTENT
    assert tiny_hub.ranges("m.gguf")[-1] == "bytes=1500000-"


def test_two_who_pull_the_same_fetch_it_once(store: Store, tiny_hub: TinyHub, hub: Hub) -> None:
    both = [Thread(target=lambda: store.pull(f"hf:{NAME}", name="mine", hub=hub)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert tiny_hub.ranges("m.gguf") == [None]
    assert store.unfinished() == ()
