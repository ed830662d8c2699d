"""Kept pages as files: `shelf.PageStore` in a folder of the owner's. Format: docs/formats/prefix-cache.md.

Encrypted and plain pages have folders of their own. What an earlier version wrote, and plain pages where pages are
encrypted, are removed when the folder is opened. A file is named by a digest of everything its numbers depend on, and
what is read is checked against a digest (or, with a key, authenticated and decrypted): what is damaged, cut short, or
not what it is called is a miss, never an answer. Safe from several threads and several processes at once.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
import struct
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
from typing import Any, BinaryIO

from ouvert.engine.interface import EngineError
from ouvert.engine.prefixes.disk import NOWHERE, SOONER, Holds, Place
from ouvert.engine.prefixes.tree import doomed
from ouvert.weights import open_regular, read_regular

MAGIC = b"OUVPAGE2"
SEALED, PLAIN = "encrypted", "plain"  # folders of pages
LENGTH = struct.Struct("<I")  # of the place, as it stands in the file
DIGEST_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
LONGEST_PLACE = 1 << 13  # bytes; 64 tokens take a tenth of it
SUFFIX = ".page"
CLEARED = "cleared"  # its time says when all pages were last removed
PART = ".part"
# Where the quota is reached, files go until so much of it is left: not every page has to look for room.
AFTER_EVICTION = 0.9
# Others may write into the folder too: it is counted anew whenever so much of the quota was written.
COUNTED_EVERY = 0.05
# Where files cannot be locked, what is being written is told from what a killed writer left by its age.
ABANDONED_SECONDS = 3600
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
    """`quota` is in bytes. `key`, 32 bytes, encrypts what is written, and is needed to read it; without one pages are
    plain. `key_of_this_user` has a key for everybody who names none.

    `say` is told, once, when pages cannot be written, and what was removed of earlier ones. Raises EngineError for a
    key of another length.
    """

    def __init__(
        self, folder: Path, *, quota: int, key: bytes | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        if key is not None and len(key) != 32:
            raise EngineError(f"opening kept prefixes: the key has {len(key)} bytes, expected 32. Make it with 32.")
        self.folder, self.quota = folder, quota
        self._say = say
        self._naming = b"" if key is None else hmac.digest(key, b"ouvert page names", "sha256")
        self._sealing = None if key is None else cipher(hmac.digest(key, b"ouvert page contents", "sha256"))
        self._placing = None if key is None else cipher(hmac.digest(key, b"ouvert page places", "sha256"))
        self._mine = folder / (PLAIN if key is None else SEALED)
        self._lock = threading.Lock()
        self._room = threading.Lock()
        self._bytes: int | None = None  # in the folder, as far as is known; None: not counted yet
        self._uncounted = 0  # bytes written by us since the folder was counted
        self._counts = {"hits": 0, "misses": 0, "damaged": 0, "unwritten": 0}
        self._said = False
        self._remove_left_over()
        self._remove_earlier()

    # --- names --------------------------------------------------------------------------------------------------------

    def root(self, fingerprint: Mapping[str, Any]) -> str:
        text = json.dumps(fingerprint, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return self._digest(b"root\0" + text.encode())

    def name(self, parent: str, ids: Ordered[int]) -> str:
        return self._digest(f"{parent}\0{','.join(map(str, ids))}".encode())

    def _digest(self, data: bytes) -> str:
        """With a key, names say nothing to those who have not got it, not even to those who guess the text."""
        return (hmac.new(self._naming, data, "sha256") if self._naming else hashlib.sha256(data)).hexdigest()

    def _path(self, name: str) -> Path:
        return self._mine / name[:2] / f"{name}{SUFFIX}"

    # --- reading ------------------------------------------------------------------------------------------------------

    def holds(self, name: str) -> bool:
        """Whether there is a file that may be read; what is in it is seen then."""
        try:
            there = stat.S_ISREG(os.lstat(self._path(name)).st_mode)
        except OSError:
            return False
        return there and self._distrust() is None

    def read(self, name: str) -> memoryview | None:
        """The page, or None if it is not there or not what it was: then its file is removed. What is no file is not
        opened, and left."""
        path = self._path(name)
        try:
            data = None if self._distrust() else memoryview(read_regular(path))
        except OSError:
            data = None
        if data is None:
            self._count("misses")
            return None
        page = self._opened(name, data)
        if page is None:
            with suppress(OSError):
                path.unlink()
        self._count("damaged" if page is None else "hits")
        return page

    def read_many(self, names: Ordered[str]) -> Iterator[memoryview | None]:
        """Pages in order, some read ahead in threads; checking them releases the interpreter's lock."""
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

    def _opened(self, name: str, data: memoryview) -> memoryview | None:
        parts = parted(data)
        if parts is None:
            return None
        place, page = parts
        if self._sealing is not None:
            from cryptography.exceptions import InvalidTag

            try:
                return memoryview(
                    self._sealing.decrypt(bytes(page[:NONCE_BYTES]), page[NONCE_BYTES:], name.encode() + place)
                )
            except (InvalidTag, ValueError):
                return None  # damaged, or written with another key
        digest, page = page[:DIGEST_BYTES], page[DIGEST_BYTES:]
        return page if hmac.compare_digest(checked(name, place, page), digest) else None

    def _placed(self, path: Path) -> Place | None:
        """Where a page belongs, of whom; None for what cannot be read. Not checked against the page. Raises OSError."""
        name = path.name.removesuffix(SUFFIX)
        head = len(MAGIC) + LENGTH.size
        parts = parted(memoryview(read_regular(path, head + LONGEST_PLACE)))
        if parts is None or path != self._path(name):
            return None
        stated = parts[0]
        if self._placing is not None:
            from cryptography.exceptions import InvalidTag

            try:
                stated = self._placing.decrypt(stated[:NONCE_BYTES], stated[NONCE_BYTES:], name.encode())
            except (InvalidTag, ValueError):
                return None
        try:
            owner, root, parent, ids, *base = json.loads(stated)
            return Place(owner, root, parent, tuple(ids), *(base or [root]))
        except (ValueError, TypeError):
            return None

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, name: str, data: bytes | memoryview, used: float | None = None, place: Place = NOWHERE) -> bool:
        """Whether the page is kept; `place` is where it belongs, for `forget`. What cannot be written, for want of room
        or permission, is counted and said.

        Beside, then renamed: whoever reads it finds all of it or nothing. It counts as last used at `used` (seconds
        since 1970; without: now), and is not written if all that would have to go for it was used later. Nothing waits
        for the disk: after a loss of power a page may be cut short, which its digest shows.
        """
        used = time.time() if used is None else used
        pieces = self._closed(name, data, place)
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

    def _closed(self, name: str, data: bytes | memoryview, place: Place) -> tuple[bytes | memoryview, ...]:
        facts = [place.owner, place.root, place.parent, place.ids, *([place.base] if place.base != place.root else [])]
        stated = json.dumps(facts, separators=(",", ":")).encode()
        if self._sealing is None or self._placing is None:
            return MAGIC, LENGTH.pack(len(stated)), stated, checked(name, stated, data), data
        # Random nonces of 96 bits stay apart for 2**32 pages under one key, far more than a disk holds.
        nonces = secrets.token_bytes(NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)
        stated = nonces[0] + self._placing.encrypt(nonces[0], stated, name.encode())
        sealed = self._sealing.encrypt(nonces[1], data, name.encode() + stated)
        return MAGIC, LENGTH.pack(len(stated)), stated, nonces[1], sealed

    def touch(self, names: Iterable[str], used: float | None = None) -> None:
        """They were used at `used` (without: now). From the beginning on: each counts as used sooner than the one
        before, so that ends go before what they continue."""
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
        if self._sealing is not None or sys.platform == "win32":
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
        """When all pages were last removed, by whatever process, in seconds since 1970; None for never."""
        try:
            return os.lstat(self.folder / CLEARED).st_mtime
        except OSError:
            return None

    def forget(self, owner: str, base: str, holds: Holds) -> None:
        """Remove the pages of one owner and one model that `doomed` picks: those whose names start from `base`, and
        those of its variants. So goes every page of which this process cannot tell what it is of. Raises EngineError
        for what cannot be removed."""

        def chosen(places: Mapping[str, Place]) -> Iterable[str]:
            theirs = {name: each for name, each in places.items() if (each.owner, each.base) == (owner, base)}
            pages = {
                name: (None if each.parent == each.root else each.parent, each.ids) for name, each in theirs.items()
            }
            return doomed(pages, holds)

        self._remove(chosen)

    def keep_only(self, owner: str, bases: Collection[str]) -> None:
        """Remove this owner's pages but those of the models whose base's pages start from one of `bases`, as `forget`
        does."""

        def chosen(places: Mapping[str, Place]) -> Iterable[str]:
            return [name for name, each in places.items() if each.owner == owner and each.base not in bases]

        self._remove(chosen)

    def _remove(self, chosen: Callable[[Mapping[str, Place]], Iterable[str]]) -> None:
        self._remove_left_over()
        places: dict[str, Place] = {}
        going: list[Path] = []
        for each in self._files():
            try:
                place = self._placed(each.path)
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
        if self._sealing is not None:
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


def parted(data: memoryview) -> tuple[bytes, memoryview] | None:
    """What a file says of its page's place, as it stands there, and what comes after it; None if it is no such file."""
    head = len(MAGIC) + LENGTH.size
    if len(data) < head or bytes(data[: len(MAGIC)]) != MAGIC:
        return None
    (length,) = LENGTH.unpack(data[len(MAGIC) : head])
    if length > LONGEST_PLACE or len(data) < head + length:
        return None
    return bytes(data[head : head + length]), data[head + length :]


def checked(name: str, place: bytes, data: bytes | memoryview) -> bytes:
    """The digest of a page under its name, so that no file is taken for another."""
    digest = hashlib.sha256(name.encode() + b"\0" + place + b"\0")
    digest.update(data)
    return digest.digest()


def put(path: Path, pieces: Iterable[bytes | memoryview], used: float) -> None:
    """Write a file, whole or not at all. Raises OSError."""
    beside, file = begun(path.parent)
    try:
        with file:
            for piece in pieces:
                rest = memoryview(piece)
                while len(rest):
                    rest = rest[file.write(rest) :]
            os.utime(beside, (used, used))
            if sys.platform != "win32":  # there, only a closed file can be renamed
                os.replace(beside, path)
        if sys.platform == "win32":
            os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def begun(folder: Path) -> tuple[Path, BinaryIO]:
    """A new file that is claimed as long as it is open. Raises OSError."""
    while True:
        path = folder / f".{secrets.token_hex(8)}{PART}"
        file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)  # noqa: SIM115
        if claim(file) is not False and path.exists():
            return path, file
        file.close()  # between our two calls somebody took it for abandoned, and removed it


def claim(file: BinaryIO) -> bool | None:
    """Lock a file until it is closed or its process ends, however that ends. False if another has it locked; None
    where files cannot be locked so."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return None
    return True


def is_abandoned(file: BinaryIO) -> bool:
    """Whether nobody is writing this file any more. Process numbers would not tell: containers have their own."""
    claimed = claim(file)
    if claimed is None:
        return time.time() - os.fstat(file.fileno()).st_mtime > ABANDONED_SECONDS
    return claimed


def cipher(key: bytes) -> Any:
    """AES-256-GCM. Raises EngineError where `cryptography` is not installed."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as problem:
        raise EngineError(
            "encrypting kept prefixes: the package `cryptography` is not installed. Install it with "
            f"`{sys.executable} -m pip install cryptography`, or keep prefixes unencrypted (--prefix-cache-key none)."
        ) from problem
    return AESGCM(key)
