"""Tries to get out of the box that it runs in, and says what it could do. What it is given on the command line is
only what any program outside could know."""

import ctypes
import json
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

facts = json.loads(sys.argv[1]) if __name__ == "__main__" else {}
libc = ctypes.CDLL(None, use_errno=True)
IO_URING_SETUP, CLONE_NEWUSER = 425, 0x10000000


def can(attempt: Callable[[], Any]) -> bool:
    try:
        return attempt() is not False
    except OSError:
        return False


def read() -> bool:
    with open(facts["secret"]) as file:
        return bool(file.read() == facts["word"])


def write() -> None:
    with open(facts["secret"], "a") as file:
        file.write("x")


def remove() -> None:
    os.unlink(facts["secret"])


def change_mode() -> bool:
    before = os.stat(facts["secret"]).st_mode
    os.chmod(facts["secret"], 0o600)
    return os.stat(facts["secret"]).st_mode != before


def connect() -> None:
    socket.create_connection(("127.0.0.1", facts["port"]), 2).close()


def signal_outside() -> bool:
    os.kill(facts["pid"], 0)
    return facts["pid"] not in (1, os.getpid(), os.getppid())  # in a namespace, numbers are the box's own


def scratch() -> bool:
    with open("probe.txt", "w") as file:
        file.write("x")
    with open("probe.txt") as file:
        return file.read() == "x"


def main() -> None:
    print(
        json.dumps(
            {
                "reads a file outside": can(read),
                "writes outside": can(write) or can(remove),
                "changes the mode of a file outside": can(change_mode),
                "connects to a server of this machine": can(connect),
                "makes a socket": can(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()),
                "sees or signals a process outside": can(signal_outside),
                "makes a namespace": libc.unshare(CLONE_NEWUSER) == 0,
                "makes a ring of the kernel's": libc.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(512)) >= 0,
                "writes in its folder": can(scratch),
            }
        )
    )


if __name__ == "__main__":
    main()
