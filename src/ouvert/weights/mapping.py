"""Files as read-only memory maps, and the places of tensors in them."""

import mmap
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from .error import CheckpointError, shown

# More than this before the first tensor is no header: tokenizers of 200,000 tokens take about 10 MB. The limit is the
# one that safetensors' own reader has.
MOST_HEADER_BYTES = 100_000_000

# What a file that is neither GGUF nor safetensors is likely to be, by its first bytes.
OTHER_FILES = (
    (b"PK\x03\x04", "a zip archive, probably a PyTorch pickle (.bin, .pt)"),
    (b"\x80\x02", "a Python pickle (.bin, .pt)"),
    (b"\x80\x03", "a Python pickle (.bin, .pt)"),
    (b"\x80\x04", "a Python pickle (.bin, .pt)"),
    (b"\x80\x05", "a Python pickle (.bin, .pt)"),
    (b"lmgg", "a GGML file, the predecessor of GGUF"),
    (b"fmgg", "a GGMF file, a predecessor of GGUF"),
    (b"tjgg", "a GGJT file, a predecessor of GGUF"),
    (b"version https://git-lfs", "a Git LFS pointer: the name of a file, not the file"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"{", "a JSON text"),
)


class FileState(NamedTuple):
    """Which file it is, and when its content or its inode last changed. Times are in nanoseconds; `changed_ns` cannot
    be set by anybody, other than `modified_ns`."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Self:
        """The state that os.stat or os.fstat has found. Raises nothing."""
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class MappedFile(mmap.mmap):
    """A file's memory map that knows which file it is of, whatever becomes of the name.

    `descriptor` is open as long as the map is; `state` is the file's when it was mapped.
    """

    path: Path
    descriptor: int
    state: FileState

    @classmethod
    def of(cls, path: Path, descriptor: int) -> Self:
        """Map the whole of an open file. Raises OSError, and ValueError for an empty one."""
        mapped = cls(descriptor, 0, access=mmap.ACCESS_READ)
        mapped.path = path
        mapped.descriptor = os.dup(descriptor)
        mapped.state = FileState.of(os.fstat(descriptor))
        return mapped

    def state_now(self) -> FileState:
        """The state of the mapped file now, even if its name has gone. Raises nothing."""
        return FileState.of(os.fstat(self.descriptor))

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


def map_file(path: Path) -> np.ndarray:
    """All bytes of a regular file as read-only uint8. The file stays mapped as long as an array looks at it.

    Raises CheckpointError if it is missing, unreadable, empty, or not a regular file.
    """
    try:
        # Asked before opening: to open a pipe would wait for its writer.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError(
                f"{path} is not a regular file: a checkpoint must be one, to be mapped. Give a .gguf or .safetensors "
                "file, or a folder that holds them."
            )
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise CheckpointError(f"{path} is empty: a checkpoint has a header at least. Fetch it again.")
            return np.frombuffer(MappedFile.of(path, file.fileno()), np.uint8)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise CheckpointError(
            f"{path} cannot be opened as a checkpoint: {error}. It must be a readable file: check the path and its "
            "permissions."
        ) from error


def mapped_file(data: np.ndarray) -> MappedFile | None:
    """The mapped file that an array looks at; None for arrays in memory."""
    owner: object = data
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    return owner if isinstance(owner, MappedFile) else None


def release_pages(data: np.ndarray) -> None:
    """Let go of the whole pages of a mapped file that `data` covers. Does nothing for arrays that are not mapped."""
    owner = mapped_file(data)
    if owner is None or not hasattr(owner, "madvise") or not data.nbytes:
        return
    start = data.ctypes.data - np.frombuffer(owner, np.uint8).ctypes.data
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (start + data.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        owner.madvise(mmap.MADV_DONTNEED, first, last - first)


def other_file(path: Path, data: np.ndarray) -> CheckpointError:
    """The error for a file that is neither GGUF nor safetensors."""
    start = data[:24].tobytes()
    what = next((what for signature, what in OTHER_FILES if start.startswith(signature)), "of an unknown kind")
    if "pickle" in what:
        what += ", which can run any program when it is read"
    return CheckpointError(
        f"{path} is {what} (it starts with {shown(start[:8])}); expected GGUF or safetensors. Fetch or convert the "
        "model in one of these formats."
    )


def check_places(path: Path, places: Iterable[tuple[int, int, str]], end: int, *, gaps: bool) -> None:
    """Refuse tensors that overlap or reach outside; without `gaps`, also bytes that belong to none.

    `places` are (start, stop, name), counted from where the tensors' bytes begin, of which there are `end`. Raises
    CheckpointError.
    """
    remedy = "The file is cut off or damaged: fetch it again."
    reached, before = 0, ""
    for start, stop, name in sorted(places):
        if not 0 <= start <= stop <= end:
            raise CheckpointError(
                f"{path}: tensor {shown(name)} lies at bytes {start} to {stop}, but bytes end at {end}. {remedy}"
            )
        if start < reached:
            raise CheckpointError(
                f"{path}: tensors {shown(before)} and {shown(name)} overlap at byte {start}; each must have its "
                f"own bytes. {remedy}"
            )
        if start > reached and not gaps:
            raise CheckpointError(
                f"{path}: bytes {reached} to {start}, before tensor {shown(name)}, belong to no tensor; there may "
                f"be no gaps. {remedy}"
            )
        if stop > start:
            reached, before = stop, name
    if reached < end and not gaps:
        raise CheckpointError(
            f"{path}: bytes {reached} to {end}, after the last tensor, belong to none; there may be no gaps. {remedy}"
        )
