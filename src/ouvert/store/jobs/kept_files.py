"""Files that jobs read and write: uploaded ones, and answers. One folder each, with the bytes and a record."""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ouvert.store.jobs.error import JobError, NoSuchFile
from ouvert.store.jobs.private_files import WRITING, make_private_folder, sync_folder, write_json
from ouvert.weights import read_regular

VERSION = 1
RECORD, CONTENT = "file.json", "content"
MOST_BYTES = 1 << 20  # of a record
ID = re.compile(r"file-[0-9a-f]{8,64}")
GOING = ".writing-gone-"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """What is known of a file. `name` is what its sender calls it: a text, never a path here. Times are Unix seconds.

    `removal`: when it may be removed, None for never. `digest`: SHA-256 of its bytes, in hexadecimal digits.
    """

    id: str
    owner: str
    name: str
    purpose: str
    bytes: int
    created: float
    removal: float | None = None
    digest: str = ""


def new_file_id() -> str:
    """An id that nothing else has. Raises nothing."""
    return f"file-{secrets.token_hex(16)}"


class KeptFiles:
    """The files below one folder. Making one reads and creates nothing, and raises nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # of the files, one folder each

    def arriving(self) -> "ArrivingFile":
        """A file that comes in piece by piece. Raises OSError."""
        make_private_folder(self.folder)
        return ArrivingFile(self.folder)

    def write(self, file: KeptFile, pieces: Iterable[bytes]) -> KeptFile:
        """Keep these bytes as that file, with their true count, in place of one of the same id.

        Raises OSError, and what `pieces` raises: nothing is then kept of them.
        """
        with self.arriving() as arriving:
            for piece in pieces:
                arriving.write(piece)
            with contextlib.suppress(NoSuchFile):
                self.remove(file.id)
            return arriving.keep(file)

    def get(self, file_id: str) -> KeptFile:
        """Raises NoSuchFile, and JobError for a record that cannot be used."""
        return read_record(self._place(file_id))

    def every(self, *, owner: str | None = None) -> list[KeptFile]:
        """All files, or those of an owner, the newest first. One whose record cannot be used is left out.

        Raises OSError.
        """
        found = []
        for place in self.folder.glob("file-*"):
            with contextlib.suppress(JobError):
                file = read_record(place)
                if owner in (None, file.owner):
                    found.append(file)
        return sorted(found, key=lambda file: (file.created, file.id), reverse=True)

    def content(self, file_id: str) -> Path:
        """Where its bytes are. Raises NoSuchFile, and JobError for a record that cannot be used."""
        self.get(file_id)
        return self._place(file_id) / CONTENT

    def remove(self, file_id: str) -> None:
        """Raises NoSuchFile and OSError."""
        place = self._place(file_id)
        gone = self.folder / f"{GOING}{secrets.token_hex(8)}"
        try:
            os.rename(place, gone)
        except FileNotFoundError:
            raise no_such_file(file_id) from None
        shutil.rmtree(gone)

    def sweep(self, now: float, in_use: frozenset[str]) -> list[str]:
        """Remove the files whose time has come and that nobody uses; their ids. Raises nothing."""
        gone = []
        for file in self.every():
            if file.removal is not None and file.removal < now and file.id not in in_use:
                with contextlib.suppress(OSError, JobError):
                    self.remove(file.id)
                    gone.append(file.id)
        return gone

    def _place(self, file_id: str) -> Path:
        if not ID.fullmatch(file_id):
            raise no_such_file(file_id)
        return self.folder / file_id


class ArrivingFile:
    """A file while it comes in; a context, at whose end nothing is left of it unless it was kept."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self.size, self._digest = 0, hashlib.sha256()
        self.place = folder / f"{WRITING}{secrets.token_hex(8)}"
        self.place.mkdir(mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._out = os.fdopen(os.open(self.place / CONTENT, flags, 0o600), "wb")

    def write(self, piece: bytes) -> None:
        """Raises OSError."""
        self._out.write(piece)
        self._digest.update(piece)
        self.size += len(piece)

    def keep(self, file: KeptFile) -> KeptFile:
        """The file is there from now on, with the bytes that came, their count and their digest. Raises OSError."""
        self._out.flush()
        os.fsync(self._out.fileno())
        kept = KeptFile(**{**asdict(file), "bytes": self.size, "digest": self._digest.hexdigest()})
        write_json(self.place / RECORD, {"version": VERSION, **asdict(kept)})
        os.rename(self.place, self.place.parent / file.id)
        sync_folder(self.place.parent)
        return kept

    def __enter__(self) -> "ArrivingFile":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # of a full disk, whose last bytes cannot be flushed
            self._out.close()
        shutil.rmtree(self.place, ignore_errors=True)


def read_record(place: Path) -> KeptFile:
    try:
        stated = json.loads(read_regular(place / RECORD, MOST_BYTES))
        if stated.pop("version") != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        file = KeptFile(**stated)
        texts = (file.id, file.owner, file.name, file.purpose, file.digest)
        if not all(isinstance(each, str) for each in texts) or file.id != place.name:
            raise ValueError("id, owner, name, purpose or digest is wrong")
        if not all(isinstance(each, int | float) for each in (file.bytes, file.created, file.removal or 0)):
            raise ValueError("a count or a time is no number")
    except FileNotFoundError:
        raise no_such_file(place.name) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise JobError(
            f"reading the file {place.name}: {place / RECORD} is not usable ({problem!s:.200}), expected a record as "
            "docs/formats/jobs.md says. Remove its folder, and upload the file again."
        ) from problem
    return file


def no_such_file(file_id: str) -> NoSuchFile:
    return NoSuchFile(f"There is no file {file_id!r:.100} here.")


def kept_until(seconds: float | None) -> float | None:
    """When something that is kept for so many seconds from now may be removed; None: never. Raises nothing."""
    return None if seconds is None else time.time() + seconds
