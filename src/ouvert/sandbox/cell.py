"""A stateful Python cell in a box, seen from outside: code in, what it shows out."""

import base64
import json
import os
import selectors
import struct
import threading
import time
from typing import Any

from ouvert.sandbox.error import BoxError
from ouvert.sandbox.found import Level
from ouvert.sandbox.outcome import PIECE, Died, Interrupted, Output, Text
from ouvert.sandbox.starting import Place, Started, start
from ouvert.sandbox.wasm_process import WasmProcess

MOST_REPLY = 32 << 20  # bytes: figures
GRACE_SECONDS = 3.0  # from the interrupt to the end of the process
READY_SECONDS = 30.0
IDLE_SECONDS = 900.0  # without a run: then the process ends by itself, and files stay


class NoReplyError(Exception):
    """What came from inside can be no reply of a cell."""


class Cell:
    """Python that remembers. Made by `Box.cell`. One `run` at a time; `close` ends a run that is going on.
    Making one raises nothing."""

    def __init__(self, place: Place, idle: float = IDLE_SECONDS) -> None:
        self._place, self._idle = place, idle
        self._turn = threading.Lock()
        self._process: CellProcess | WasmProcess | None = None
        self._timer: threading.Timer | None = None
        self._runs, self._forgot = 0, False

    def __enter__(self) -> "Cell":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def level(self) -> Level:
        """How the box is closed. Raises nothing."""
        return self._place.level

    @property
    def forgot(self) -> bool:
        """Whether its process has ended because nobody used it for so long, and with it the variables. It is said once.
        Raises nothing."""
        forgot, self._forgot = self._forgot, False
        return forgot

    def start(self) -> None:
        """Have the process ready before the first `run`, which does it otherwise. Raises BoxError."""
        with self._turn:
            if self._process is None:
                self._process = process_in(self._place)

    def run(self, code: str, seconds: float = 120.0) -> Output | Interrupted | Died:
        """Run code in the cell: what it prints, and its last expression as in a notebook.

        After so many seconds it is interrupted as by Ctrl-C; code that does not stop then is ended with its process.
        Raises BoxError where the process cannot be started.
        """
        with self._turn:
            self._stop_waiting()
            if self._process is None:
                self._process = process_in(self._place)
            result = self._process.run(code, seconds)
            if isinstance(result, Died):
                self._process.close()
                self._process = None
            else:
                self._wait_for_use()
            return result

    def _wait_for_use(self) -> None:
        self._timer = threading.Timer(self._idle, self._end_unused, (self._runs,))
        self._timer.daemon = True
        self._timer.start()

    def _stop_waiting(self) -> None:
        self._runs += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_unused(self, runs: int) -> None:
        """The timer's: nothing where a run goes on, or has been since."""
        if self._turn.acquire(blocking=False):
            try:
                if self._process is not None and runs == self._runs:
                    self._process.close()
                    self._process, self._forgot = None, True
            finally:
                self._turn.release()

    def close(self) -> None:
        """End the process; a `run` in another thread then returns Died. Safe to call twice. Raises nothing."""
        if (process := self._process) is not None:
            process.kill()
        with self._turn:
            self._stop_waiting()
            if self._process is not None:
                self._process.close()
                self._process = None


def process_in(place: Place) -> "CellProcess | WasmProcess":
    """A cell's process at that level, ready. Raises BoxError."""
    return WasmProcess(place) if place.level is Level.WASM else CellProcess(place)


class CellProcess:
    """The process of one cell, from its start to its end."""

    def __init__(self, place: Place) -> None:
        """Starts it, and waits until it is ready. Raises BoxError."""
        self.level = place.level
        self.replies, theirs = os.pipe()
        try:
            self.started: Started = start(place, None, replies=theirs, merged=True)
        except BaseException:
            os.close(self.replies)
            raise
        finally:
            os.close(theirs)
        self.input, self.output, _ = (pipe.fileno() for pipe in self.started.pipes())
        for each in (self.input, self.output, self.replies):
            os.set_blocking(each, False)
        self.got = b""  # of replies, not yet used
        self.number = 0  # of the request that is answered
        try:
            if self.follow(Text(), time.monotonic() + READY_SECONDS) is None:
                raise TimeoutError
        except (TimeoutError, NoReplyError) as problem:
            self.close()
            raise BoxError(
                f"starting a Python cell in a box: it was not ready within {READY_SECONDS:g} seconds, expected a tenth "
                "of one. Try again when this machine is less busy."
            ) from problem

    def kill(self) -> None:
        """End it, from any thread. Raises nothing."""
        self.started.kill()

    def close(self) -> None:
        """End it. Raises nothing."""
        self.started.close()
        if self.replies >= 0:
            os.close(self.replies)
            self.replies = -1

    def run(self, code: str, seconds: float) -> Output | Interrupted | Died:
        begun = time.monotonic()
        text = Text()
        self.number += 1
        request = json.dumps({"code": code, "seconds": max(seconds, 0.001), "number": self.number}).encode()
        try:
            self.send(struct.pack("<I", len(request)) + request, begun + seconds + GRACE_SECONDS)
            reply = self.follow(text, begun + seconds + GRACE_SECONDS)
        except TimeoutError:
            self.started.kill()
            why = f"it did not stop when it was interrupted after {seconds:g} seconds"
            return self.died(why, text, begun)
        except NoReplyError:
            self.started.kill()
            return self.died("what it answered was no answer", text, begun)
        if reply is None:
            self.started.hear(GRACE_SECONDS)
            ended = self.started.ended
            return self.died(ended or f"its process ended with status {self.started.code}", text, begun)
        shown, left_out = text.cut()
        figures = figures_of(reply)
        took = time.monotonic() - begun
        if reply.get("status") == "interrupted":
            return Interrupted(shown, figures, left_out, took, self.level)
        return Output(shown, figures, reply.get("status") != "done", left_out, took, self.level)

    def died(self, why: str, text: Text, begun: float) -> Died:
        shown, left_out = text.cut()
        reason = f"The Python process is gone: {why}. Its variables are lost; files in its folder are kept."
        return Died(reason, shown, left_out, time.monotonic() - begun, self.level)

    def send(self, request: bytes, deadline: float) -> None:
        """Raises TimeoutError if the process does not take it."""
        left = memoryview(request)
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.input, selectors.EVENT_WRITE)
            while left:
                if not waiting.select(deadline - time.monotonic()):
                    raise TimeoutError
                try:
                    left = left[os.write(self.input, left) :]
                except BrokenPipeError:
                    return  # it is gone, and `follow` will find out

    def reply(self) -> dict[str, Any] | None:
        """The reply to the last request, when all of it is there. What else comes from inside is passed over: code in
        the box can write what it likes, and fools nobody with it."""
        while len(self.got) >= 4:
            (length,) = struct.unpack("<I", self.got[:4])
            if length > MOST_REPLY:
                raise NoReplyError
            if len(self.got) < 4 + length:
                break
            body, self.got = self.got[4 : 4 + length], self.got[4 + length :]
            try:
                reply = json.loads(body)
            except ValueError:
                continue
            if isinstance(reply, dict) and reply.get("number") == self.number:
                return reply
        return None

    def follow(self, text: Text, deadline: float) -> dict[str, Any] | None:
        """The reply to what was sent, while what is printed is added to `text`; None if the process is gone.

        Raises TimeoutError, and NoReplyError.
        """
        with selectors.DefaultSelector() as waiting:
            for source in (self.output, self.replies, self.started.control):
                waiting.register(source, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in waiting.select(max(0.0, deadline - time.monotonic()))}
                if not ready:
                    raise TimeoutError
                if self.output in ready and not text.take(self.output):
                    waiting.unregister(self.output)
                if self.replies in ready:
                    piece = os.read(self.replies, PIECE)
                    self.got += piece
                    if (reply := self.reply()) is not None or not piece:
                        while text.take(self.output, until_empty=True):
                            pass
                        return reply
                elif self.started.control in ready:
                    return None
                if time.monotonic() > deadline:
                    raise TimeoutError


def figures_of(reply: dict[str, Any]) -> tuple[bytes, ...]:
    """The figures in a reply; none where it has something else in their place. Raises nothing."""
    listed = reply.get("figures")
    try:
        return tuple(base64.b64decode(each, validate=True) for each in listed) if isinstance(listed, list) else ()
    except (TypeError, ValueError):
        return ()
