"""The adapters on this machine: a folder each, with its record. docs/formats/adapter.md says what is in them."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from uuid import uuid4

from filelock import FileLock, Timeout

from ouvert.store.error import StoreError
from ouvert.store.jobs.private_files import write_json, write_whole

# Of adapters and releases alike: not checked; checked, and no regression found; checked, with a regression; let through
# by the release gate. Whatever is not the last is shown as *not gated* besides.
State = Literal["unchecked", "checked", "regression", "gated"]
STATES: tuple[State, ...] = get_args(State)

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
RECORD = "ouvert.json"
ALLOWED = "allowed.jsonl"  # who let an adapter be served although its check found a regression, and why
RUN = "run"  # the folder of what it was made with
FILLED = ".filled"  # of the empty file that whoever fills a hidden folder keeps locked
HIDDEN = re.compile(r"\.[a-z0-9][a-z0-9_.-]{0,63}\.[0-9a-f]{32}")  # .NAME.HEX: not whole yet, or being deleted
FORMAT = 1


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """What is known of one adapter. `facts` is its ouvert.json, whole (docs/formats/adapter.md)."""

    name: str
    path: Path
    facts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """That of its numbers, "sha256:<hex>" (packed.Adapter.digest). Raises nothing."""
        return str(self.facts["digest"])

    @property
    def base(self) -> Mapping[str, Any]:
        """Of the model that it was made for: `name`, `weights` (their digest), `tokenizer`, `format`. Raises
        nothing."""
        base: Mapping[str, Any] = self.facts["base"]
        return base

    @property
    def base_name(self) -> str:
        """What its base was called when it was made; where its record has lost that, the digest of the weights in
        short. Raises nothing."""
        name = self.base.get("name")
        return name if isinstance(name, str) and name.strip() else f"unnamed ({self.base['weights']:.19}…)"

    @property
    def state(self) -> State:
        """Raises nothing."""
        state: State = self.facts["state"]
        return state

    @property
    def bound_to(self) -> tuple[str, str]:
        """What its state is of: its numbers, and all of its base but for what that is called. Raises nothing."""
        named = {name: value for name, value in self.base.items() if name not in ("name", "family")}
        return self.digest, json.dumps(named, sort_keys=True)

    @property
    def made(self) -> str:
        """When, ISO 8601; "" where that is not known. Raises nothing."""
        return str(self.facts.get("made", ""))

    @property
    def size(self) -> int:
        """Bytes of its folder, checkpoints included. Raises nothing."""
        return size_of_folder(self.path)


def shown_state(state: State) -> str:
    """As people are told: whatever the release gate did not let through is not gated besides. Raises nothing."""
    return state if state == "gated" else f"{state}, not gated"


def state_together(states: Sequence[State]) -> State:
    """That of several adapters at once: nobody has checked them together. Raises nothing."""
    if len(states) == 1:
        return states[0]
    return "regression" if "regression" in states else "unchecked"


class Adapters:
    """The adapters below the store's folder. Making one raises nothing, and creates nothing."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "adapters"
        self._read: dict[str, tuple[tuple[int, int, int], AdapterRecord]] = {}  # by name: which file, what is in it

    def names(self) -> tuple[str, ...]:
        """Their names, sorted. Raises nothing."""
        return tuple(sorted(path.parent.name for path in self.folder.glob(f"[!.]*/{RECORD}")))

    def record(self, name: str) -> AdapterRecord:
        """Raises StoreError if there is none of that name, and for a record that cannot be understood."""
        path = self._place(name)
        try:
            seen = (path / RECORD).stat()
            version = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
            kept = self._read.get(name)
            if kept is None or kept[0] != version:
                facts = json.loads((path / RECORD).read_text(encoding="utf-8"))
                kept = self._read[name] = (version, AdapterRecord(name, path, checked(name, path / RECORD, facts)))
        except FileNotFoundError:
            known = ", ".join(self.names()) or "none yet"
            raise StoreError(
                f"there is no adapter {name!r} on this machine (there are: {known}). `ouvert tune MODEL DATA --name "
                f"{name}` makes one, `ouvert adapter import PATH --name {name}` brings one."
            ) from None
        except (OSError, ValueError) as problem:
            raise StoreError(
                f"the record of the adapter {name!r}, {path / RECORD}, cannot be read: {problem}. Remove the adapter "
                f"(`ouvert adapter remove {name}`), and make or import it again."
            ) from problem
        return kept[1]

    def readable(self) -> tuple[AdapterRecord, ...]:
        """Those whose record can be understood, by name. Raises nothing."""
        found = []
        for name in self.names():
            try:
                found.append(self.record(name))
            except StoreError:
                continue  # `ouvert adapter list` says what is wrong with it, and so does using it
        return tuple(found)

    def with_digest(self, digest: str) -> AdapterRecord | None:
        """The first whose numbers have this digest, by whatever name it goes now. Raises nothing."""
        return next((each for each in self.readable() if each.digest == digest), None)

    def made_for(self, model: str, weights: str | None, names: Sequence[str]) -> tuple[AdapterRecord, ...]:
        """The records of these adapters, once each is known to be made for the model called `model`.

        `weights`: the digest of its weights; None where it is not known: then that is not compared. Raises StoreError
        for a name that is none, one that is there twice, and an adapter of other weights.
        """
        found = tuple(self.record(name) for name in names)
        if twice := [name for n, name in enumerate(names) if name in names[:n]]:
            raise StoreError(
                f"{model} with {'+'.join(names):.200}: the adapter {twice[0]} is named twice, expected once. Leave one "
                "out."
            )
        for each in found:
            if weights is not None and each.base["weights"] != weights:
                raise StoreError(
                    f"the adapter {each.name} was made for {each.base_name} with the weights "
                    f"{each.base['weights']}, and {model} has {weights}: on other weights its numbers mean nothing. "
                    f"Use it with its own model, or make one for this: `ouvert tune {model} DATA`."
                )
        return found

    def put(self, name: str, write: Callable[[Path], None], *, replace: bool = False) -> Path:
        """Keep the folder that `write(folder)` fills under `name`, whole or not at all. Returns it.

        Raises StoreError for a name that cannot be one or, without `replace`, is taken; what `write` raises, and
        OSError if the disk takes no more.
        """
        path = self._place(name)
        if path.exists() and not replace:
            raise taken(name, removed=name in self.left())
        self.sweep()
        with self._filling(name) as partial:
            write(partial)
            with self._lock():
                if path.exists() and not replace:
                    raise taken(name, removed=name in self.left())
                if path.exists():
                    delete(self._aside(path))
                partial.rename(path)
        return path

    @contextmanager
    def _filling(self, name: str) -> Iterator[Path]:
        """A hidden folder that nobody sweeps while this process lives and fills it."""
        partial = self.folder / f".{name}.{uuid4().hex}"
        held = FileLock(f"{partial}{FILLED}", thread_local=False)
        with self._lock():  # nobody sweeps between the lock's file and the lock
            held.acquire(timeout=0)
            partial.mkdir(mode=0o700)
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            Path(held.lock_file).unlink(missing_ok=True)
            held.release()

    def abandoned(self) -> tuple[Path, ...]:
        """What killed writers left here: hidden folders that no living process fills, and their locks. Raises
        nothing."""
        hidden = [path for path in self.folder.glob(".*.*") if HIDDEN.fullmatch(path.name.removesuffix(FILLED))]
        if not hidden:
            return ()
        try:
            with self._lock():
                return tuple(sorted(path for path in hidden if path.exists() and not is_filled(path)))
        except OSError:
            return ()  # a store that cannot be written

    def sweep(self) -> tuple[Path, ...]:
        """Delete that; what cannot be deleted stays. Returns what is gone. Raises nothing."""
        found = self.abandoned()
        for path in found:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        return tuple(path for path in found if not path.exists())

    def note(self, name: str, digest: str, **changes: Any) -> AdapterRecord:
        """Write fields of a record anew: `state`, `check`, whatever became known of the numbers with this digest. Of
        the same numbers under another name it is known, too.

        Raises StoreError if there is no such adapter, or the name has gone to other numbers meanwhile; OSError if it
        cannot be written.
        """
        with self._lock():
            kept = self.record(name)
            if kept.digest != digest:
                raise StoreError(
                    f"noting {', '.join(changes)} of the adapter {name}: its numbers are {kept.digest} now, expected "
                    f"{digest}. Another adapter has its name; do it again for that one."
                )
            for each in self.same_as(kept):
                facts = checked(each.name, each.path / RECORD, {**each.facts, **changes})
                write_json(each.path / RECORD, facts)
        return self.record(name)

    def same_as(self, record: AdapterRecord) -> tuple[AdapterRecord, ...]:
        """The adapters with the same numbers for the same base, itself among them. Raises nothing."""
        return tuple(each for each in self.readable() if each.bound_to == record.bound_to)

    def left(self) -> tuple[str, ...]:
        """Names of adapters that were removed and whose runs were kept, sorted. Raises nothing."""
        return tuple(
            sorted(path.parent.name for path in self.folder.glob(f"[!.]*/{RUN}") if not (path.parent / RECORD).exists())
        )

    def remove(self, name: str, *, with_run: bool = False) -> int:
        """Delete it, readable or not. Its run (recipe, metrics, checkpoints, copies of data) stays under its name,
        unless `with_run`. Returns the bytes that were freed. Raises StoreError if there is none."""
        path = self._place(name)
        with self._lock():
            if not path.exists() or not ((path / RECORD).exists() or with_run):
                self.record(name)  # StoreError, with the names that there are
            size = size_of_folder(path)
            if (path / RUN).is_dir() and not with_run:
                size -= size_of_folder(path / RUN)
                aside = self._aside_but_run(path)
            else:
                aside = self._aside(path)
        delete(aside)
        return size

    def allow(self, record: AdapterRecord, reason: str) -> None:
        """Note that its owner has it served although a check found a regression. Raises OSError."""
        line = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "adapter": record.name,
            "digest": record.digest,
            "state": record.state,
            "reason": reason,
        }
        with self._lock():
            path = self.folder / ALLOWED
            before = path.read_bytes() if path.exists() else b""
            write_whole(path, [before, json.dumps(line, ensure_ascii=False).encode() + b"\n"])

    def allowed(self, digest: str) -> tuple[Mapping[str, Any], ...]:
        """What was noted of the adapter with these numbers, the oldest first. Raises nothing: a line that cannot be
        read is left out."""
        try:
            lines = (self.folder / ALLOWED).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return ()
        found = []
        for line in lines:
            try:
                noted = json.loads(line)
            except ValueError:
                continue
            if isinstance(noted, dict) and noted.get("digest") == digest:
                found.append(noted)
        return tuple(found)

    def _lock(self) -> FileLock:
        """Held for moments: while a folder gets its name or loses it, or a record is written."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return FileLock(self.folder / ".lock")

    def _aside_but_run(self, path: Path) -> Path:
        """The run never leaves its place: hidden folders are swept, and a kill may come at any moment. The record goes
        first: from then on there is no such adapter."""
        aside = path.with_name(f".{path.name}.{uuid4().hex}")
        aside.mkdir(mode=0o700)
        for each in sorted(path.iterdir(), key=lambda place: place.name != RECORD):
            if each.name != RUN:
                each.rename(aside / each.name)
        return aside

    def _aside(self, path: Path) -> Path:
        return path.rename(path.with_name(f".{path.name}.{uuid4().hex}"))

    def _place(self, name: str) -> Path:
        require_adapter_name(name)
        return self.folder / name


def require_adapter_name(name: str) -> None:
    """Raises StoreError for what an adapter cannot be called."""
    if not is_adapter_name(name):
        precision = f" A precision stands before it: MODEL@8+{name.partition('@')[0]:.64}." if "@" in name else ""
        raise StoreError(
            f"an adapter cannot be called {name!r:.80}: expected small letters, digits, '.', '_' and '-', 64 at "
            f"most, beginning with a letter or digit.{precision}"
        )


def write_record(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the record into a folder that `put` fills. Raises StoreError for facts that are none, and OSError."""
    write_json(folder / RECORD, checked(folder.name, folder / RECORD, dict(facts)))


def is_adapter_name(name: str) -> bool:
    """Whether an adapter can be called so. Raises nothing."""
    return NAME.fullmatch(name) is not None


def taken(name: str, *, removed: bool) -> StoreError:
    """`removed`: it is gone, but its run was kept."""
    if removed:
        return StoreError(
            f"an adapter {name!r} was removed here, and its run was kept, expected a name that nothing has. Choose "
            f"another, or delete that first: `ouvert adapter remove {name} --with-data`."
        )
    return StoreError(
        f"there is an adapter {name!r} on this machine already. Choose another name, or remove it first: "
        f"`ouvert adapter remove {name}`."
    )


def checked(name: str, path: Path, facts: Any) -> Mapping[str, Any]:
    """A record as it was read or is to be written. Raises StoreError for one that is of another form."""
    whole = isinstance(facts, dict) and facts.get("adapter") == FORMAT and facts.get("state") in STATES
    base = facts.get("base") if isinstance(facts, dict) else None
    digests = (facts.get("digest"), base.get("weights")) if whole and isinstance(base, dict) else (None,)
    if not all(isinstance(each, str) for each in digests):
        raise StoreError(
            f"the record of the adapter {name!r}, {path}, is of another form than {FORMAT}, or damaged. Take the "
            "version of Ouvert that wrote it, or remove the adapter and import it again."
        )
    return dict(facts)


def is_filled(hidden: Path) -> bool:
    """Whether a process fills this hidden folder, or the one whose lock this is. The caller holds the lock of all."""
    place = hidden if hidden.name.endswith(FILLED) else hidden.with_name(hidden.name + FILLED)
    if not place.exists():
        return False
    lock = FileLock(place)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def delete(folder: Path) -> None:
    """All of it; what another process has deleted meanwhile is no fault. Raises OSError for what cannot be."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder)


def size_of_folder(path: Path) -> int:
    return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file())
