"""Kept pages as files: `shelf.PageStore` in a folder of the owner's. Format: docs/formats/prefix-cache.md.

A file is named by a digest of everything its numbers depend on, and what is read is checked against a digest (or, with
a key, authenticated and decrypted): what is damaged, cut short, or not what it is called is a miss, never an answer.
Safe from several threads and several processes at once.
"""

import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as Ordered
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.engine.waist import EngineError

MAGIC = b"OUVPAGE1"
PLAIN, SEALED = b"\0", b"\1"
DIGEST_BYTES = 32
NONCE_BYTES = 12
SUFFIX = ".page"
PART = ".part"
# Where the quota is reached, files go until so much of it is left: not every page has to look for room.
AFTER_EVICTION = 0.9
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
    """`quota` is in bytes. `key`, 32 bytes, encrypts what is written from now on, and is needed to read it.

    `say` is told, once, when pages cannot be written. Raises EngineError for a key of another length.
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
        self._lock = threading.Lock()
        self._bytes: int | None = None  # in the folder, as far as is known; None: not counted yet
        self._counts = {"hits": 0, "misses": 0, "damaged": 0, "unwritten": 0}
        self._said = False
        self._remove_left_over()

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
        return self.folder / name[:2] / f"{name}{SUFFIX}"

    # --- reading ------------------------------------------------------------------------------------------------------

    def holds(self, name: str) -> bool:
        """Whether there is a file; what is in it is seen when it is read."""
        return self._path(name).exists()

    def read(self, name: str) -> memoryview | None:
        """The page, or None if it is not there or not what it was: then its file is removed."""
        path = self._path(name)
        try:
            data = memoryview(path.read_bytes())
        except OSError:
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
        head = len(MAGIC) + 1
        kind = bytes(data[len(MAGIC) : head])
        if bytes(data[: len(MAGIC)]) != MAGIC:
            return None
        if kind == PLAIN and self._sealing is None:
            digest, page = data[head : head + DIGEST_BYTES], data[head + DIGEST_BYTES :]
            return page if hmac.compare_digest(checked(name, page), digest) else None
        if kind == SEALED and self._sealing is not None:
            from cryptography.exceptions import InvalidTag

            nonce, sealed = data[head : head + NONCE_BYTES], data[head + NONCE_BYTES :]
            try:
                return memoryview(self._sealing.decrypt(bytes(nonce), sealed, name.encode()))
            except (InvalidTag, ValueError):
                return None
        return None  # written with another key, or without one

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Beside, then renamed: whoever reads it finds all of it or nothing. What cannot be written is counted.

        Nothing waits for the disk: after a loss of power a page may be cut short, which its digest shows.
        """
        if self._sealing is None:
            start = MAGIC + PLAIN + checked(name, data)
        else:
            # Random nonces of 96 bits stay apart for 2**32 pages under one key, far more than a disk holds.
            nonce = secrets.token_bytes(NONCE_BYTES)
            start = MAGIC + SEALED + nonce
            data = self._sealing.encrypt(nonce, data, name.encode())
        size = len(start) + len(data)
        if size > self.quota:
            return
        path = self._path(name)
        beside = path.with_name(f".{os.getpid()}-{secrets.token_hex(6)}{PART}")
        try:
            self._make_room(size)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(file, "wb", buffering=0) as out:
                for piece in (memoryview(start), memoryview(data)):
                    while len(piece):
                        piece = piece[out.write(piece) :]
            os.replace(beside, path)
        except OSError as problem:
            with suppress(OSError):
                beside.unlink()
            self._count("unwritten")
            self._complain(problem)
            return
        with self._lock:
            if self._bytes is not None:
                self._bytes += size

    def touch(self, names: Iterable[str]) -> None:
        """They were used just now; given from the beginning on, so that ends go before what they continue."""
        now = time.time()
        for n, name in enumerate(names):
            with suppress(FileNotFoundError):
                os.utime(self._path(name), (now, now - n * 1e-3))

    def _make_room(self, size: int) -> None:
        with self._lock:
            if self._bytes is None or self._bytes + size > self.quota:
                files = self._files()
                self._bytes = sum(each.size for each in files)
                if self._bytes + size > self.quota:
                    for each in sorted(files, key=lambda each: each.used):
                        with suppress(FileNotFoundError):
                            each.path.unlink()
                        self._bytes -= each.size
                        if self._bytes + size <= AFTER_EVICTION * self.quota:
                            break

    def _complain(self, problem: OSError) -> None:
        with self._lock:
            first, self._said = not self._said, True
        if first and self._say is not None:
            self._say(
                f"Beginnings of prompts are not being kept in {self.folder}: {problem}. Answers do not suffer; after a "
                "restart prompts are computed again. Free some room there, or choose another folder."
            )

    # --- the folder ---------------------------------------------------------------------------------------------------

    def usage(self) -> Usage:
        files = self._files()
        return Usage(
            files=len(files),
            bytes=sum(each.size for each in files),
            quota=self.quota,
            encrypted=sum(each.is_sealed() for each in files),
            oldest=min((each.used for each in files), default=None),
            newest=max((each.used for each in files), default=None),
            **self._counts,
        )

    def clear(self) -> int:
        """Remove every page. Returns the bytes freed."""
        freed = 0
        for each in self._files():
            with suppress(FileNotFoundError):
                each.path.unlink()
                freed += each.size
        self._remove_left_over()
        with self._lock:
            self._bytes = None
        return freed

    def _files(self) -> list["PageFile"]:
        found = []
        for path in self.folder.glob(f"??/*{SUFFIX}"):
            with suppress(FileNotFoundError):  # another process removed it
                stat = path.stat()
                found.append(PageFile(path, stat.st_size, stat.st_mtime))
        return found

    def _remove_left_over(self) -> None:
        """What a process that was killed had not finished."""
        for path in self.folder.glob(f"??/.*{PART}"):
            writer = path.name[1:].partition("-")[0]
            if not (writer.isdecimal() and is_running(int(writer))):
                with suppress(OSError):
                    path.unlink()

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


@dataclass(frozen=True, slots=True)
class PageFile:
    path: Path
    size: int
    used: float  # seconds since 1970

    def is_sealed(self) -> bool:
        try:
            with self.path.open("rb") as file:
                return file.read(len(MAGIC) + 1) == MAGIC + SEALED
        except FileNotFoundError:
            return False


def checked(name: str, data: bytes | memoryview) -> bytes:
    """The digest of a page under its name, so that no file is taken for another."""
    digest = hashlib.sha256(name.encode() + b"\0")
    digest.update(data)
    return digest.digest()


def is_running(process: int) -> bool:
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OSError):
        return True
    return True


def cipher(key: bytes) -> Any:
    """AES-256-GCM. Raises EngineError where `cryptography` is not installed."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as problem:
        raise EngineError(
            "encrypting kept prefixes: the package `cryptography` is not installed. Install it with "
            "`pip install 'ouvert[encryption]'`, or keep prefixes without a key."
        ) from problem
    return AESGCM(key)
