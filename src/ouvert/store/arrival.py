"""A file that is arriving, from whatever source: written, hashed, and taken up where an earlier fetch left it."""

import hashlib
import os
from dataclasses import dataclass
from typing import BinaryIO

from ouvert.store.blobs import PIECE
from ouvert.store.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedFile:
    """A file that is to be fetched, with what is known of its content beforehand: the hub says it, or our table."""

    name: str
    size: int
    sha256: str | None  # hexadecimal; of files in large-file storage
    git_sha1: str | None  # of the others: git's id of the content

    @property
    def key(self) -> str:
        """Names the content before it is here."""
        return f"sha256-{self.sha256}" if self.sha256 else f"git-{self.git_sha1}"


class Arrival:
    """A file that is arriving: written and hashed at once. `count` bytes of it are here."""

    def __init__(self, stream: BinaryIO, file: ExpectedFile) -> None:
        self.stream, self.file = stream, file
        self.begin_hashes()

    def begin_hashes(self) -> None:
        self.count = 0
        self.sha256 = hashlib.sha256()
        # Git hashes a header with the content: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        self.sha1 = hashlib.sha1(f"blob {self.file.size}\0".encode(), usedforsecurity=False)

    def take_up(self, progress: Progress) -> None:
        """Hash what an earlier fetch left, so that the whole is checked in the end."""
        there = os.fstat(self.stream.fileno()).st_size
        if there > self.file.size:
            self.stream.truncate(0)
        elif there:
            progress.begin(f"checking what is here of {self.file.name}", there)
            try:
                while piece := self.stream.read(PIECE):
                    progress.require_wanted()
                    self.hash(piece)
                    progress.advance(len(piece))
            finally:
                progress.end()

    def restart(self, progress: Progress) -> None:
        progress.advance(-self.count)
        self.stream.seek(0)
        self.stream.truncate()
        self.begin_hashes()

    def write(self, piece: bytes) -> None:
        self.stream.write(piece)
        self.stream.flush()  # others look how much is here, and a process that is killed loses none of it
        self.hash(piece)

    def hash(self, piece: bytes) -> None:
        self.count += len(piece)
        self.sha256.update(piece)
        if not self.file.sha256:
            self.sha1.update(piece)

    def fault(self) -> str | None:
        """What is wrong with the whole, or None."""
        if self.count != self.file.size:
            return f"it has more than the {self.file.size} bytes it should have"
        if self.file.sha256:
            found = self.sha256.hexdigest()
            return None if found == self.file.sha256 else f"its SHA-256 is {found}, expected {self.file.sha256}"
        found = self.sha1.hexdigest()
        return None if found == self.file.git_sha1 else f"its git id is {found}, expected {self.file.git_sha1}"
