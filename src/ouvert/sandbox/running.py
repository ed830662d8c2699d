"""One program, run in a box to its end, or a long-lived one with pipes."""

import os
import selectors
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ouvert.sandbox.found import Level
from ouvert.sandbox.starting import Place, Started, start

PIECE = 65536


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program in a box ended. `ended`: "" if by itself, otherwise why it was ended; `code` is then None.

    `code`: the exit status as `subprocess` has it, negative for a signal.
    """

    code: int | None
    stdout: bytes
    stderr: bytes
    ended: str
    seconds: float
    level: Level

    @property
    def succeeded(self) -> bool:
        """Whether it ended by itself with status 0. Raises nothing."""
        return self.code == 0 and not self.ended


class Running:
    """A long-lived program in a box, with its three pipes. Ends with the context, with `kill`, or with this process.
    Making one raises nothing."""

    def __init__(self, started: Started, level: Level) -> None:
        self._started = started
        self.level = level
        self.stdin, self.stdout, self.stderr = started.pipes()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def alive(self) -> bool:
        """Whether it still runs. Raises nothing."""
        return self._started.process.poll() is None

    def wait(self) -> tuple[int | None, str]:
        """(exit status, why it was ended: "" if by itself), when it has ended. Raises nothing."""
        self._started.hear()
        return self._started.code, self._started.ended or ""

    def kill(self) -> None:
        """End it, and all that it started. Safe to call twice. Raises nothing."""
        self._started.close()


def run(
    place: Place,
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    seconds: float = 30.0,
    output: int = 16 << 20,
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run a program to its end, within so many seconds and bytes of output. Raises BoxError where it cannot start."""
    begun = time.monotonic()
    started = start(place, argv, env=env)
    got = (b"", b"")
    try:
        got, why = pump(started, stdin, begun + seconds, output)
        if not why:
            started.hear(max(0.01, begun + seconds - time.monotonic()))
    except TimeoutError:  # it closed its output, and went on
        why = "time"
    finally:
        started.close()
    if why == "time":
        why = f"it took more than {seconds:g} seconds"
    elif why == "output":
        why = f"it wrote more than {output:,} bytes"
    code = None if why else started.code
    return Finished(code, *got, why or started.ended or "", time.monotonic() - begun, place.level)


def pump(started: Started, stdin: bytes, deadline: float, most: int) -> tuple[tuple[bytes, bytes], str]:
    """What the program wrote to stdout and stderr, and why it has to be ended: "time", "output"; "" if it is over."""
    target, *sources = started.pipes()
    got = {each: bytearray() for each in sources}
    left = memoryview(stdin)
    with selectors.DefaultSelector() as waiting:
        for pipe in got:
            waiting.register(pipe, selectors.EVENT_READ)
        os.set_blocking(target.fileno(), False)
        waiting.register(target, selectors.EVENT_WRITE)
        why = ""
        while any(each.fileobj in got for each in waiting.get_map().values()):
            if (now := time.monotonic()) >= deadline:
                why = "time"
                break
            for key, _ in waiting.select(deadline - now):
                if key.fileobj is target:
                    left = written(key.fd, left)
                    if not left:
                        waiting.unregister(target)
                        with suppress(BrokenPipeError):
                            target.close()
                    continue
                piece = os.read(key.fd, PIECE)
                got[key.fileobj] += piece  # type: ignore[index]
                if not piece:
                    waiting.unregister(key.fileobj)
            if sum(map(len, got.values())) > most:
                why = "output"
                break
    stdout, stderr = got.values()
    return (bytes(stdout[:most]), bytes(stderr[:most])), why


def written(descriptor: int, left: memoryview) -> memoryview:
    """What is still to be written after as much as the pipe takes; nothing if nobody reads it."""
    try:
        return left[os.write(descriptor, left[:PIECE]) :]
    except BrokenPipeError:
        return left[:0]
    except BlockingIOError:
        return left
