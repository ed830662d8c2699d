"""Writing files of tensors of any size with little memory: declared first, written in pieces, renamed when whole."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from .encodings import ENCODINGS, encoded_bytes
from .error import BusyError, CheckpointError, UnwritableError, shown
from .mapping import MOST_HEADER_BYTES
from .safetensors import DTYPES, METADATA, is_text

# Tensors begin at a multiple of this where their sizes allow: a line of cache, and the widest vectors.
ALIGNMENT = 64


def arrange(
    tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, range]]:
    """(header, bytes of each tensor in the file). Raises CheckpointError for what the format cannot hold."""
    if not all(is_text(text) for pair in metadata.items() for text in pair):
        raise CheckpointError("Writing safetensors: metadata must be strings. Write other values as JSON text.")
    for name, (encoding, _) in tensors.items():
        if encoding not in DTYPES or name == METADATA or not is_text(name):
            raise CheckpointError(
                f"Writing safetensors: {shown(name)} in {encoding} was declared; encodings are {', '.join(DTYPES)} "
                f"and no tensor is called {METADATA}. Declare blocks of other encodings as U8."
            )
    sizes = {name: encoded_bytes(encoding, shape) for name, (encoding, shape) in tensors.items()}
    aligned = [name for name in tensors if sizes[name] % ALIGNMENT == 0]
    others = [name for name in tensors if sizes[name] % ALIGNMENT]
    others.sort(key=lambda name: ENCODINGS[tensors[name][0]].block_bytes, reverse=True)
    places, end = {}, 0
    for name in aligned + others:
        places[name] = range(end, end + sizes[name])
        end += sizes[name]
    header = header_of(tensors, metadata, places)
    return header, {name: range(len(header) + at.start, len(header) + at.stop) for name, at in places.items()}


def header_of(
    tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str], places: Mapping[str, range]
) -> bytes:
    """The header of tensors at these places, behind it. Raises CheckpointError if it is too large for the format."""
    entries: dict[str, object] = {METADATA: dict(metadata)} if metadata else {}
    for name, where in places.items():
        encoding, shape = tensors[name]
        entries[name] = {"dtype": encoding, "shape": list(shape), "data_offsets": [where.start, where.stop]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MOST_HEADER_BYTES:
        raise CheckpointError(
            f"Writing safetensors: names and metadata take {len(text)} bytes; {MOST_HEADER_BYTES} may. "
            "Put less into the metadata."
        )
    return len(text).to_bytes(8, "little") + text


def partial_of(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(path.name + ".partial")


def wait_for_writer(path: Path) -> None:
    """Return when no process writes the file at `path`: it is whole then, or its writer gave up or was killed.

    Raises OSError if a partial file is there and cannot be opened.
    """
    if sys.platform == "win32":
        return
    import fcntl

    try:
        with open(partial_of(path), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return


class TensorWriter:
    """A file whose tensors are declared first and then written in pieces, in any order of tensors.

    Until everything is written the file is called "<name>.partial"; then it is synced to the disk and renamed, so a
    file with the final name is always whole. An error inside the `with` removes the partial file. A killed process
    leaves it behind, and the next writer starts it afresh.

    Raises CheckpointError if something cannot be declared, another process is writing the same file (BusyError), the
    disk has too little room, or a tensor gets more or in the end fewer bytes than declared. Not for use by two threads
    at once.
    """

    def __init__(
        self,
        path: Path,
        header: bytes,
        places: Mapping[str, range],
        tensors: Mapping[str, tuple[str, Sequence[int]]],
    ) -> None:
        """`header` begins the file; `places`: the bytes of the file that each tensor takes; what is between them is
        zero."""
        self.path = path
        self.partial = partial_of(path)
        self._places = places
        self.header_digest = hashlib.sha256(header).digest()  # of all bytes before the first tensor
        self._encodings = {name: ENCODINGS[encoding] for name, (encoding, _) in tensors.items()}
        self._written = dict.fromkeys(tensors, 0)
        try:
            self.partial.touch()  # not emptied yet: it may be somebody else's
            self._file = open(self.partial, "r+b", buffering=0)  # noqa: SIM115 - closed by finish or abandon
        except OSError as error:
            raise UnwritableError(
                f"{self.partial} cannot be written: {error}. Its folder must exist and be writable: create it."
            ) from error
        self._claim()
        try:
            self._file.truncate(0)
            total = max((at.stop for at in self._places.values()), default=len(header))
            if (room := shutil.disk_usage(self.partial.parent).free) < total:
                raise UnwritableError(
                    f"{path} will take {total} bytes, but its disk has room for {room}. Free some, or write elsewhere."
                )
            self._file.truncate(total)
            self._put(0, header)
        except BaseException:
            self.abandon()
            raise

    def _claim(self) -> None:
        """Make sure that no other process writes this partial file. The claim ends with the process."""
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.partial))  # or was it just renamed?
        except OSError:
            ours = False
        if not ours:
            self._file.close()
            raise BusyError(
                f"{self.partial} is being written by another process; one at a time may. Wait for it and try again."
            )

    def _put(self, position: int, data: bytes | memoryview) -> None:
        try:
            self._file.seek(position)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise UnwritableError(
                f"{self.partial} cannot be written further: {error}. Check the disk, then write the file again."
            ) from error

    def write(self, name: str, piece: np.ndarray | bytes) -> None:
        """The next bytes of tensor `name`: encoded bytes (uint8), or an array of the numbers as the encoding has them
        (BF16 as uint16).

        Raises CheckpointError for a tensor that was not declared, for a piece of another type, and for more bytes than
        its shape takes; UnwritableError if the disk cannot take the piece.
        """
        if name not in self._places:
            raise CheckpointError(f"{self.path}: tensor {shown(name)} was not declared. Declare all before writing.")
        array = np.frombuffer(piece, np.uint8) if isinstance(piece, bytes) else np.ascontiguousarray(piece)
        encoding = self._encodings[name]
        if array.dtype not in (np.uint8, encoding.layout) and not (
            encoding is ENCODINGS["BOOL"] and array.dtype == np.bool_
        ):
            raise CheckpointError(
                f"{self.path}: tensor {shown(name)} was declared as numbers of {encoding.layout}, but a piece of "
                f"{array.dtype} was written. Convert it first."
            )
        data = array.reshape(-1).view(np.uint8).data
        place, done = self._places[name], self._written[name]
        if done + len(data) > len(place):
            raise CheckpointError(
                f"{self.path}: tensor {shown(name)} takes {len(place)} bytes, but {done + len(data)} were written. "
                "Declare the shape that is written."
            )
        self._put(place.start + done, data)
        self._written[name] = done + len(data)

    def finish(self) -> None:
        """Sync the file to the disk and give it its name. Raises CheckpointError if a tensor is not complete."""
        short = [name for name, place in self._places.items() if self._written[name] != len(place)]
        if short:
            raise CheckpointError(
                f"{self.path}: {len(short)} tensors are not complete (first: {shown(short[0])}, "
                f"{self._written[short[0]]} of {len(self._places[short[0]])} bytes). Write all of each."
            )
        os.fsync(self._file.fileno())
        if sys.platform == "win32":  # an open file cannot be renamed there
            self._file.close()
        os.replace(self.partial, self.path)
        self._file.close()
        if sys.platform != "win32":  # the name is in the folder, and that is to be on the disk as well
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def abandon(self) -> None:
        """Remove what was written. Does nothing after `finish`.

        Raises OSError if the partial file cannot be removed.
        """
        if self._file.closed:
            return
        if sys.platform == "win32":
            self._file.close()
        self.partial.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.abandon()


class SafetensorsWriter(TensorWriter):
    """A safetensors file.

        with SafetensorsWriter(path, {"a": ("F32", (1000, 64))}, {"layout": "plain"}) as writer:
            writer.write("a", first_rows)
            writer.write("a", other_rows)

    Tensors whose size is a multiple of 64 bytes begin at a multiple of 64; the others come after them, those of wider
    numbers first. Making one raises KeyError for an encoding that there is not, and OSError.
    """

    def __init__(
        self, path: Path, tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str] | None = None
    ) -> None:
        header, places = arrange(tensors, metadata or {})
        super().__init__(path, header, places, tensors)
