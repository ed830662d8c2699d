"""Keys of clients: made once, shown once, stored hashed, compared in constant time.

A key is 256 random bits, so a plain SHA-256 of it is as good as a slow one. As soon as a client has had a key the
server is closed: it needs a key, also when the last one is gone, until its owner opens it again (`ouvert key open`).
"""

import hashlib
import hmac
import json
import logging
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from ouvert.serving.errors import Refusal

LOG = logging.getLogger("ouvert.serving")

PREFIX = "sk-ouvert-"
FILE = "keys.json"
VERSION = 2  # 1 had no `closed`, and its servers opened when the last key was gone: its files count as closed
OWNERS = "owner"  # the name of the owner's own key
# What a key does not grant unless it says so: to look inside a model, to edit it for an answer, to let agents work, and
# to keep documents here and ask them.
SCOPES = ("inspect", "edit", "agents", "documents")


class KeyFileError(Exception):
    """The file of keys cannot be used. The message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is kept of a key. `per_minute`: requests; `models`: own names of those it may use; None: no limit.

    `owner`: it shows that its bearer is the owner of this server; having one closes nothing. `scopes`: what else it
    grants, of SCOPES.
    """

    id: str
    name: str
    digest: str
    created: str
    per_minute: int | None = None
    models: tuple[str, ...] | None = None
    owner: bool = False
    scopes: tuple[str, ...] = ()

    def admits(self, model: str) -> bool:
        """Whether it may use the model of this own name. Raises nothing."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class KeyFile:
    """`closed`: every request needs a key."""

    keys: tuple[Key, ...] = ()
    closed: bool = False


class Keys:
    """The keys in one folder. Several processes may use it; a key that is revoked is refused from then on.

    Making one raises nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        """`folder`: where keys are kept; without one there are no keys and none can be made."""
        self._path = None if folder is None else folder / FILE
        self._required = False
        self._read: tuple[tuple[int, int, int], KeyFile] | None = None  # (which version of the file, what was in it)
        self._buckets: dict[str, tuple[float, float]] = {}  # key id -> (requests left, when that was)

    def every(self) -> tuple[Key, ...]:
        """All keys, the owner's among them. Raises KeyFileError if the file cannot be read."""
        return self._file().keys

    @property
    def closed(self) -> bool:
        """Whether every request needs a key. Raises KeyFileError if the file cannot be read."""
        return self._required or self._file().closed

    def _file(self) -> KeyFile:
        """If a file that closed the server vanishes, the server stays closed until `ouvert key open`.

        Raises KeyFileError.
        """
        if self._path is None:
            return KeyFile()
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return KeyFile((), self._read is not None and self._read[1].closed)
        except OSError as problem:
            raise KeyFileError(f"{self._path} cannot be read ({problem.strerror}). Correct its rights.") from problem
        # The time alone has steps of milliseconds; a file that was written anew has another inode.
        version = (facts.st_mtime_ns, facts.st_ino, facts.st_size)
        if self._read is None or self._read[0] != version:
            if not stat.S_ISREG(facts.st_mode):
                raise KeyFileError(f"{self._path} is no regular file, expected a list of keys. Move it away.")
            self._read = version, read_keys(self._path)
        return self._read[1]

    def require(self) -> None:
        """Serve no request without a key from now on. Raises nothing."""
        self._required = True

    def create(
        self,
        name: str,
        *,
        per_minute: int | None = None,
        models: tuple[str, ...] | None = None,
        scopes: tuple[str, ...] = (),
    ) -> tuple[Key, str]:
        """The key as it is kept, and the secret, which is kept nowhere. Raises KeyFileError if it cannot be kept."""
        key, secret = made(name, per_minute=per_minute, models=models, scopes=scopes)
        with self._locked() as path:
            write_keys(path, KeyFile((*self.every(), key), closed=True))
        return key, secret

    def create_owners(self) -> tuple[Key, str]:
        """The owner's own key, in place of the one before. Raises KeyFileError if it cannot be kept."""
        key, secret = made(OWNERS, owner=True)
        with self._locked() as path:
            file = self._file()
            write_keys(path, KeyFile((*(each for each in file.keys if not each.owner), key), file.closed))
        return key, secret

    def revoke(self, which: str) -> Key:
        """Remove the key of that id or name. Raises KeyFileError if there is none, or several."""
        with self._locked() as path:
            file = self._file()
            found = [key for key in file.keys if which in (key.id, key.name)]
            if len(found) != 1:
                raise KeyFileError(
                    f"revoking a key: {len(found)} keys are called {which!r}, expected one. `ouvert key list` shows "
                    "their ids."
                )
            write_keys(path, KeyFile(tuple(key for key in file.keys if key.id != found[0].id), file.closed))
        return found[0]

    def open(self) -> None:
        """Let this machine's programs in without a key from now on. Raises KeyFileError while clients have keys."""
        with self._locked() as path:
            file = self._file()
            clients = [key for key in file.keys if not key.owner]
            if clients:
                raise KeyFileError(
                    f"opening the server: {len(clients)} keys of clients are in use ({clients[0].name!r} is one), "
                    "expected none. Revoke them first (`ouvert key list` shows them), or leave it closed."
                )
            write_keys(path, KeyFile(file.keys, closed=False))

    def holds(self, key: Key) -> bool:
        """Whether that key is still valid. Raises KeyFileError if the file cannot be read."""
        return any(each.id == key.id and each.digest == key.digest for each in self.every())

    def caller(self, headers: Mapping[str, str], *, counted: bool = True) -> Key | None:
        """The key that came with a request; None where none came and none is needed. Raises Refusal 401, 429 or 503."""
        try:
            keys, closed = self.every(), self.closed
        except KeyFileError as problem:
            LOG.error("%s", problem)
            raise Refusal(
                503,
                "This server's keys cannot be read, so it serves nobody. Its log says what to do.",
                code="keys_unreadable",
            ) from None
        given = presented(headers)
        digest = digest_of(given)
        found = None
        for key in keys:  # all of them, so that the time tells nothing
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None and closed:
            what = "no key was sent" if not given else "the key that was sent is not known"
            raise Refusal(
                401,
                f"This server needs a key, and {what}. Send it as `Authorization: Bearer <key>` or `x-api-key`; its "
                "owner makes one with `ouvert key create`.",
                code="invalid_api_key",
            )
        if found is not None and counted:
            self._count(found)
        return found

    def _count(self, key: Key) -> None:
        if key.per_minute is None:
            return
        now = time.monotonic()
        left, since = self._buckets.get(key.id, (float(key.per_minute), now))
        left = min(float(key.per_minute), left + (now - since) * key.per_minute / 60)
        if left < 1:
            wait = int((1 - left) * 60 / key.per_minute) + 1
            self._buckets[key.id] = left, now
            raise Refusal(
                429,
                f"The key {key.name!r} may make {key.per_minute} requests a minute, and has made them. Ask again in "
                f"{wait} s.",
                code="rate_limit_exceeded",
                retry_after=wait,
            )
        self._buckets[key.id] = left - 1, now

    def _locked(self) -> "LockedFile":
        if self._path is None:
            raise KeyFileError("keeping a key: this server has no folder for keys. Give it one (--state).")
        return LockedFile(self._path)


class LockedFile:
    """The file of keys, while nobody else writes it."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, FileLock(path.with_suffix(".lock"))

    def __enter__(self) -> Path:
        """Raises KeyFileError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.acquire()
        except OSError as problem:
            raise unwritable(self._path, problem) from problem
        return self._path

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def unwritable(path: Path, problem: OSError) -> KeyFileError:
    return KeyFileError(
        f"keeping keys: {path} cannot be written ({problem.strerror}), so nothing has changed. Make room, or correct "
        "the folder's rights."
    )


def presented(headers: Mapping[str, str]) -> str:
    """The key in a request's headers, or ""."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip()


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def made(name: str, **limits: Any) -> tuple[Key, str]:
    """A new key and its secret."""
    secret = PREFIX + secrets.token_urlsafe(32)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Key(id=secrets.token_hex(4), name=name, digest=digest_of(secret), created=created, **limits), secret


def read_keys(path: Path) -> KeyFile:
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        if stated["version"] not in (1, VERSION):
            raise ValueError(f"its version is {stated['version']!r}, and this program knows 1 and {VERSION}")
        keys = tuple(
            Key(
                **{
                    **each,
                    "models": None if each["models"] is None else tuple(each["models"]),
                    "scopes": tuple(each.get("scopes", ())),
                }
            )
            for each in stated["keys"]
        )
        closed = True if stated["version"] == 1 else stated["closed"]
        if not isinstance(closed, bool):
            raise ValueError(f"closed is {closed!r}")
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise KeyFileError(
            f"{path} cannot be read as a list of keys ({problem}), so nobody is served. Restore it; or move it away, "
            "make new keys, and start the server again."
        ) from problem
    return KeyFile(keys, closed)


def write_keys(path: Path, file: KeyFile) -> None:
    """Whole or not at all; readable by its owner only. Raises KeyFileError."""
    stated = {"version": VERSION, "closed": file.closed, "keys": [asdict(key) for key in file.keys]}
    beside: str | None = None
    try:
        handle, beside = tempfile.mkstemp(prefix=".keys-", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(stated, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, path)
    except OSError as problem:
        if beside is not None:
            Path(beside).unlink(missing_ok=True)
        raise unwritable(path, problem) from problem
