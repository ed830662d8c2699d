"""Keys of clients: made once, shown once, stored hashed, compared in constant time.

A key is 256 random bits, so a plain SHA-256 of it is as good as a slow one.
"""

import hashlib
import hmac
import json
import os
import secrets
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from ouvert.serving.errors import Refusal

PREFIX = "sk-ouvert-"
FILE = "keys.json"


class KeyFileError(Exception):
    """The file of keys cannot be used. The message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is kept of a key. `per_minute`: requests; `models`: own names of those it may use; None: no limit."""

    id: str
    name: str
    digest: str
    created: str
    per_minute: int | None = None
    models: tuple[str, ...] | None = None

    def admits(self, model: str) -> bool:
        return self.models is None or model in self.models


class Keys:
    """The keys in one folder. Several processes may use it; a key that is revoked is refused from then on."""

    def __init__(self, folder: Path | None) -> None:
        """Without a folder there are no keys and none can be made."""
        self._path = None if folder is None else folder / FILE
        self._required = False  # once keys are in use, revoking the last one opens nothing
        self._read: tuple[int, tuple[Key, ...]] | None = None  # (the file's time, what was in it)
        self._buckets: dict[str, tuple[float, float]] = {}  # key id -> (requests left, when that was)

    def every(self) -> tuple[Key, ...]:
        """Raises KeyFileError."""
        if self._path is None or not self._path.exists():
            return ()
        changed = self._path.stat().st_mtime_ns
        if self._read is None or self._read[0] != changed:
            self._read = changed, read_keys(self._path)
        return self._read[1]

    def require(self) -> None:
        """From now on no request is served without a key."""
        self._required = True

    def create(
        self, name: str, *, per_minute: int | None = None, models: tuple[str, ...] | None = None
    ) -> tuple[Key, str]:
        """The key as it is kept, and the secret, which is kept nowhere. Raises KeyFileError."""
        secret = PREFIX + secrets.token_urlsafe(32)
        key = Key(
            id=secrets.token_hex(4),
            name=name,
            digest=digest_of(secret),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            per_minute=per_minute,
            models=models,
        )
        with self._locked() as path:
            write_keys(path, (*self.every(), key))
        return key, secret

    def revoke(self, which: str) -> Key:
        """By id or name. Raises KeyFileError if there is none, or several."""
        with self._locked() as path:
            found = [key for key in self.every() if which in (key.id, key.name)]
            if len(found) != 1:
                raise KeyFileError(
                    f"revoking a key: {len(found)} keys are called {which!r}, expected one. `ouvert key list` shows "
                    "their ids."
                )
            write_keys(path, tuple(key for key in self.every() if key.id != found[0].id))
        return found[0]

    def caller(self, headers: Mapping[str, str]) -> Key | None:
        """Whose request it is; None where no key is needed. Raises Refusal 401 or 429."""
        keys = self.every()
        self._required = self._required or bool(keys)
        if not self._required:
            return None
        given = presented(headers)
        digest = digest_of(given)
        found = None
        for key in keys:  # all of them, so that the time tells nothing
            if hmac.compare_digest(key.digest, digest):
                found = key
        if found is None:
            what = "no key was sent" if not given else "the key that was sent is not known"
            raise Refusal(
                401,
                f"This server needs a key, and {what}. Send it as `Authorization: Bearer <key>` or `x-api-key`; its "
                "owner makes one with `ouvert key create`.",
                code="invalid_api_key",
            )
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
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path, self._lock = path, FileLock(path.with_suffix(".lock"))

    def __enter__(self) -> Path:
        self._lock.acquire()
        return self._path

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def presented(headers: Mapping[str, str]) -> str:
    """The key in a request's headers, or ""."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip()


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def read_keys(path: Path) -> tuple[Key, ...]:
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        return tuple(
            Key(**{**each, "models": None if each["models"] is None else tuple(each["models"])})
            for each in stated["keys"]
        )
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise KeyFileError(
            f"{path} cannot be read as a list of keys ({problem}). Restore it, or delete it and make new keys."
        ) from problem


def write_keys(path: Path, keys: tuple[Key, ...]) -> None:
    """Whole or not at all; readable by its owner only."""
    handle, beside = tempfile.mkstemp(prefix=".keys-", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({"version": 1, "keys": [asdict(key) for key in keys]}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
