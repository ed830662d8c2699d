"""Whether the weights that compute are what their digests say: checked in the background, and watched at every step.

docs/formats/packed.md says what is promised, docs/decisions/0005-damage-is-an-error.md why it is done so.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from ouvert.packed.guards import guards_of
from ouvert.packed.pieces import Check, check_of_source
from ouvert.packed.recipe import json_digest
from ouvert.weights import Checkpoint, MappedFile

LOG = logging.getLogger("ouvert.packed")

# How much more politely the check asks for the processor than answers do, of 19. Under full load it still gets about a
# tenth of a core: 12 GB take under two minutes then, and ten seconds on an idle machine.
NICENESS = 10
# A file that changes while it is checked is checked again after so many seconds.
PAUSE_SECONDS = 1.0
# Where the disk is needed for answers, the check pauses so many times as long as it read.
PAUSE_SHARE = 9.0


class Reader(Protocol):
    """What reads parts of the files while they compute: `kernels.ExpertCache`."""

    @property
    def lost(self) -> bool:
        """Whether it could not read something."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with weights that compute (which file, where in it), and what to do about it."""

    what: str
    remedy: str


class WeightsWatch:
    """The weights of one loaded model, in one file or several. What it tells may be asked for from any thread."""

    def __init__(self, maps: Sequence[MappedFile], check: Check | None, *, derived: bool, instance: str) -> None:
        """Guards the maps from now on; `start` begins the check. Without a `check` nothing is known to compare with.

        `derived`: the file can be made again, and is removed if it is damaged. `instance`: another one for every
        making of the file, so that what was computed with a damaged one is never taken for the next one's.

        Raises OSError where too many ranges of memory are guarded already.
        """
        self.instance = instance
        self.on_damage: Callable[[], None] | None = None  # called in the check's thread
        self._maps, self._check, self._derived = tuple(maps), check, derived
        self._guards = guards_of(maps)
        self._seen = [each.state for each in maps]
        self._problem: Damage | None = None
        self._whole = False  # everything was what its digest says
        self._changed = False  # since the files were opened
        self._again = False  # they changed since the check began
        self._readers: list[Reader] = []
        self._sparing = False  # the check leaves the disk to others
        self._since = 0.0  # when the check last began to read
        self._closed = threading.Event()
        self._over = threading.Event()  # a check has come to its end, and none is under way
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to check in a thread of low priority, unless that was begun. Raises nothing."""
        with self._lock:
            if self._thread is None and not self._over.is_set() and not self._closed.is_set():
                self._begin()

    def spare_disk_for(self, reader: "Reader") -> None:
        """`reader` reads the files while they compute: what it loses is damage, and the check reads one tenth of the
        time, and nothing that then stays in the system's page cache. Before `start`. Raises nothing."""
        self._readers.append(reader)
        self._sparing = True

    def wait(self) -> Damage | None:
        """What is wrong, once all is compared as it is now. Begins the check if nobody has. Raises nothing."""
        if self._check is not None:
            self._sparing = False  # somebody waits
            self.start()
            self.fault()  # what changed since the last check is checked again
            self._over.wait()
        return self.fault()

    def checked(self) -> bool:
        """Whether all of it was compared with its digests since it was opened, and no file has changed since: neither
        its size, nor its content, nor its times.

        Raises nothing.
        """
        return self.fault() is None and self._whole and not self._changed

    def fault(self) -> Damage | None:
        """What is wrong with the weights, if that is known. Takes some microseconds: asked after every step.

        Raises nothing.
        """
        if self._problem is not None or self._closed.is_set():
            return self._problem
        for n, mapped in enumerate(self._maps):
            guard, now = self._guards[n], mapped.state_now()
            if now.size != mapped.state.size:
                return self._damaged(f"{mapped.path} has {now.size} bytes now, expected {mapped.state.size}")
            if (guard is not None and guard.lost) or any(each.lost for each in self._readers):
                return self._damaged(f"{mapped.path} was cut shorter, or could not be read, while it was in use")
            if now != self._seen[n]:
                self._seen[n] = now
                self._check_again(mapped)
        return None

    def close(self) -> None:
        """End check and guards. May be called twice. Raises nothing."""
        self._closed.set()
        self._over.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        for guard in self._guards:
            if guard is not None:
                guard.close()

    def _ended(self) -> bool:
        """Asked by the check between two pieces. Where the disk is to be spared, it waits there."""
        if self._sparing:
            for mapped in self._maps:
                let_go_of_pages(mapped.descriptor)
            now = time.perf_counter()
            self._closed.wait(PAUSE_SHARE * (now - self._since))
            self._since = time.perf_counter()
        return self._closed.is_set()

    def _begin(self) -> None:
        """The caller holds the lock."""
        if self._check is not None:
            self._thread = threading.Thread(target=self._work, name="ouvert-weights-check", daemon=True)
            self._thread.start()

    def _check_again(self, mapped: MappedFile) -> None:
        """Something touched the file: from now on no receipt says that it was checked, and it is checked again."""
        with self._lock:
            first, self._changed, self._again = not self._changed, True, True
            if self._over.is_set() and self._thread is None and not self._closed.is_set():
                self._over.clear()
                self._begin()
        if first:
            LOG.warning(
                "%s was touched while it was in use: it is checked again, and receipts say no more that it was checked "
                "until the model is loaded again",
                mapped.path,
            )

    def _damaged(self, what: str) -> Damage:
        with self._lock:
            if self._problem is None:
                self._problem = Damage(what, remedy(self._derived))
                if self._derived:
                    for mapped in self._maps:
                        remove(mapped)
            return self._problem

    def _work(self) -> None:
        lower_priority()
        assert self._check is not None  # noqa: S101 - `_begin` has looked
        while not self._closed.is_set():
            self._again, self._since = False, time.perf_counter()
            before = [each.state_now() for each in self._maps]
            what = self._check(self._ended)
            if what is not None:
                paths = ", ".join(str(each.path) for each in self._maps[:3])
                self._damaged(f"in {paths}, {what}")
            with self._lock:
                still = before == [each.state_now() for each in self._maps] and not self._again
                if self._problem is not None or still or self._closed.is_set():
                    self._whole = self._problem is None and not self._closed.is_set()
                    self._thread = None
                    self._over.set()
                    break
            self._closed.wait(PAUSE_SECONDS)
        if self._problem is not None and self.on_damage is not None:
            self.on_damage()


def remedy(derived: bool) -> str:
    """What to do about damage to a file that is `derived`, or to one that was fetched."""
    if derived:
        return "That file was removed, and is made again when the model is next loaded: ask again."
    return "`ouvert show --verify` names the file that is not what was fetched: fetch the model again."


def watch_over_source(checkpoint: Checkpoint, digest: str | None) -> WeightsWatch:
    """Over the files that a model came in, compared with their digest if that is known."""
    maps = checkpoint.maps
    check = None if digest is None else check_of_source(maps, digest)
    instance = json_digest({str(each.path): list(each.state) for each in maps})
    return WeightsWatch(maps, check, derived=False, instance=instance)


def remove(mapped: MappedFile) -> None:
    """Remove a file, unless another one has its name by now."""
    with suppress(OSError):  # gone, or in a store that cannot be written to
        if os.path.samestat(os.stat(mapped.path), os.fstat(mapped.descriptor)):
            mapped.path.unlink()


def let_go_of_pages(descriptor: int) -> None:
    """Tell the system, where it listens, that it need not keep a file in its page cache. Mapped pages stay."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def lower_priority() -> None:
    """Lower the priority of this thread, and of those that it will start, on systems where a thread has its own. Raises
    nothing."""
    if sys.platform == "linux":
        with suppress(OSError):  # some containers deny it; it is then as quick as all else
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
