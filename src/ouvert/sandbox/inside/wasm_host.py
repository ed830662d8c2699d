"""The process around a Python cell of level `wasm`: `python -S -s -P wasm_host.py FOLDER`.

Imports wasmtime and nothing of ours. FOLDER is for whoever looks at a list of processes. On its input come settings,
then requests (a length, then JSON); on its output go pieces: a letter, a length, and what code printed (o), a reply (r)
or why it is over (e). When the input closes, whoever asked is gone, and so is this.
"""

import contextlib
import json
import os
import queue
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any

NICE = 10  # a model that answers goes first
TICK = 0.3  # seconds between two looks at the folder's size
MOST_FILES = 20_000  # in the folder
MOST_REPLY = 1 << 20  # bytes
WAITING_SECONDS = 0.3  # code that waits for the system is not in WebAssembly, and hears of its end later
_writing = threading.Lock()


def engine() -> Any:
    """How code is translated: the same for whoever builds it and whoever runs it."""
    from wasmtime import Config, Engine

    config = Config()
    config.epoch_interruption = True
    return Engine(config)


def main() -> None:
    """Settings in, one component, requests and replies, its end out."""
    source, target = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1):
        os.dup2(nothing, each)
    if sys.platform == "win32":
        import msvcrt

        for each in (source, target):
            msvcrt.setmode(each, os.O_BINARY)
    settings = json.loads(read(source))
    # By its descriptor: what becomes nobody's may not get to its path any more.
    folder = settings["folder"] if sys.platform == "win32" else os.open(settings["folder"], os.O_RDONLY)
    sys.path += settings["packages"]
    try:
        cell = Cell(settings, target)
    except Exception as problem:  # wasmtime raises its own
        over(target, f"failed: {problem}")
    restrict(settings)
    send(target, b"r", json.dumps({"status": "ready", "number": 0}).encode())
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=take, args=(source, target, requests), daemon=True).start()
    threading.Thread(target=watch, args=(folder, settings["disk"], target), daemon=True).start()
    while True:
        send(target, b"r", cell.answer(requests.get()))
        if too_much_on_disk(folder, settings["disk"]):
            over(target, "disk")


class Cell:
    """The component, with one folder and nothing else."""

    def __init__(self, settings: dict[str, Any], target: int) -> None:
        from wasmtime import Store, WasiConfig
        from wasmtime.component import Component, Linker

        self.target = target
        self.engine = engine()
        component = Component.deserialize_file(self.engine, settings["component"])
        linker = Linker(self.engine)
        linker.add_wasip2()
        self.store = Store(self.engine)
        self.store.set_limits(memory_size=settings["memory"])
        self.store.set_epoch_deadline(1)
        wasi = WasiConfig()
        wasi.stdout_custom = wasi.stderr_custom = lambda piece: send(target, b"o", piece)
        wasi.preopen_dir(settings["folder"], settings["data"])
        for path in settings["read_only"]:
            wasi.preopen_dir(path, path, fs_mutable=False)
        self.store.set_wasi(wasi)
        run = linker.instantiate(self.store, component).get_func(self.store, "run")
        if run is None:
            raise RuntimeError("the component has no function run")
        self.run = run

    def answer(self, request: dict[str, Any]) -> bytes:
        """The reply. Where there is none, this process says why and ends."""
        self.store.set_epoch_deadline(1)
        clock = threading.Timer(request["seconds"], self.engine.increment_epoch)
        waits = threading.Timer(request["seconds"] + WAITING_SECONDS, over, (self.target, "time"))
        for each in (clock, waits):
            each.daemon = True
            each.start()
        try:
            reply = str(self.run(self.store, json.dumps(request))).encode("utf-8", "replace")
        except BaseException as problem:  # a trap, an exit, or a fault of what stands between
            over(self.target, reason_of(problem))
        finally:
            clock.cancel()
            waits.cancel()
        clock.join()  # so that it does not end the next request
        if len(reply) > MOST_REPLY:
            over(self.target, "what it answered was no answer")
        return reply


def reason_of(problem: BaseException) -> str:
    """Why a call of the component gave no reply."""
    from wasmtime import ExitTrap, Trap, TrapCode

    if isinstance(problem, ExitTrap):
        return f"its process ended with status {problem.code}"
    code = problem.trap_code if isinstance(problem, Trap) else None
    if code is TrapCode.INTERRUPT or "wasm trap: interrupt" in str(problem):
        return "time"
    if code is TrapCode.STACK_OVERFLOW or "call stack exhausted" in str(problem):
        return "it called itself too deeply"
    return f"it failed within: {str(problem).strip().splitlines()[-1][:200]}"


def restrict(settings: dict[str, Any]) -> None:
    """What the system itself can bound, of the process around."""
    if sys.platform == "win32":
        return
    import resource

    if settings["user"] is not None:  # root's boxes are nobody's
        os.setgroups([])
        os.setgid(settings["user"])
        os.setuid(settings["user"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # a lower one is there already
        resource.setrlimit(resource.RLIMIT_FSIZE, (settings["disk"], settings["disk"]))
    os.nice(NICE)


def take(source: int, target: int, requests: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Requests, as they come; the end of this process when no more can."""
    while True:
        body = read(source)
        if not body:
            os._exit(0)
        requests.put(json.loads(body))


def watch(folder: str | int, most: int, target: int) -> None:
    """Ends this process when its folder is too full."""
    while True:
        threading.Event().wait(TICK)
        if too_much_on_disk(folder, most):
            over(target, "disk")


def too_much_on_disk(folder: str | int, most: int) -> bool:
    size = files = 0
    for each in sizes(folder):
        size, files = size + each, files + 1
        if size > most or files > MOST_FILES:
            return True
    return False


def sizes(folder: str | int) -> Iterator[int]:
    """Of every file and folder below; a file with holes counts as if it had none."""
    if isinstance(folder, str):
        for place, folders, names in os.walk(folder):
            for name in [*folders, *names]:
                with contextlib.suppress(OSError):  # removed in the meantime
                    yield os.lstat(os.path.join(place, name)).st_size
    else:
        for _, folders, names, at in os.fwalk(".", dir_fd=folder):
            for name in [*folders, *names]:
                with contextlib.suppress(OSError):
                    yield os.stat(name, dir_fd=at, follow_symlinks=False).st_size


def over(target: int, reason: str) -> Any:
    """Says why, and ends this process at once, whatever its threads do."""
    with contextlib.suppress(OSError):
        send(target, b"e", json.dumps({"reason": reason}).encode())
    os._exit(0)


def send(target: int, kind: bytes, body: bytes) -> None:
    with _writing:
        left = memoryview(kind + struct.pack("<I", len(body)) + body)
        while left:
            left = left[os.write(target, left) :]


def read(source: int) -> bytes:
    """What comes next; empty where nothing more does."""
    head = exactly(source, 4)
    return exactly(source, struct.unpack("<I", head)[0]) if head else b""


def exactly(source: int, size: int) -> bytes:
    got = b""
    while len(got) < size:
        piece = os.read(source, size - len(got))
        if not piece:
            return b""
        got += piece
    return got


if __name__ == "__main__":
    main()
