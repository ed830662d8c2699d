"""The ledger: every receipt of this owner, one JSON line each, chained. docs/formats/receipt.md is the format.

Any number of threads and processes may append at once. A receipt is in the file whole or not at all: what a process
left half-written when it died is found by the next one, put into a file of its own, and said.
"""

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ouvert.assistant.error import AssistantError
from ouvert.store import open_regular, read_regular

LEDGER = "receipts.jsonl"
CONTENTS = "contents"
TORN = "receipts.torn-"
PATIENCE = 5.0  # seconds to wait for another process that is writing: it needs well under a millisecond
PAUSE = 0.0005
STEP = 1 << 16
SHORTEST = 4  # hexadecimal digits that may stand for a digest


class LedgerError(AssistantError):
    """A receipt that could not be kept, read or found. The message says where, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger. `problem` says what is wrong with it; a line that is no JSON object has no receipt."""

    number: int  # from 1
    digest: str
    receipt: Mapping[str, Any]
    problem: str | None = None


@dataclass(slots=True)
class Checked:
    """A ledger read from end to end. It is whole if there are no `problems`; each names its line."""

    receipts: int = 0
    head: str | None = None  # digest of the last receipt
    problems: list[str] = field(default_factory=list)
    torn_bytes: int = 0  # after the last whole line: a receipt whose writing was cut off
    set_aside: tuple[Path, ...] = ()  # such beginnings, from earlier

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong with it. Raises nothing."""
        return not self.problems


def canonical(facts: Any) -> bytes:
    """The bytes a receipt is kept as, and whose SHA-256 is its digest. Raises ValueError for what JSON cannot say."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def receipt_digest(receipt: Mapping[str, Any]) -> str:
    """ "sha256:<hex>" of the canonical form. Raises ValueError for what JSON cannot say."""
    return digest_of_line(canonical(receipt))


def digest_of_line(line: bytes) -> str:
    return f"sha256:{hashlib.sha256(line).hexdigest()}"


class Ledger:
    """The receipts below one folder. Making one reads and creates nothing, and raises nothing."""

    def __init__(self, folder: Path, *, contents: bool = False, say: Callable[[str], None] | None = None) -> None:
        """`contents`: what was asked and answered is kept as well, beside the receipts. `say` is told of receipts that
        an earlier process did not finish writing; left out, the file they are put into is all there is to see."""
        self.folder = folder  # of the ledger's files
        self.path = folder / LEDGER  # of the receipts, one JSON object a line
        self.keeps_contents = contents  # whether what was said is kept beside the receipts
        self._say = say
        self._lock = threading.Lock()
        self._known: tuple[int, int, str] | None = None  # inode and size of the file, digest of its last line

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(
        self, receipt: Mapping[str, Any], contents: Callable[[], Mapping[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Keep a receipt and return it as it was kept: with `previous`, the digest of the one before it.

        `contents` is called if contents are kept. What was appended survives the end of this process however it comes;
        a machine that loses power may lose the last seconds (docs/formats/receipt.md). Raises LedgerError if it cannot
        be kept; the ledger is then as it was before.
        """
        try:
            with self._lock, self._opened() as file:
                size, previous = self._end(file)
                kept = dict(receipt) if previous is None else {**receipt, "previous": previous}
                line = canonical(kept)
                self._write(file, line + b"\n", size)
                digest = digest_of_line(line)
                self._known = (os.fstat(file).st_ino, size + len(line) + 1, digest)
        except OSError as problem:
            raise LedgerError(
                f"keeping a receipt: {self.path} cannot be written ({problem.strerror}), so this answer's receipt is "
                "not kept; those before it are. Make room or correct the folder's rights, or turn receipts off."
            ) from problem
        if self.keeps_contents and contents is not None:
            self._keep_contents(digest, contents())
        return kept

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """The file, open for reading and appending, and locked."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = open_regular(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, follow=True)
        try:
            with locked(file, self.path):
                yield file
        finally:
            os.close(file)

    def _end(self, file: int) -> tuple[int, str | None]:
        """Where the next line goes, and the digest of the line before. A torn line is put aside first."""
        facts = os.fstat(file)
        if self._known is not None and self._known[:2] == (facts.st_ino, facts.st_size):
            return facts.st_size, self._known[2]
        line, end = last_line(file, facts.st_size)
        if end < facts.st_size:
            self._set_aside(file, end, facts.st_size)
        return end, None if line is None else digest_of_line(line)

    def _set_aside(self, file: int, end: int, size: int) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        path = self.folder / f"{TORN}{stamp}"
        with open(path, "xb", opener=owner_only) as aside:
            aside.write(read_at(file, end, size))
        os.ftruncate(file, end)
        if self._say is not None:
            self._say(
                f"{self.path} ended in {size - end} bytes of a receipt that was never finished (a process was killed, "
                f"or the disk was full). They are in {path}; every receipt before them is whole."
            )

    def _write(self, file: int, data: bytes, size: int) -> None:
        """All of it, or none. Raises OSError."""
        try:
            written = 0
            while written < len(data):
                written += os.write(file, data[written:])
        except BaseException:
            with contextlib.suppress(OSError):  # what is left then ends in no line, and the next one sets it aside
                os.ftruncate(file, size)
            raise

    def _keep_contents(self, digest: str, contents: Mapping[str, Any]) -> None:
        path = self._contents_path(digest)
        partial = path.with_suffix(".partial")
        try:
            path.parent.mkdir(exist_ok=True, mode=0o700)
            with open(partial, "wb", opener=owner_only) as file:
                file.write(canonical({**contents, "receipt": digest}))
            partial.replace(path)
        except OSError as problem:
            partial.unlink(missing_ok=True)
            raise LedgerError(
                f"keeping what was said: {path} cannot be written ({problem.strerror}). The receipt itself is kept. "
                "Make room or correct the folder's rights, or keep receipts without contents."
            ) from problem

    # --- reading ------------------------------------------------------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        """Every whole line, in order, with what is wrong with it. Changes nothing.

        Raises LedgerError if the file cannot be read, or another process does not let go of it.
        """
        before: str | None = None
        for number, line in enumerate(self._lines()[0], 1):
            digest = digest_of_line(line)
            receipt, problem = read_line(line, before, first=number == 1)
            yield Entry(number, digest, receipt, problem)
            before = digest

    def check(self) -> Checked:
        """Whether the chain is whole, and where it is not. Changes nothing. Raises LedgerError as `entries` does."""
        checked = Checked(torn_bytes=self._lines()[1], set_aside=tuple(sorted(self.folder.glob(f"{TORN}*"))))
        for entry in self.entries():
            checked.receipts, checked.head = entry.number, entry.digest
            if entry.problem is not None:
                checked.problems.append(f"line {entry.number}: {entry.problem}")
        return checked

    def find(self, name: str) -> Entry:
        """The receipt called `name`: "last", its number, or its digest or the beginning of that.

        Raises LedgerError for a name of none or of several, and as `entries` does.
        """
        entries = list(self.entries())
        if not entries:
            raise LedgerError(f"{self.path} holds no receipts yet. Every answer of `ouvert run` adds one.")
        if name == "last":
            return entries[-1]
        if name.isdecimal() and int(name) <= len(entries):
            return found_number(entries, int(name))
        wanted = name.removeprefix("sha256:").lower()
        found = [each for each in entries if each.digest.removeprefix("sha256:").startswith(wanted)]
        if len(wanted) < SHORTEST or len(found) != 1:
            raise LedgerError(
                f"finding a receipt: {name!r} names {len(found) if len(wanted) >= SHORTEST else 'none'} of "
                f"{len(entries)} in {self.path}, expected 'last', a number from 1 to {len(entries)}, or at least "
                f"{SHORTEST} digits of one digest. `ouvert receipt list` shows them."
            )
        return found[0]

    def contents(self, digest: str) -> dict[str, Any] | None:
        """What was kept beside the receipt with that digest, if anything. Raises LedgerError if it cannot be read."""
        path = self._contents_path(digest)
        try:
            kept: dict[str, Any] = json.loads(read_regular(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as problem:
            raise LedgerError(f"{path} cannot be read ({problem}). Delete it: the receipt stands without it.") from None
        return kept

    def forget_contents(self, digest: str | None = None) -> int:
        """Remove what was kept beside the receipt with that digest, or beside all of them; the chain stays whole.

        Returns how many had any. Raises LedgerError for what cannot be removed.
        """
        folder = self.folder / CONTENTS
        name = "*" if digest is None else self._contents_path(digest).stem
        gone = 0
        try:
            # Partial ones were left by processes that were killed.
            for path in (*folder.glob(f"{name}.json"), *folder.glob(f"{name}.partial")):
                path.unlink(missing_ok=True)
                gone += path.suffix == ".json"
        except OSError as problem:
            raise LedgerError(
                f"forgetting what was said: {path} cannot be removed ({problem.strerror}). Correct the folder's rights."
            ) from problem
        return gone

    def _contents_path(self, digest: str) -> Path:
        return self.folder / CONTENTS / f"{digest.removeprefix('sha256:')}.json"

    def _lines(self) -> tuple[list[bytes], int]:
        """The whole lines, and how many bytes come after them."""
        try:
            file = open_regular(self.path, follow=True)
        except FileNotFoundError:
            return [], 0
        except OSError as problem:
            raise LedgerError(f"{self.path} cannot be read ({problem.strerror}). Correct its rights.") from problem
        try:
            with locked(file, self.path):
                size = os.fstat(file).st_size
            # Nobody changes what is written: from here on the file may grow, and that is not read.
            *lines, rest = read_at(file, 0, size).split(b"\n")
        finally:
            os.close(file)
        return lines, len(rest)


def found_number(entries: list[Entry], number: int) -> Entry:
    if number < 1:
        raise LedgerError(f"finding a receipt: there is no number {number}, expected 1 to {len(entries)}.")
    return entries[number - 1]


def read_line(line: bytes, before: str | None, *, first: bool) -> tuple[Mapping[str, Any], str | None]:
    """The receipt in a line, and what is wrong with it; `before` is the digest of the line before."""
    try:
        receipt = json.loads(line)
    except ValueError as problem:
        return {}, f"not JSON ({problem})"
    if not isinstance(receipt, dict):
        return {}, f"{type(receipt).__name__}, expected a JSON object"
    previous = receipt.get("previous")
    if first and previous is not None:
        return receipt, f"it continues {previous}, and no line stands before it: the beginning of the file is gone"
    if not first and previous != before:
        return receipt, (
            f"it continues {previous}, and the line before has the digest {before}: that line was changed, or lines "
            "between them were taken out or put in"
        )
    return receipt, None


def last_line(file: int, size: int) -> tuple[bytes | None, int]:
    """The last whole line of a file of `size` bytes, without its end; and where the next one begins."""
    tail = b""
    start = size
    while start > 0:
        step = min(STEP, start)
        start -= step
        tail = read_at(file, start, start + step) + tail
        end = tail.rfind(b"\n")
        if end < 0:
            continue
        before = tail.rfind(b"\n", 0, end)
        if before >= 0 or start == 0:
            return tail[before + 1 : end], start + end + 1
    return None, 0


def read_at(file: int, start: int, stop: int) -> bytes:
    os.lseek(file, start, os.SEEK_SET)
    pieces = []
    while start < stop and (piece := os.read(file, stop - start)):
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


if sys.platform == "win32":

    @contextlib.contextmanager
    def locked(file: int, path: Path) -> Iterator[None]:
        """Holds the ledger alone. Raises LedgerError if another process does not let go of it."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(f"{path}.lock", PATIENCE):
                yield
        except Timeout:
            raise busy(path) from None

else:
    import fcntl

    @contextlib.contextmanager
    def locked(file: int, path: Path) -> Iterator[None]:
        """Holds the ledger alone. Raises LedgerError if another process does not let go of it."""
        # filelock took 0.5 ms here, this takes 2 µs; and the lock goes with the process that held it.
        last = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > last:
                    raise busy(path) from None
                time.sleep(PAUSE)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def busy(path: Path) -> LedgerError:
    return LedgerError(
        f"opening {path}: another process has held it for {PATIENCE:g} s, expected well under a millisecond. "
        "Is one of them stopped? End it; this answer's receipt is not kept."
    )


def recorded(
    ledger: Ledger | None, receipt: dict[str, Any], contents: Callable[[], Mapping[str, Any]]
) -> tuple[dict[str, Any], str | None]:
    """The receipt as it was kept, and why it was not. An answer is not lost because its receipt could not be."""
    if ledger is None:
        return receipt, None
    try:
        return ledger.append(receipt, contents), None
    except LedgerError as problem:
        return receipt, str(problem)
