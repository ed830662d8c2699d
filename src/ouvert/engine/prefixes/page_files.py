"""Kept pages as files: `disk.PageStore` in a folder of the owner's. Format: docs/formats/prefix-cache.md.

Encrypted and plain pages have folders of their own. What an earlier version wrote, and plain pages where pages are
encrypted, are removed when the folder is opened. A file is named by a digest of everything its numbers depend on, and
what is read is checked against a digest (or, with a key, authenticated and decrypted): what is damaged, cut short, or
not what it is called is a miss, never an answer. Safe from several threads and several processes at once.
"""

import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Sequence as Ordered
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.engine.interface import EngineError
from ouvert.engine.prefixes.disk import NOWHERE, SOONER, Holds, Place
from ouvert.engine.prefixes.page_format import LONGEST_HEAD, PageFormat
from ouvert.engine.prefixes.tree import pages_to_forget
from ouvert.engine.prefixes.whole_files import PART, is_abandoned, put
from ouvert.weights import open_regular, read_regular

SEALED, PLAIN = "encrypted", "plain"  # folders of pages
SUFFIX = ".page"
CLEARED = "cleared"  # its time says when all pages were last removed
# Where the quota is reached, files go until so much of it is left: not every page has to look for room.
AFTER_EVICTION = 0.9
# Others may write into the folder too: it is counted anew whenever so much of the quota was written.
COUNTED_EVERY = 0.05
READERS = 2
AHEAD = 4  # pages read before they are asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of the folder: files, bytes, files that are encrypted, when the least and the most recently used one was used.

    Of this process: pages found, not found, found damaged, and not written for want of room or permission. Times are
    seconds since 1970.
    """

    files: int
    bytes: int
    quota: int
    encrypted: int
    oldest: float | None
    newest: float | None
    hits: int
    misses: int
    damaged: int
    unwritten: int


class PageFiles:
    """Beginnings of prompts as files below `folder`: their keys and values, in pages of 64 tokens.

    `quota` is in bytes. `key`, 32 bytes, encrypts what is written, and is needed to read it; without one pages are
    plain. `key_of_this_user` has a key for everybody who names none.

    `say` is told, once, when pages cannot be written, and what was removed of earlier ones. Raises EngineError for a
    key of another length.
    """

    def __init__(
        self, folder: Path, *, quota: int, key: bytes | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.folder, self.quota = folder, quota
        self._say = say
        self._format = PageFormat(key)
        self._mine = folder / (PLAIN if key is None else SEALED)
        self._lock = threading.Lock()
        self._room = threading.Lock()
        self._bytes: int | None = None  # in the folder, as far as is known; None: not counted yet
        self._uncounted = 0  # bytes written by us since the folder was counted
        self._counts = {"hits": 0, "misses": 0, "damaged": 0, "unwritten": 0}
        self._said = False
        self._remove_left_over()
        self._remove_earlier()

    def root(self, fingerprint: Mapping[str, Any]) -> str:
        """The name from which the names of a model's pages start. `fingerprint` is all that changes its numbers, as
        JSON values. Raises TypeError for what is no JSON value."""
        return self._format.root(fingerprint)

    def name(self, parent: str, ids: Ordered[int]) -> str:
        """The name of the page with these tokens, behind the page `parent`. Raises nothing."""
        return self._format.name(parent, ids)

    def _path(self, name: str) -> Path:
        return self._mine / name[:2] / f"{name}{SUFFIX}"

    # --- reading ------------------------------------------------------------------------------------------------------

    def holds(self, name: str) -> bool:
        """Whether there is a file that may be read; what is in it is seen then. Raises nothing."""
        try:
            there = stat.S_ISREG(os.lstat(self._path(name)).st_mode)
        except OSError:
            return False
        return there and self._distrust() is None

    def read(self, name: str) -> memoryview | None:
        """The page, or None if it is not there or not what it was: then its file is removed. What is no file is not
        opened, and left.

        Raises nothing.
        """
        path = self._path(name)
        try:
            data = None if self._distrust() else memoryview(read_regular(path))
        except OSError:
            data = None
        if data is None:
            self._count("misses")
            return None
        page = self._format.decode(name, data)
        if page is None:
            with suppress(OSError):
                path.unlink()
        self._count("damaged" if page is None else "hits")
        return page

    def read_many(self, names: Ordered[str]) -> Iterator[memoryview | None]:
        """Pages in order, some read ahead in threads; checking them releases the interpreter's lock. Raises nothing."""
        with ThreadPoolExecutor(READERS, "ouvert-pages-check") as pool:
            ahead: deque[Future[memoryview | None]] = deque()
            try:
                for n in range(len(names) + AHEAD):
                    if n < len(names):
                        ahead.append(pool.submit(self.read, names[n]))
                    if n >= AHEAD and ahead:
                        yield ahead.popleft().result()
            finally:
                for each in ahead:
                    each.cancel()

    def place(self, path: Path) -> Place | None:
        """Where the page in this file belongs; None for what is no page. Raises OSError for what cannot be read."""
        name = path.name.removesuffix(SUFFIX)
        head = memoryview(read_regular(path, LONGEST_HEAD))
        return self._format.place(name, head) if path == self._path(name) else None

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, name: str, data: bytes | memoryview, used: float | None = None, place: Place = NOWHERE) -> bool:
        """Write a page, and return whether it is kept. `place` is where it belongs, for `forget`. If there is no room
        or no permission, the failure is counted and said.

        The file is written under another name and then renamed: a reader finds the whole page or none. `used` is when
        it was last used, in seconds since 1970 (default: now). If the page would be the oldest and there is no room
        beside the others, it is not written. Nothing waits for the disk: after a loss of power a page may be cut short,
        which its digest shows. Raises nothing.
        """
        used = time.time() if used is None else used
        pieces = self._format.encode(name, data, place)
        size = sum(map(len, pieces))
        path = self._path(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if distrust := self._distrust():
                self._not_written(distrust)
                return False
            if not self._make_room(size, used):
                return False
            self._mine.mkdir(exist_ok=True, mode=0o700)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            put(path, pieces, used)
        except OSError as problem:
            self._not_written(f"{problem}. Free some room there, or choose another folder.")
            return False
        with self._room:
            self._uncounted += size
            if self._bytes is not None:
                self._bytes += size
        return True

    def touch(self, names: Iterable[str], used: float | None = None) -> None:
        """Note that these pages, in the order of their tokens, were used at `used` (default: now). Each page counts as
        used a little earlier than the one before it: so the end of a sequence is removed before its beginning.

        Raises nothing.
        """
        used = time.time() if used is None else used
        for n, name in enumerate(names):
            try:
                os.utime(self._path(name), (used, used - n * SOONER))
            except FileNotFoundError:
                continue  # not there, or removed by another process
            except OSError as problem:
                self._complain(f"{problem}. Make the folder yours, or choose another.")
                return

    def _make_room(self, size: int, used: float) -> bool:
        """Remove the least recently used until `size` more bytes fit; False, and nothing removed, if they never do."""
        with self._room:
            known = None if self._uncounted > COUNTED_EVERY * self.quota else self._bytes
            if known is not None and known + size <= self.quota:
                return True
            files = sorted(self._files(), key=lambda each: each.used)
            self._bytes = left = sum(each.size for each in files)
            self._uncounted = 0
            if left + size <= self.quota:
                return True
            going = []
            for each in files:
                if left + size <= AFTER_EVICTION * self.quota or each.used > used:
                    break
                going.append(each)
                left -= each.size
            if left + size > self.quota:
                return False
            for each in going:
                each.path.unlink(missing_ok=True)
                self._bytes -= each.size
            return True

    def _distrust(self) -> str | None:
        """Why pages in this folder may be somebody else's making, or None. Those written with our key cannot be."""
        if self._format.encrypts or sys.platform == "win32":
            return None
        try:
            folder = os.stat(self.folder)
        except OSError:
            return None  # then nothing in it can be read either
        if folder.st_mode & 0o022:
            return f"others may write there. `chmod 700 {self.folder}`, or encrypt it with a key."
        if os.geteuid() not in (0, folder.st_uid) and folder.st_uid != 0:
            return "it is somebody else's. Choose another folder, or encrypt it with a key."
        return None

    def _not_written(self, why: str) -> None:
        self._count("unwritten")
        self._complain(why)

    def _complain(self, why: str) -> None:
        with self._lock:
            first, self._said = not self._said, True
        if first and self._say is not None:
            self._say(
                f"Beginnings of prompts are not being kept in {self.folder}: {why} Answers do not suffer; after a "
                "restart prompts are computed again."
            )

    # --- the folder ---------------------------------------------------------------------------------------------------

    def usage(self) -> Usage:
        """How much is kept, and how often it was found. Raises nothing."""
        files = self._files()
        return Usage(
            files=len(files),
            bytes=sum(each.size for each in files),
            quota=self.quota,
            encrypted=sum(each.is_sealed for each in files),
            oldest=min((each.used for each in files), default=None),
            newest=max((each.used for each in files), default=None),
            **self._counts,
        )

    def clear(self) -> int:
        """Remove every page, and have other processes let go of theirs in memory: those that watch `cleared`. Returns
        the bytes freed. Raises EngineError for what cannot be removed."""
        freed = 0
        try:
            for each in self._files():
                with suppress(FileNotFoundError):
                    each.path.unlink()
                    freed += each.size
            if self.folder.exists():
                put(self.folder / CLEARED, (), time.time())
        except OSError as problem:
            raise EngineError(
                f"clearing kept prefixes: {problem}. {freed} bytes were freed before that. Make {self.folder} yours, "
                "or clear it as its owner."
            ) from problem
        self._remove_left_over()
        with self._room:
            self._bytes = None
        return freed

    @property
    def cleared(self) -> float | None:
        """When all pages were last removed, by whatever process, in seconds since 1970; None for never.

        Raises nothing.
        """
        try:
            return os.lstat(self.folder / CLEARED).st_mtime
        except OSError:
            return None

    def forget(self, owner: str, base: str, holds: Holds) -> None:
        """Remove the pages of one owner and one model whose sequences `holds(ids)` picks. `base`: the root from which
        the names of the model's pages start; pages of its variants are among them. Pages whose sequence this process
        cannot read are removed as well. Raises EngineError for what cannot be removed."""

        def chosen(places: Mapping[str, Place]) -> Iterable[str]:
            theirs = {name: each for name, each in places.items() if (each.owner, each.base) == (owner, base)}
            pages = {
                name: (None if each.parent == each.root else each.parent, each.ids) for name, each in theirs.items()
            }
            return pages_to_forget(pages, holds)

        self._remove(chosen)

    def keep_only(self, owner: str, bases: Collection[str]) -> None:
        """Remove this owner's pages, but keep those of the models whose pages start from one of `bases`.

        Raises EngineError for what cannot be removed.
        """

        def chosen(places: Mapping[str, Place]) -> Iterable[str]:
            return [name for name, each in places.items() if each.owner == owner and each.base not in bases]

        self._remove(chosen)

    def forget_owners(self, are_meant: Callable[[str], bool]) -> int:
        """Remove the pages of every owner that `are_meant(owner)` picks, and have other processes let go of what they
        keep in memory, as `clear` does. Returns how many. Raises EngineError for what cannot be removed."""
        chosen: list[str] = []

        def theirs(places: Mapping[str, Place]) -> Iterable[str]:
            chosen.extend(name for name, each in places.items() if are_meant(each.owner))
            return chosen

        self._remove(theirs)
        with suppress(OSError):  # nobody keeps anything there
            put(self.folder / CLEARED, (), time.time())
        return len(chosen)

    def forget_variants(self) -> int:
        """Remove the pages that variants of models have computed, of every owner: those of the bases stay. Returns how
        many. Raises EngineError for what cannot be removed."""
        chosen: list[str] = []

        def of_variants(places: Mapping[str, Place]) -> Iterable[str]:
            chosen.extend(name for name, each in places.items() if each.root != each.base)
            return chosen

        self._remove(of_variants)
        return len(chosen)

    def _remove(self, chosen: Callable[[Mapping[str, Place]], Iterable[str]]) -> None:
        self._remove_left_over()
        places: dict[str, Place] = {}
        going: list[Path] = []
        for each in self._files():
            try:
                place = self.place(each.path)
            except FileNotFoundError:
                continue  # another process removed it
            except OSError:
                place = None
            if place is None or place == NOWHERE:
                going.append(each.path)
            else:
                places[each.path.name.removesuffix(SUFFIX)] = place
        going += [self._path(name) for name in chosen(places)]
        try:
            for path in going:
                path.unlink(missing_ok=True)
        except OSError as problem:
            raise EngineError(
                f"removing kept prefixes: {problem}. They may still hold what was to be deleted. Make {self.folder} "
                "yours, or clear it as its owner (`ouvert cache clear`)."
            ) from problem
        with self._room:
            self._bytes = None

    def _files(self) -> list["PageFile"]:
        found = []
        for path in (*self.folder.glob(f"??/*{SUFFIX}"), *self.folder.glob(f"*/??/*{SUFFIX}")):
            with suppress(FileNotFoundError):  # another process removed it
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode):
                    found.append(PageFile(path, facts.st_size, facts.st_mtime))
        return found

    def _remove_left_over(self) -> None:
        """What a process that was killed had not finished."""
        for path in (*self.folder.glob(f"??/.*{PART}"), *self.folder.glob(f"*/??/.*{PART}")):
            # It may be finished meanwhile, or not ours to remove.
            with suppress(OSError), open(open_regular(path, os.O_RDWR), "r+b") as file:
                if is_abandoned(file):
                    path.unlink()

    def _remove_earlier(self) -> None:
        """Pages of version 1, of which nobody can tell whose they are; and plain ones, where pages are encrypted."""
        earlier = [*self.folder.glob(f"??/*{SUFFIX}")]
        if self._format.encrypts:
            earlier += self.folder.glob(f"{PLAIN}/??/*{SUFFIX}")
        gone = 0
        for path in earlier:
            with suppress(OSError):  # not ours to remove, or removed by another process
                path.unlink()
                gone += 1
        if gone and self._say is not None:
            self._say(
                f"{gone} kept pages in {self.folder} were removed: they were written by an earlier version of Ouvert, "
                "or not encrypted. What they held is computed again when it is needed."
            )

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


@dataclass(frozen=True, slots=True)
class PageFile:
    path: Path
    size: int
    used: float  # seconds since 1970

    @property
    def is_sealed(self) -> bool:
        return self.path.parent.parent.name == SEALED
