"""Starts one process in a box, and hears how it ends."""

import base64
import json
import os
import platform
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ouvert.sandbox.error import BoxError
from ouvert.sandbox.found import Level
from ouvert.sandbox.landlock import SIGNALS_SCOPED, ruleset
from ouvert.sandbox.mounts import BOX, DEVICES, INSIDE, View, beginning, bwrap_words
from ouvert.sandbox.seccomp import filter_program

NOBODY = 65534
ADDRESSES = 1 << 30  # of one process, beyond the memory it may use: libraries, stacks, what is reserved and not used
THREADS = 4  # of numerical libraries, at most
ENDING_SECONDS = 10.0

ENDINGS = {
    "memory": "it used more memory than the box has",
    "processes": "it started more processes than the box may have",
    "disk": "it wrote more to the box's folder than the box may keep there",
    "asked": "it was ended from outside",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of memory of all processes together, processes with their threads, bytes in the folder."""

    memory: int = 1 << 30
    processes: int = 64
    disk: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A box as it is about to be used: how it is closed, what it shows, what it may take."""

    level: Level
    bwrap: str | None
    landlock: int
    view: View
    limits: Limits
    component: Path | None = None  # at level `wasm`


class Started:
    """One process in a box. `process`: the outermost one on this machine; its pipes are those of the one inside."""

    def __init__(self, process: "subprocess.Popen[bytes]", control: socket.socket) -> None:
        self.process = process
        self.control = control
        self.ended: str | None = None  # why, once it is known; "" if by itself
        self.code: int | None = None

    def pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        """stdin, stdout, stderr of the one inside; stderr is stdout where they are merged. Raises nothing."""
        target, source = self.process.stdin, self.process.stdout
        assert target is not None and source is not None  # noqa: S101, PT018 - made as pipes, always
        return target, source, self.process.stderr or source

    def hear(self, seconds: float | None = None) -> None:
        """Wait for the end, and for why. Raises TimeoutError if it has not ended after so many seconds."""
        if self.ended is None:
            self.control.settimeout(seconds)
            facts = received(self.control)
            reason = facts.get("reason", "asked") if facts else "asked"
            self.code = facts.get("code") if facts else None
            self.ended = ENDINGS.get(reason, reason)

    def kill(self) -> None:
        """End everything in the box, and wait until it has. Safe to call twice, and from any thread. Raises nothing."""
        with suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:  # the first process inside has been stopped or is waiting for a dead disk
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """End everything, and let go of the pipes. Safe to call twice. Raises nothing."""
        self.kill()
        self.control.close()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def start(
    place: Place,
    argv: Sequence[str] | None,
    *,
    replies: int | None = None,
    env: Mapping[str, str] | None = None,
    merged: bool = False,
) -> Started:
    """Start `argv`, or the cell where it is None and answers on the descriptor `replies`.

    `merged`: what goes to stderr comes out of stdout. Raises BoxError where it could not be started.
    """
    variables = environment(place)
    text = json.dumps(settings(place, argv, replies, {**variables, **(env or {})})).encode()
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603 - the box
                command(place, theirs.fileno()),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                pass_fds=(theirs.fileno(), *([replies] if replies is not None else [])),
                env=variables,
                cwd="/" if place.level is Level.NAMESPACES else place.view.folder,
                start_new_session=True,
            )
        except OSError as problem:
            ours.close()
            raise not_started(argv, str(problem)) from problem
    started = Started(process, ours)
    with suppress(BrokenPipeError):
        ours.sendall(struct.pack("<I", len(text)) + text)
    answer = received(ours)
    if not answer or "failed" in answer:
        said = answer["failed"] if answer else last_words(process, merged)
        started.close()
        raise not_started(argv, said)
    return started


def last_words(process: "subprocess.Popen[bytes]", merged: bool) -> str:
    """What the outermost program said when it could not make the box."""
    pipe = process.stdout if merged else process.stderr
    said = pipe.read(2000) if pipe is not None else b""
    return said.decode("utf-8", "replace").strip() or f"it ended with status {process.wait()}"


def not_started(argv: Sequence[str] | None, why: str) -> BoxError:
    what = "a Python cell" if argv is None else f"{list(argv)[:3]}"
    return BoxError(
        f"starting {what} in a box: {why}. Expected a program that is in the box (system programs, Python, what "
        "read_only shows, the box's folder). `ouvert doctor` says what boxes this machine can make."
    )


def command(place: Place, control: int) -> list[str]:
    """The words of the outermost program."""
    python = [str(place.view.python), *PYTHON_WORDS]
    namespaces = bwrap_words(place.bwrap, place.view.binds()) if place.bwrap is not None else []
    return [*namespaces, *python, f"{inside(place)}/enter.py", str(control), str(place.view.folder)]


def box_commands(bwraps: Iterable[str], python: str = sys.executable) -> tuple[tuple[str, ...], ...]:
    """How every command that opens a box begins, with those programs and that Python. Raises nothing."""
    namespaces = [(bwrap, *beginning()) for bwrap in bwraps]
    return (*namespaces, (python, *PYTHON_WORDS, str(INSIDE / "enter.py")))


def inside(place: Place) -> str:
    """Where our own files for the inside are, as seen from there."""
    return BOX if place.level is Level.NAMESPACES else str(INSIDE)


PYTHON_WORDS = ("-S", "-s", "-P")  # no look for packages, none of the user's, none of the folder's


def settings(place: Place, argv: Sequence[str] | None, replies: int | None, env: Mapping[str, str]) -> dict[str, Any]:
    """What enter.py is told."""
    level, view, limits = place.level, place.view, place.limits
    within, root = level is Level.NAMESPACES, os.geteuid() == 0
    writable = [view.data(level), *DEVICES, *(["/tmp", "/dev/shm"] if within else [])]  # noqa: S108 - the box's own
    program = filter_program(platform.machine(), signals_stay=within or place.landlock >= SIGNALS_SCOPED)
    if program is None:
        raise not_started(argv, f"there is no table of calls for this processor ({platform.machine()})")
    return {
        "argv": list(argv) if argv is not None else None,
        "cell": (INSIDE / "cell.py").read_text(encoding="utf-8") if argv is None else None,
        "replies": replies,
        "env": dict(env),
        "data": view.data(level),
        "packages": view.packages(),
        "user": NOBODY if root else None,  # a box is never root's
        "limits": {
            "memory": limits.memory,
            "addresses": limits.memory + ADDRESSES,
            "processes": limits.processes,
            "tasks": limits.processes + (1 if within and not root else tasks_of(NOBODY if root else os.getuid())),
            "disk": limits.disk,
        },
        "landlock": ruleset(place.landlock, ["/"] if within else view.readable(), writable),
        "filter": base64.b64encode(program).decode(),
    }


def environment(place: Place) -> dict[str, str]:
    """Every variable of the box: none of this process's."""
    scratch = place.view.scratch(place.level)
    threads = str(max(1, min(THREADS, os.cpu_count() or 1, place.limits.processes // 4)))
    return {
        "PATH": f"{place.view.python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": scratch,
        "TMPDIR": scratch,
        "USER": "box",
        "LOGNAME": "box",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": f"{scratch}/matplotlib",
        "FONTCONFIG_FILE": f"{inside(place)}/fonts.conf",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }


def received(control: socket.socket) -> dict[str, Any] | None:
    """The next thing that is said of the process; None where nothing more comes. Raises TimeoutError."""
    try:
        head = exactly(control, 4)
        facts = json.loads(exactly(control, struct.unpack("<I", head)[0]))
    except TimeoutError:
        raise
    except (OSError, EOFError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def exactly(control: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = control.recv(size - len(got))
        if not piece:
            raise EOFError
        got += piece
    return got


def tasks_of(user: int) -> int:
    """How many threads a user has on this machine now: outside a namespace of users, the limit counts them all."""
    found = 0
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # it has ended
            if os.stat(f"/proc/{name}").st_uid == user:
                found += len(os.listdir(f"/proc/{name}/task"))
    return found
