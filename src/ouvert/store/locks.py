"""What keeps two processes from changing the same model, or the store itself, at once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from filelock import FileLock, Timeout

from ouvert.store.error import StoreError
from ouvert.store.progress import Progress

LOOK_AGAIN_SECONDS = 0.1  # how often a lock that another process holds is looked at


class Locks:
    """The folder of empty files that processes lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def model(self, name: str, progress: Progress) -> Iterator[None]:
        """Only one process at a time changes the model called `name`; none starts while the store is swept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path(name))
        while not self._starts(lock):
            progress.say(f"another process is fetching or removing {name}: waiting for it")
            while self.is_held(name):
                progress.require_wanted()
                time.sleep(LOOK_AGAIN_SECONDS)
        try:
            yield
        finally:
            lock.release()

    def store(self) -> FileLock:
        """Held for moments: while a record is written, or something is deleted."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / "store.lock")

    def require_no_fetch(self) -> None:
        """Raise StoreError if a model is being fetched. The caller holds the store's lock, so none starts meanwhile."""
        for path in self.folder.glob("model-*.lock"):
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout as problem:
                name = unquote(path.stem.removeprefix("model-"))
                raise StoreError(f"{name} is being fetched: try again when that is done.") from problem
            lock.release()

    def is_held(self, name: str) -> bool:
        """Whether a process is changing the model called `name` now. The caller does not hold the store's lock."""
        path = self._path(name)
        if not path.exists():
            return False
        lock = FileLock(path)
        if not self._starts(lock):
            return True
        lock.release()
        return False

    def _path(self, name: str) -> Path:
        return self.folder / f"model-{quote(name, safe='')}.lock"

    def _starts(self, lock: FileLock) -> bool:
        """Take a model's lock if it is free."""
        with self.store():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
        return True
