"""One SQLite file, encrypted where the extra is installed and a key is given; what is deleted leaves no words in it."""

import importlib.util
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ouvert.documents.error import DocumentError, WrongKey

BUSY_MS = 10_000
SECURE_DELETE = (3, 42)  # the first version whose FTS5 overwrites what is deleted
REMEDY = f"Install it: `{sys.executable} -m pip install apsw-sqlite3mc`."


def encrypts() -> bool:
    """Whether files can be encrypted here: the extra `documents` is installed. Raises nothing."""
    return importlib.util.find_spec("apsw") is not None and bool(_mc_version())


def _mc_version() -> str:
    import apsw

    return str(getattr(apsw, "mc_version", ""))


class Database:
    """A connection. `key`: 32 bytes, or None for a file that is not encrypted.

    Values are given and got as tuples; what SQLite itself finds wrong is raised as DocumentError.
    """

    def __init__(self, path: Path, key: bytes | None = None) -> None:
        """Raises WrongKey where the file is encrypted with another key, DocumentError where it cannot be opened."""
        self.path = path
        self._depth = 0
        if key is not None and not encrypts():
            raise DocumentError(f"opening {path.name}: it is encrypted, and no library that decrypts is here. {REMEDY}")
        self._connection, self._errors = connected(path)
        try:
            if key is not None:
                self._connection.execute("PRAGMA cipher = 'chacha20'")
                self._connection.execute(f'PRAGMA key = "raw:{key.hex()}"')
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute("PRAGMA temp_store = MEMORY")  # what is sorted goes into no file beside
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        except self._errors as problem:
            self._connection.close()
            if "not a database" in str(problem) or "NotADB" in type(problem).__name__:
                raise WrongKey(
                    f"opening {path.name}: the key is not the one it was made with, or the file is damaged. Give the "
                    "passphrase or key file that the collection was made with."
                ) from None
            raise DocumentError(
                f"opening {path.name}: {problem}. Is the file readable, and its disk not full?"
            ) from problem

    @property
    def overwrites(self) -> bool:
        """Whether this SQLite overwrites what is deleted from an index. Raises nothing."""
        version = self.rows("SELECT sqlite_version()")[0][0]
        return tuple(int(part) for part in version.split(".")[:2]) >= SECURE_DELETE

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a statement gives. Raises DocumentError."""
        try:
            return [tuple(row) for row in self._connection.execute(statement, tuple(values)).fetchall()]
        except self._errors as problem:
            raise DocumentError(
                f"{self.path.name}: {problem}. Is its disk full, or is another program holding it? Try again."
            ) from problem

    @contextmanager
    def changing(self) -> Iterator[None]:
        """All of what is done within, or nothing of it. Raises DocumentError."""
        self.rows("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.rows("ROLLBACK")
            raise
        self.rows("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is read within is of one moment, whoever changes it meanwhile. Raises DocumentError."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            self.rows("COMMIT")

    def close(self) -> None:
        """Raises nothing."""
        self._connection.close()


def connected(path: Path) -> tuple[Any, tuple[type[Exception], ...]]:
    """The connection, and what it raises: of the extra's SQLite, or of Python's own."""
    if encrypts():
        import apsw

        try:
            return apsw.Connection(str(path)), (apsw.Error,)
        except apsw.Error as problem:
            raise DocumentError(f"opening {path}: {problem}. Is the folder yours?") from problem
    try:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False), (sqlite3.Error,)
    except sqlite3.Error as problem:
        raise DocumentError(f"opening {path}: {problem}. Is the folder yours?") from problem
