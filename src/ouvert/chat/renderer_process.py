"""The other end of `SandboxProcess`: one template, compiled and run for one process that asks.

It reads a length and a pickled request from its standard input and writes a length and JSON to its standard output: the
asking process is trusted, this one is not. It ends when the asking process does, for its input then ends, and while it
computes when its time is up. The bounds are the system's, so they hold in any loop of any library.
"""

import html  # noqa: F401 - markupsafe imports it when it is first needed
import json
import os
import pickle
import resource
import signal
import sys
from contextlib import suppress
from typing import Any

import jinja2.debug  # noqa: F401 - Jinja imports it when something fails

from ouvert.chat.owned_text import plain
from ouvert.chat.renderer import LENGTH, WALL_SECONDS, read_exactly
from ouvert.chat.sandbox import SECONDS, Sandbox, TemplateError, too_costly

CPU_SECONDS = SECONDS + 1  # the sandbox's own clock comes first, and has the better words
FREE_MEMORY = 256 << 20  # beside what Python has taken when it is ready
MEMORY_PER_BYTE = 128  # of a request: the sandbox lets a template make 64 characters for each of the conversation
# Where Linux says how much address space a process has. Other systems keep no bound on it.
STATM = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC) if sys.platform == "linux" else None
WARMING_UP = (
    "{% for m in messages %}{{ m | tojson ~ [m] | string ~ 'x' | urlencode }}{% endfor %}{{ raise_exception('x') }}"
)


def main() -> None:
    """Answer until the input ends."""
    source, target = restrict_process()
    template = pickle.loads(request_from(source))  # noqa: S301 - from the process that started this one
    bound(len(template))
    try:
        sandbox = Sandbox(template)
    except TemplateError as problem:
        answer(target, {"error": str(problem)})
        return
    answer(target, {"variables": sorted(sandbox.variables)})
    while True:
        request = request_from(source)
        bound(len(request))
        answer(target, rendered(sandbox, request))


def rendered(sandbox: Sandbox, request: bytes) -> dict[str, Any]:
    try:
        variables, supplied = pickle.loads(request)  # noqa: S301 - from the process that started this one
        text = sandbox.render(variables, supplied)
    except TemplateError as problem:
        return {"error": str(problem)}
    except MemoryError:
        return {"error": str(too_costly("it takes more memory than any chat template needs"))}
    return {"text": plain(text), "runs": text.runs}


def restrict_process() -> tuple[int, int]:
    """Give up what a template needs nothing of. The ends of the two pipes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(TemplateError):  # Jinja imports some of its parts when they are first needed
        Sandbox(WARMING_UP).render({"messages": [1]}, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    most = 3 if STATM is None else STATM + 1  # what is open now, and nothing else
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return sys.stdin.fileno(), sys.stdout.fileno()


def bound(request: int) -> None:
    """Set the memory and the time that a request of so many bytes may take."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    if STATM is not None:
        now = int(os.pread(STATM, 100, 0).split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = now + FREE_MEMORY + MEMORY_PER_BYTE * request
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def request_from(source: int) -> bytes:
    """The next request. Ends the process where there is none."""
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        (length,) = LENGTH.unpack(read_exactly(source, LENGTH.size))
        return read_exactly(source, length)
    except EOFError:
        raise SystemExit(0) from None


def answer(target: int, facts: dict[str, Any]) -> None:
    body = json.dumps(facts).encode()
    left = memoryview(LENGTH.pack(len(body)) + body)
    while left:
        left = left[os.write(target, left) :]
