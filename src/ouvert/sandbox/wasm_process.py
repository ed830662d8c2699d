"""The process of one Python cell at level `wasm`, from outside. Nothing in it is of one system."""

import json
import os
import queue
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from ouvert.sandbox.error import BoxError
from ouvert.sandbox.found import Level
from ouvert.sandbox.mounts import DATA, INSIDE
from ouvert.sandbox.outcome import Died, Interrupted, Output, Text
from ouvert.sandbox.starting import ENDINGS, NOBODY, PYTHON_WORDS, Place

GRACE_SECONDS = 3.0  # from the end of the time to the end of the process, where the code waits for the system
READY_SECONDS = 30.0
MOST_REPLY = 2 << 20  # bytes: a status
MOST_OUTPUT = 16 << 20  # bytes of one write
MEMORY = 4 << 30  # bytes that WebAssembly of 32 bits can address


def host_command() -> tuple[str, ...]:
    """How the command of every such process begins. Raises nothing."""
    return (sys.executable, *PYTHON_WORDS, str(INSIDE / "wasm_host.py"))


class WasmProcess:
    """CPython in WebAssembly, in a process of its own. Ends when this process does: its input then closes."""

    level = Level.WASM

    def __init__(self, place: Place) -> None:
        """Starts it, and waits until it is ready. Raises BoxError."""
        self._place = place
        self._events: queue.SimpleQueue[tuple[bytes, dict[str, Any]]] = queue.SimpleQueue()
        self._text = Text()
        self._taking = threading.Lock()
        self._number = 0
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the box
                [*host_command(), str(place.view.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={} if sys.platform != "win32" else {"SYSTEMROOT": os.environ.get("SYSTEMROOT", "")},
                cwd=place.view.folder,
                start_new_session=True,
            )
        except OSError as problem:
            raise not_ready(str(problem)) from problem
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        self._send(settings(place))
        kind, facts = self._next(READY_SECONDS)
        if kind != b"r":
            self.close()
            raise not_ready(str(facts.get("reason") or f"it was not ready within {READY_SECONDS:g} seconds"))

    def run(self, code: str, seconds: float) -> Output | Interrupted | Died:
        """As `Cell.run`; code whose time is up is ended with its process, never interrupted. Raises nothing."""
        begun = time.monotonic()
        with self._taking:
            self._text = Text()
        self._number += 1
        self._send({"code": code, "seconds": max(seconds, 0.001), "number": self._number})
        kind, facts = self._next(seconds + GRACE_SECONDS)
        if kind == b"r" and facts.get("number") == self._number:
            with self._taking:
                shown, left_out = self._text.cut()
            took = time.monotonic() - begun
            return Output(shown, (), facts.get("status") != "done", left_out, took, self.level)
        self.kill()
        reason = str(facts.get("reason", "what it answered was no answer" if kind == b"r" else "time"))
        if reason == "time":
            reason = f"it was ended after {seconds:g} seconds, since code in WebAssembly cannot be interrupted"
        with self._taking:
            shown, left_out = self._text.cut()
        why = f"The Python process is gone: {ENDINGS.get(reason, reason)}. "
        why += "Its variables are lost; files in its folder are kept."
        return Died(why, shown, left_out, time.monotonic() - begun, self.level)

    def kill(self) -> None:
        """End it, and wait until it has. Safe to call twice, and from any thread. Raises nothing."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it, and let go of its pipes. Raises nothing."""
        self.kill()
        assert self._process.stdin is not None  # noqa: S101 - made as a pipe
        with suppress(OSError):
            self._process.stdin.close()

    def _send(self, request: dict[str, Any]) -> None:
        body = json.dumps(request).encode()
        assert self._process.stdin is not None  # noqa: S101 - made as a pipe
        with suppress(OSError, ValueError):  # it is gone, which `_next` finds out
            self._process.stdin.write(struct.pack("<I", len(body)) + body)
            self._process.stdin.flush()

    def _next(self, seconds: float) -> tuple[bytes, dict[str, Any]]:
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return b"", {}

    def _listen(self, source: IO[bytes]) -> None:
        """Takes what the process says until it ends."""
        with source:
            while len(head := source.read(5)) == 5:
                kind, length = head[:1], struct.unpack("<I", head[1:])[0]
                if length > (MOST_OUTPUT if kind == b"o" else MOST_REPLY):
                    break
                body = source.read(length)
                if kind == b"o":
                    with self._taking:
                        self._text.feed(body)
                    continue
                try:
                    facts = json.loads(body)
                except ValueError:
                    facts = None
                self._events.put((kind, facts if isinstance(facts, dict) else {}))
        self._events.put((b"e", {"reason": "asked"}))


def settings(place: Place) -> dict[str, Any]:
    """What wasm_host.py is told. Raises BoxError for a file in `read_only`: only folders can be shown."""
    for each in place.view.shown:
        if not each.is_dir():
            raise BoxError(
                f"opening a box: {each} is a file, expected a folder to show at level wasm. Put it into the box's "
                "folder, or show the folder that it is in."
            )
    spec = find_spec("wasmtime")
    packages = [str(Path(spec.origin).parent.parent)] if spec is not None and spec.origin else []
    return {
        "component": str(place.component),
        "packages": packages,
        "folder": str(place.view.folder),
        "data": DATA,
        "read_only": [str(each) for each in place.view.shown],
        "memory": min(place.limits.memory, MEMORY),
        "disk": place.limits.disk,
        "user": NOBODY if sys.platform != "win32" and os.geteuid() == 0 else None,
    }


def not_ready(why: str) -> BoxError:
    return BoxError(
        f"starting a Python cell in WebAssembly: {why}. Expected a cell within a second. `ouvert box` says what holds "
        "on this machine; `ouvert box prepare --again` builds the component anew."
    )
