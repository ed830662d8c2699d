"""Where templates run: those this program knows, in it; all others in a process of their own.

A template is a program by a stranger. The sandbox bounds what it may do, as far as anybody foresaw; what nobody foresaw
(a loop in C, memory without an end, a stack that is used up) must not hold or end the process that serves everybody. So
a template of unknown digest is compiled and run in a small process that holds no weights, can open no file and no
connection, has bounds on its memory and its time that the system keeps, and is replaced when it dies:
docs/decisions/0007-templates-in-a-process.md.
"""

import hashlib
import json
import os
import pickle
import select
import signal
import struct
import subprocess
import threading
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ouvert.chat.known_templates import KNOWN_TEMPLATES
from ouvert.chat.owned_text import OwnedText
from ouvert.chat.renderer_command import renderer_command
from ouvert.chat.sandbox import Sandbox, TemplateError, refuse_what_is_too_long, too_costly

START_SECONDS = 60.0  # for Python to start and to compile a template, on a machine that is busy
WALL_SECONDS = 30.0  # for one prompt
GRACE_SECONDS = 5.0  # the process ends itself; so much later it is ended
LARGEST_ANSWER = 1 << 30
MOST_PROCESSES = 8  # kept warm at once, whatever the number of models
LENGTH = struct.Struct("<Q")
# Why a process ended, by the signal that ended it.
ENDED_BY = {
    signal.SIGPROF: "it computed for longer than any chat template needs",
    signal.SIGXCPU: "it computed for longer than any chat template needs",
    signal.SIGALRM: f"it took longer than {WALL_SECONDS:g} seconds",
    signal.SIGSEGV: "it used up the stack",
    signal.SIGKILL: "its process was killed, by the system if memory is short",
}


class Renderer:
    """A template, compiled, wherever it runs. `variables` are the names it reads. Safe from any thread."""

    def __init__(self, template: str, *, apart: bool | None = None) -> None:
        """`apart`: in a process of its own; left out, if it is not known. Raises TemplateError."""
        refuse_what_is_too_long(template)
        if apart is None:
            apart = digest_of(template) not in KNOWN_TEMPLATES
        self._runs: Sandbox | SandboxProcess = SandboxProcess(template) if apart else Sandbox(template)

    @property
    def variables(self) -> frozenset[str]:
        return self._runs.variables

    def render(self, variables: Mapping[str, Any], supplied: int) -> OwnedText:
        """As `Sandbox.render`. Raises TemplateError, also when its process had to be ended."""
        return self._runs.render(variables, supplied)


def digest_of(template: str) -> str:
    return hashlib.sha256(template.encode(errors="surrogatepass")).hexdigest()


class Running:
    """The processes of this program. Beyond so many, those that were used longest ago rest: they are ended, and started
    again when their template is needed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._order: OrderedDict[int, weakref.ref[SandboxProcess]] = OrderedDict()

    def used(self, sandbox: "SandboxProcess") -> None:
        """Called by a sandbox that holds its own lock."""
        with self._lock:
            self._order[id(sandbox)] = weakref.ref(sandbox)
            self._order.move_to_end(id(sandbox))
            for key in list(self._order)[: max(0, len(self._order) - self._most)]:
                other = self._order[key]()
                if other is None or other.rests():
                    del self._order[key]


RUNNING = Running(MOST_PROCESSES)


class SandboxProcess:
    """A `Sandbox` in a process of its own, which is started again where it died. Safe from any thread."""

    def __init__(self, template: str) -> None:
        """Starts the process, and waits until it has compiled the template. Raises TemplateError."""
        self._template = template
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Any] | None = None
        with self._lock:
            self.variables = frozenset(self._started())
            RUNNING.used(self)

    def rests(self) -> bool:
        """End the process until it is needed again; not while it is used, and then the answer is no."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._ended()
        finally:
            self._lock.release()
        return True

    def render(self, variables: Mapping[str, Any], supplied: int) -> OwnedText:
        """Raises TemplateError when the template refuses the conversation, fails, or costs too much."""
        request = pickle.dumps((dict(variables), supplied))
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._started()
            answer = self._asked(request, WALL_SECONDS)
            RUNNING.used(self)
        text, runs = answer["text"], tuple((length, owner) for length, owner in answer["runs"])
        if len(text) != sum(length for length, _ in runs):
            raise too_costly("its process answered with nonsense")
        return OwnedText(text, runs)

    def _started(self) -> list[str]:
        """Start the process; the names that the template reads."""
        self._ended()
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                renderer_command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ},
                start_new_session=True,  # Ctrl-C at a terminal ends an answer, not this
            )
        except OSError as problem:
            raise TemplateError(
                f"writing a prompt with the model's chat template: the process it runs in does not start ({problem}), "
                "expected that it does. Free memory, processes or open files, and ask again."
            ) from problem
        self._process = process
        self._end = weakref.finalize(self, end, process)
        variables: list[str] = self._asked(pickle.dumps(self._template), START_SECONDS)["variables"]
        return variables

    def _asked(self, request: bytes, seconds: float) -> dict[str, Any]:
        """What the process answers. Raises TemplateError, in its words or about its end."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise AssertionError("asked before the process was started")
        try:
            process.stdin.write(LENGTH.pack(len(request)))
            process.stdin.write(request)
            process.stdin.flush()
            answer = json.loads(self._read(process.stdout.fileno(), seconds))
        except (OSError, EOFError, ValueError) as problem:
            raise self._death(process) from problem
        if "error" in answer:
            raise TemplateError(str(answer["error"]))
        return answer  # type: ignore[no-any-return]

    def _read(self, source: int, seconds: float) -> bytes:
        """Raises EOFError when the process ended, TimeoutError when it is silent, ValueError for nonsense."""
        ready = select.poll()
        ready.register(source, select.POLLIN)
        if not ready.poll((seconds + GRACE_SECONDS) * 1000):
            raise TimeoutError("silent")
        (length,) = LENGTH.unpack(read_exactly(source, LENGTH.size))
        if length > LARGEST_ANSWER:
            raise ValueError("an answer too large")
        return read_exactly(source, length)

    def _death(self, process: subprocess.Popen[bytes]) -> TemplateError:
        """What is said when the process ended instead of answering; nothing of it is left."""
        try:
            code = process.wait(0.5)
        except subprocess.TimeoutExpired:
            code = -signal.SIGALRM
        self._ended()
        why = ENDED_BY.get(signal.Signals(-code)) if code < 0 else None
        return too_costly(why or f"its process ended ({code})")

    def _ended(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = None


def read_exactly(source: int, count: int) -> bytes:
    pieces: list[bytes] = []
    while count:
        piece = os.read(source, min(count, 1 << 20))
        if not piece:
            raise EOFError("the process ended")
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def end(process: subprocess.Popen[bytes]) -> None:
    """End the process if it runs, and take note of its end, so that the system forgets it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # what was not sent any more is not missed
                pipe.close()
