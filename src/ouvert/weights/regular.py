"""Files that are files: what stands in a file's place and is none is never opened.

Opening a FIFO waits for whoever writes into it, opening a device may do something, and a link leads to where somebody
else decided. So it is looked first, opened without following or waiting, and looked at again.
"""

import errno
import os
import stat
from pathlib import Path

KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
CAREFULLY = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class NotRegularError(OSError):
    """What stands there is no regular file, and was not opened."""


def open_regular(path: Path | str, flags: int = os.O_RDONLY, mode: int = 0o600, *, follow: bool = False) -> int:
    """A descriptor of a regular file; with os.O_CREAT in `flags` it may be made now, with that `mode`.

    A link is not followed unless `follow` says so: for files whose place their owner named. Raises NotRegularError,
    and OSError as os.open does.
    """
    try:
        require_regular(os.stat(path) if follow else os.lstat(path), path)
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    file = os.open(path, flags | CAREFULLY | (0 if follow else NO_LINK), mode)
    try:
        require_regular(os.fstat(file), path)  # it may have been exchanged since we looked
    except OSError:
        os.close(file)
        raise
    return file


def read_regular(path: Path | str, most: int = -1, *, follow: bool = False) -> bytes:
    """What the file holds, `most` bytes of it at most. Raises what `open_regular` raises."""
    with open(open_regular(path, follow=follow), "rb") as file:
        return file.read(most)


def require_regular(facts: os.stat_result, path: Path | str) -> None:
    kind = stat.S_IFMT(facts.st_mode)
    if kind != stat.S_IFREG:
        raise NotRegularError(
            errno.EINVAL, f"{KINDS.get(kind, 'something else')} stands where a file should", str(path)
        )
