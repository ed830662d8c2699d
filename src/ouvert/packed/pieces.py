"""Pieces of files and their digests: whether weights are what they were written as, found out piece by piece."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ouvert.weights import MappedFile, combined_digest, sha256_of_range

PIECE_BYTES = 4 << 20

Ended = Callable[[], bool]
# What is wrong, or None; None also once it is told to end.
Check = Callable[[Ended], str | None]


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes `start` to `stop` of a file, their SHA-256, and what they are, for people."""

    start: int
    stop: int
    digest: bytes
    name: str


def piece_count(size: int) -> int:
    """How many pieces a tensor of so many bytes has."""
    return -(-size // PIECE_BYTES)


class PieceDigests:
    """The SHA-256 of every piece of a tensor, as its bytes come in order."""

    def __init__(self) -> None:
        self._whole: list[bytes] = []
        self._begun, self._size = hashlib.sha256(), 0

    def add(self, data: memoryview) -> None:
        while len(data):
            part = data[: PIECE_BYTES - self._size]
            self._begun.update(part)
            self._size += len(part)
            data = data[len(part) :]
            if self._size == PIECE_BYTES:
                self._end()

    def all(self) -> list[bytes]:
        if self._size:
            self._end()
        return self._whole

    def _end(self) -> None:
        self._whole.append(self._begun.digest())
        self._begun, self._size = hashlib.sha256(), 0


def check_of_pieces(mapped: MappedFile, pieces: Sequence[Piece]) -> Check:
    """A check of a packed file: it finds the first piece that is not what was written."""

    def check(ended: Ended) -> str | None:
        for piece in pieces:
            if ended():
                return None
            where = f"{piece.name} (bytes {piece.start} to {piece.stop})"
            try:
                digest = sha256_of_range(mapped.descriptor, piece.start, piece.stop)
            except OSError as problem:
                return f"{where} cannot be read: {problem}"
            if digest != piece.digest:
                return f"{where} is not what was written: its digest is another one"
        return None

    return check


def check_of_source(maps: Sequence[MappedFile], digest: str) -> Check:
    """A check of the files that a model came in. `digest` is that of all of them: see weights.combined_digest."""

    def check(ended: Ended) -> str | None:
        found = digest_of_maps(maps, ended)
        return None if found in (None, digest) else f"its digest is {found}, expected {digest}"

    return check


def digest_of_maps(maps: Sequence[MappedFile], ended: Ended = lambda: False) -> str | None:
    """The digest of the files as they are now; None once `ended`."""
    digests = {}
    for mapped in maps:
        if ended():
            return None
        try:
            digest = sha256_of_range(mapped.descriptor, 0, mapped.state.size)
        except OSError as problem:
            return f"unknown ({mapped.path}: {problem})"
        digests[mapped.path.name] = f"sha256:{digest.hex()}" if digest is not None else f"cut off ({mapped.path})"
    return combined_digest(digests)
