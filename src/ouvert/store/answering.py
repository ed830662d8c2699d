"""Whether a server on this machine is writing an answer that somebody waits for: what long work gives way to.

Each process that answers holds a lock on a file of its own while it does; whoever asks tries these locks. A process
that is killed lets go of its lock.
"""

import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER = "answering"
PATIENCE = 0.05  # seconds: whoever asks holds a lock for microseconds


class Answering:
    """One process's side of it. Making one creates nothing. May be used from any thread; its methods raise nothing:
    where the store cannot be written, nobody is told, and answers are written all the same."""

    def __init__(self, home: Path) -> None:
        self._path = home / FOLDER / f"{os.getpid()}-{secrets.token_hex(4)}.lock"
        self._held: FileLock | None = None
        self._count, self._lock = 0, threading.Lock()

    def begin(self) -> None:
        """An answer begins."""
        with self._lock:
            self._count += 1
            if self._held is None:
                with suppress(OSError, Timeout):
                    self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    lock = FileLock(self._path, mode=0o600, thread_local=False)
                    lock.acquire(timeout=PATIENCE, poll_interval=0.001)
                    self._held = lock

    def end(self) -> None:
        """It is over."""
        with self._lock:
            self._count -= 1
            if not self._count and self._held is not None:
                with suppress(OSError):
                    self._held.release()
                    self._path.unlink(missing_ok=True)
                self._held = None


def somebody_is_answered(home: Path) -> bool:
    """Whether a process is writing an answer now. Raises nothing."""
    for path in (home / FOLDER).glob("*.lock"):
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            continue
        with suppress(OSError):
            path.unlink(missing_ok=True)  # of a process that was killed
            lock.release()
    return False
