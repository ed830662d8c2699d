"""A run's record: one event a line, each with the digest of the line before it (docs/formats/agent-run.md).

The record is the state of a run. An event is on the disk before anything follows from it.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ouvert.agents.error import AgentError

EVENTS = "events.jsonl"
VERSION = 1
Kind = Literal["task", "answer", "warned", "ask", "verdict", "started", "result", "refused", "stopped"]
OWN = ("n", "event", "at", "previous")  # fields of every event
LARGEST = 1 << 30  # bytes of a record


@dataclass(frozen=True, slots=True)
class Event:
    """`n`: from 0. `facts`: what is particular to its kind."""

    n: int
    kind: Kind
    at: str
    facts: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.facts[name]


class EventLog:
    """The events of one run, in a file that is only appended to. One process writes at a time: `Run` sees to that."""

    def __init__(self, path: Path, *, mend: bool = False) -> None:
        """Reads what is there, but for a line that is not whole. `mend`: such a line is set aside; for the one process
        that writes. Raises AgentError for a record that is damaged."""
        self.path = path
        self.events: list[Event] = []
        self.head: str | None = None  # digest of the last line
        self._read(mend)

    def _read(self, mend: bool) -> None:
        try:
            if self.path.stat().st_size > LARGEST:
                raise AgentError(f"reading the run {self.path.parent.name}: its record is larger than 1 GiB.")
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        whole, _, torn = content.rpartition(b"\n")
        for line in whole.split(b"\n") if whole else ():
            self.events.append(self._checked(line))
            self.head = digest_of(line)
        if torn and mend:  # its event was never followed by anything
            self.path.with_name(f"torn-{len(self.events)}").write_bytes(torn)
            os.truncate(self.path, len(content) - len(torn))

    def _checked(self, line: bytes) -> Event:
        number = len(self.events)
        try:
            given = json.loads(line)
            event = Event(given["n"], given["event"], given["at"], {k: v for k, v in given.items() if k not in OWN})
        except (ValueError, KeyError, TypeError) as problem:
            raise self._damaged(number, f"it is no event ({type(problem).__name__})") from None
        if event.n != number or given["previous"] != self.head:
            raise self._damaged(number, "it does not follow the line before it")
        return event

    def _damaged(self, number: int, what: str) -> AgentError:
        return AgentError(
            f"reading the run {self.path.parent.name}: line {number + 1} of {self.path.name} was changed: {what}, "
            "expected the digest of the line before it. What was done from there on is not known; begin a new run."
        )

    def append(self, kind: Kind, **facts: Any) -> Event:
        """Returns when the event is on the disk. Raises OSError where it cannot be, ValueError for what JSON cannot
        say."""
        event = Event(len(self.events), kind, datetime.now(UTC).isoformat(timespec="milliseconds"), facts)
        given = {"n": event.n, "event": kind, "at": event.at, **facts, "previous": self.head}
        line = json.dumps(given, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")
        with open(self.path, "ab", opener=private) as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.events.append(event)
        self.head = digest_of(line)
        return event

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)


def digest_of(line: bytes) -> str:
    return f"sha256:{hashlib.sha256(line).hexdigest()}"


def private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
