"""Tries to get out of WebAssembly, and prints what it could do. Run as a cell: FACTS is set before it."""

import json
import os
from collections.abc import Callable
from typing import Any

facts: dict[str, Any] = globals()["FACTS"]
OWN = {"HOME", "TMPDIR", "LANG"}  # variables of the cell itself


def can(attempt: Callable[[], Any]) -> bool:
    try:
        return attempt() is not False
    except (OSError, ImportError, AttributeError, RuntimeError):
        return False


def read(path: str) -> bool:
    with open(path) as file:
        return bool(file.read() == facts["word"])


def read_by_link() -> bool:
    os.symlink("../secret", "link")
    return read("link")


def write() -> None:
    with open(facts["secret"], "a") as file:
        file.write("x")


def scratch() -> bool:
    with open("probe.txt", "w") as file:
        file.write("x")
    with open("probe.txt") as file:
        return file.read() == "x"


def connect() -> None:
    import socket

    socket.create_connection(("127.0.0.1", facts["port"]), 2).close()


def program() -> None:
    import subprocess

    subprocess.run(["/bin/true"], check=False)


print(
    json.dumps(
        {
            "reads a file outside": can(lambda: read(facts["secret"])) or can(lambda: read("../secret")),
            "reads a file outside by a link": can(read_by_link),
            "writes outside": can(write),
            "connects to a server of this machine": can(connect),
            "starts a program": can(program),
            "sees variables of whoever asked": bool(os.environ.keys() - OWN),
            "writes in its folder": can(scratch),
        }
    )
)
