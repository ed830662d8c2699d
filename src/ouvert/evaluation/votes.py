"""votes.jsonl of a comparison: what people said of answers whose writers they did not know.

docs/formats/comparison.md has the format. Any number of threads and processes may add votes at once. A vote is in the
file whole or not at all: half a line, left by a process that died, gets a line of its own and is counted as damaged.
"""

import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from filelock import FileLock, Timeout

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.error import EvaluationError
from ouvert.store import open_regular

VOTES = "votes.jsonl"
LOCK = ".votes.lock"
PATIENCE = 10.0  # seconds to wait for others that are adding: each needs a few milliseconds
LONGEST_LINE = 1 << 16  # bytes; nothing that is written here comes near
LONGEST_LABEL, LONGEST_REASON = 1000, 2000  # characters
MOST_SHOWN = 4

# Which answer was the best, from the left; or none was better; or all were bad.
VoteVerdict = Literal["first", "second", "third", "fourth", "tie", "both_bad"]
VERDICTS: tuple[VoteVerdict, ...] = get_args(VoteVerdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One vote. `prompt`: digest of what was asked (of an item, its own); `row` and `item` are empty where the voter
    asked something of their own. `shown`: the contestants' labels, from the left. `answers`: digests of the texts that
    were read. `voter`: a label of their choice, or empty. `seconds`: from when all answers were there to the vote.

    Making one raises EvaluationError for what is no vote.
    """

    prompt: str
    row: str = ""
    item: str = ""
    shown: tuple[str, ...]
    answers: tuple[str, ...]
    verdict: VoteVerdict
    voter: str = ""
    reason: str = ""
    seconds: float

    def __post_init__(self) -> None:
        texts = (self.prompt, self.row, self.item, self.voter, *self.shown, *self.answers)
        fits = (
            2 <= len(self.shown) <= MOST_SHOWN
            and len(set(self.shown)) == len(self.shown) == len(self.answers)
            and self.verdict in (*VERDICTS[: len(self.shown)], "tie", "both_bad")
            and all(isinstance(text, str) and len(text) <= LONGEST_LABEL for text in texts)
            and isinstance(self.reason, str)
            and len(self.reason) <= LONGEST_REASON
            and isinstance(self.seconds, float | int)
            and 0 <= self.seconds < float("inf")
        )
        if not fits:
            raise EvaluationError(
                f"reading a vote: given {str(self)[:200]}, expected two to {MOST_SHOWN} labels and answers, a verdict "
                f"about them ({', '.join(VERDICTS)}), texts of at most {LONGEST_LABEL} characters (a reason: "
                f"{LONGEST_REASON}) and seconds from 0. docs/formats/comparison.md has the format."
            )

    @classmethod
    def from_json(cls, stated: Mapping[str, Any]) -> Self:
        """Raises EvaluationError for what is no vote."""
        try:
            listed = {name: tuple(stated[name]) for name in ("shown", "answers")}
            return cls(**{**stated, **listed})
        except (KeyError, TypeError) as problem:
            raise EvaluationError(
                f"reading a vote: {problem!s:.200}. docs/formats/comparison.md has its fields."
            ) from problem

    @property
    def best(self) -> str | None:
        """The label of the answer that was the best; None for a tie, and where all were bad. Raises nothing."""
        return None if self.verdict in ("tie", "both_bad") else self.shown[VERDICTS.index(self.verdict)]


class VoteFile:
    """The votes of one folder. May be used from several threads, beside other processes."""

    def __init__(self, folder: Path) -> None:
        """Reads and makes nothing, and raises nothing."""
        self.path = folder / VOTES
        self._lock, self._others = threading.Lock(), FileLock(folder / LOCK, PATIENCE, mode=0o600)
        self._read_to = 0
        self._votes: list[Vote] = []
        self._voted: set[tuple[str, str]] = set()
        self._damaged = 0

    def votes(self) -> Sequence[Vote]:
        """All votes in the order in which they came. Raises EvaluationError where the file cannot be read."""
        with self._lock:
            self._catch_up()
            return tuple(self._votes)

    @property
    def damaged(self) -> int:
        """Lines that are no votes, of those read so far. Raises nothing."""
        return self._damaged

    def add(self, vote: Vote) -> bool:
        """Whether it was kept: a voter with a label votes once on a prompt. Kept votes survive the end of this process.

        Raises EvaluationError where it cannot be kept; the file is then as it was.
        """
        try:
            with self._lock, self._others:
                self._catch_up()
                if vote.voter and (vote.voter, vote.prompt) in self._voted:
                    return False
                self._append(canonical_json(vote) + b"\n")
                self._catch_up()
                return True
        except (OSError, Timeout) as problem:
            why = getattr(problem, "strerror", None) or "others were adding votes all the time"
            raise EvaluationError(
                f"keeping a vote: {self.path} cannot be written ({why}), so this vote is not kept; those before it "
                "are. Make room or correct the folder's rights, and vote again."
            ) from problem

    def _append(self, line: bytes) -> None:
        file = open_regular(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            size = os.fstat(file).st_size
            os.lseek(file, max(0, size - 1), os.SEEK_SET)
            is_torn = os.read(file, 1) not in (b"", b"\n")
            whole = (b"\n" if is_torn else b"") + line
            try:
                if os.write(file, whole) != len(whole):
                    raise OSError(28, "there is no room")
                os.fsync(file)
            except OSError:
                os.ftruncate(file, size)  # nobody else adds meanwhile
                raise
        finally:
            os.close(file)

    def _catch_up(self) -> None:
        """Read what was added since, up to the last whole line."""
        try:
            for line, end in lines_from(self.path, self._read_to):
                self._read_to = end
                self._take(line)
        except FileNotFoundError:
            return
        except OSError as problem:
            raise EvaluationError(
                f"reading votes: {self.path} cannot be read ({problem.strerror}), expected the file that "
                "`ouvert compare open` writes. Put it back, or move it away to begin anew."
            ) from problem

    def _take(self, line: bytes | None) -> None:
        try:
            vote = Vote.from_json(json.loads(line or b""))
        except (ValueError, RecursionError, EvaluationError):
            self._damaged += 1
            return
        self._votes.append(vote)
        self._voted.add((vote.voter, vote.prompt))


def lines_from(path: Path, start: int) -> Iterator[tuple[bytes | None, int]]:
    """(line, where it ends) of every whole line from there on; None for one that is longer than LONGEST_LINE."""
    with open(open_regular(path), "rb") as file:
        file.seek(start)
        while piece := file.readline(LONGEST_LINE):
            fits = piece.endswith(b"\n")
            while piece and not piece.endswith(b"\n"):
                piece = file.readline(LONGEST_LINE)
            if not piece:
                return  # its end has not been written
            yield (piece if fits else None), file.tell()
