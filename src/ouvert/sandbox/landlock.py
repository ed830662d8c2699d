"""What a boxed process may open: rules of Landlock, the kernel's access control that a process puts on itself.

Rights and structures: linux/landlock.h, Documentation/userspace-api/landlock.rst (versions 1 to 7). Rights that the
running kernel's version does not have are left out here, and closed by the filter of calls (ouvert.sandbox.seccomp).
"""

import ctypes
import errno
from typing import Any

CREATE_RULESET = 444  # the same number on x86-64 and aarch64
VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
SINCE_2, SINCE_3, SINCE_5 = REFER, TRUNCATE, IOCTL_DEV
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the others are rights on folders

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_FIFO | MAKE_SYM | REFER | TRUNCATE
BIND_TCP, CONNECT_TCP = 1, 2
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1, 2
SIGNALS_SCOPED = 6  # the version since which a domain's signals stay within it


def landlock_version() -> tuple[int, str]:
    """(version of Landlock in this kernel, ""), or (0, why there is none). Raises nothing."""
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION))
    if version > 0:
        return version, ""
    if ctypes.get_errno() == errno.EOPNOTSUPP:
        return 0, "the kernel has it, but it is not switched on (its start parameter lsm= leaves it out)"
    return 0, "not in this kernel (it came with Linux 5.13)"


def ruleset(version: int, readable: list[str], writable: list[str]) -> dict[str, Any] | None:
    """What the process inside puts on itself, as JSON; None without Landlock. Paths that are not there are left out
    inside. Raises nothing."""
    if version < 1:
        return None
    handled = (1 << 13) - 1
    for since, right in ((2, SINCE_2), (3, SINCE_3), (5, SINCE_5)):
        handled |= right if version >= since else 0
    network = BIND_TCP | CONNECT_TCP if version >= 4 else 0
    scopes = SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS if version >= SIGNALS_SCOPED else 0
    words = [handled, network, scopes][: 1 if version < 4 else 2 if version < SIGNALS_SCOPED else 3]
    rules = [(path, READ & handled) for path in readable] + [(path, WRITE & handled) for path in writable]
    return {"attributes": words, "file_rights": FILE_RIGHTS, "rules": rules}
