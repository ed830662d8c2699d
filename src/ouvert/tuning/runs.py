"""Runs that are not over yet: a folder each, with everything that going on needs. docs/formats/tuning-run.md"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from filelock import FileLock, Timeout

from ouvert.packed import Adapter
from ouvert.store import StoreError, require_adapter_name, write_whole
from ouvert.tuning.data import Dataset
from ouvert.tuning.error import TuningError
from ouvert.tuning.kept_data import read_data_again, write_data
from ouvert.tuning.loop import Course
from ouvert.tuning.metrics import Metrics
from ouvert.tuning.recipe import Recipe, read_recipe
from ouvert.tuning.state import (
    RunState,
    Standing,
    adapter_of,
    first_state,
    pairs_of,
    read_standing,
    read_state,
    write_state,
)
from ouvert.tuning.stored import as_served
from ouvert.weights import CheckpointError

FORM = 1
FACTS, RECIPE, DATA, METRICS, LOCK, STOP = (
    "run.json",
    "recipe.toml",
    "data.safetensors",
    "metrics.jsonl",
    "lock",
    "stop",
)
STATE = Path("checkpoint") / "state.safetensors"
PATIENCE = 0.5  # seconds; whoever only looks whether a run is worked on holds its lock for microseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A run as somebody finds it who does not work on it. `facts`: its run.json. `running`: whether a process works on
    it now. `rows`: its metrics."""

    name: str
    facts: Mapping[str, Any]
    recipe: Recipe
    standing: Standing
    rows: tuple[Mapping[str, Any], ...]
    running: bool

    @property
    def course(self) -> Course:
        """Raises nothing."""
        return Course(**self.facts["course"])

    @property
    def trained(self) -> bool:
        """Whether no step is left: its adapter only has to be kept. Raises nothing."""
        return is_over(self.standing, self.course)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Begun:
    """A run before its first step. `facts`: what else is worth knowing, as JSON; `adapter`: what it begins with."""

    facts: Mapping[str, Any]
    course: Course
    recipe: Recipe
    data: Dataset
    adapter: Adapter


class Runs:
    """The runs below the store's folder. Making one raises nothing, and creates nothing."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "tunings"

    def names(self) -> tuple[str, ...]:
        """Raises nothing."""
        return tuple(sorted(path.parent.name for path in self.folder.glob(f"[!.]*/{FACTS}")))

    def running(self) -> tuple[str, ...]:
        """Those that a process works on now. Raises nothing."""
        return tuple(name for name in self.names() if self._held(self.folder / name))

    def add(self, name: str, begun: Begun) -> None:
        """A new run, whole or not at all; it begins when it is opened. Raises TuningError for a name that cannot be one
        or is taken, and where it cannot be written."""
        place = self._place(name)
        known = {"run": FORM, "name": name, "course": asdict(begun.course), "pairs": pairs_of(begun.adapter)}
        partial = self.folder / f".{name}.{uuid4().hex}"
        try:
            (partial / STATE).parent.mkdir(parents=True, mode=0o700)
            os.chmod(partial, 0o700)
            write_data(partial / DATA, begun.data)
            write_whole(partial / RECIPE, [begun.recipe.toml.encode("utf-8")])
            write_whole(partial / FACTS, [json.dumps({**known, **begun.facts}, indent=1).encode("ascii"), b"\n"])
            write_state(partial / STATE, first_state(begun.adapter))
            os.rename(partial, place)  # refused where there is one: a folder that is not empty
        except (OSError, CheckpointError) as problem:
            if place.exists():
                raise taken(name) from None
            raise TuningError(
                f"beginning the run {name} in {self.folder}: {problem}. Expected a folder that can be written, with "
                "room. Make room, or choose another place with OUVERT_HOME."
            ) from problem
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def look(self, name: str) -> Seen:
        """Raises TuningError if there is none, or it cannot be understood."""
        place = self._known(name)
        return Seen(
            name=name,
            facts=facts_of(place),
            recipe=read_recipe(place / RECIPE),
            standing=read_standing(place / STATE),
            rows=tuple(Metrics(place / METRICS).rows()),
            running=self._held(place),
        )

    def open(self, name: str) -> "OpenRun":
        """The run, for the one process that works on it. Raises TuningError if there is none, another process works on
        it, or it cannot be read or written."""
        place = self._known(name)
        lock = lock_of(place)
        try:
            lock.acquire(timeout=PATIENCE, poll_interval=0.01)
        except Timeout:
            raise TuningError(
                f"opening the run {name}: another process is working on it, expected none. `ouvert tune status {name}` "
                f"says how far it is, `ouvert tune stop {name}` stops it."
            ) from None
        except OSError as problem:
            raise TuningError(
                f"opening the run {name}: {problem}. Expected a folder that can be written: {place}. Make it writable."
            ) from problem
        try:
            return OpenRun(place, lock)
        except BaseException:
            lock.release()
            raise

    def stop(self, name: str) -> bool:
        """Ask whoever works on it to stop; whether anybody does. Raises TuningError if there is none of that name, and
        OSError."""
        place = self._known(name)
        if not self._held(place):
            return False
        os.close(os.open(place / STOP, os.O_WRONLY | os.O_CREAT, 0o600))
        return True

    def remove(self, name: str) -> int:
        """Delete a run that nobody works on, with its copy of the data; the bytes that it took. Raises TuningError."""
        place = self._known(name)
        lock = lock_of(place)
        try:
            with lock.acquire(timeout=PATIENCE, poll_interval=0.01):
                gone = place.rename(place.with_name(f".{name}.{uuid4().hex}"))  # at once: nobody finds half of it
        except Timeout:
            raise TuningError(
                f"removing the run {name}: a process is working on it, expected none. `ouvert tune stop {name}` ends "
                "that."
            ) from None
        size = sum(each.lstat().st_size for each in gone.rglob("*") if each.is_file())
        shutil.rmtree(gone)
        return size

    def _place(self, name: str) -> Path:
        try:
            require_adapter_name(name)
        except StoreError as problem:
            raise TuningError(str(problem)) from None
        return self.folder / name

    def _known(self, name: str) -> Path:
        place = self._place(name)
        if not (place / FACTS).exists():
            known = ", ".join(self.names()) or "none"
            raise TuningError(
                f"there is no unfinished run {name!r} on this machine (there are: {known}). `ouvert tune MODEL DATA "
                f"--name {name}` begins one; `ouvert adapter show {name}` shows a finished one."
            )
        return place

    def _held(self, place: Path) -> bool:
        if not (place / LOCK).exists():
            return False
        lock = lock_of(place)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:  # a folder that cannot be written: nobody works in it
            return False
        lock.release()
        return False


class OpenRun:
    """A run while this process works on it; a context. `Runs.open` makes it."""

    def __init__(self, place: Path, lock: FileLock) -> None:
        """Raises TuningError for a run that cannot be read or written."""
        self.folder, self._lock = place, lock
        self.name, self.facts, self.recipe = place.name, facts_of(place), read_recipe(place / RECIPE)
        self.course = Course(**self.facts["course"])
        self.data = read_data_again(place / DATA)
        self.state = read_state(place / STATE)
        self.metrics = Metrics(place / METRICS)
        with self._writing("beginning"):
            (place / STOP).unlink(missing_ok=True)
            self.metrics.begin_at(self.state.standing.step, self.state.standing.measured)

    @property
    def adapter(self) -> Adapter:
        """The masters as they are now, as far as they are kept. Raises nothing."""
        return adapter_of(self.state.now, self.facts["pairs"])

    @property
    def answer(self) -> Adapter:
        """What it has learnt, as it is served: the adapter with the lowest held-out loss where it stops early, else the
        last. Raises nothing."""
        return as_served(adapter_of(self.state.answer, self.facts["pairs"]), self.recipe.adapter.precision)

    @property
    def trained(self) -> bool:
        """Whether no step is left: its adapter only has to be kept. Raises nothing."""
        return is_over(self.state.standing, self.course)

    @property
    def stop_asked(self) -> bool:
        """Whether somebody asked it to stop, in this process or another. Raises nothing."""
        return (self.folder / STOP).exists()

    def keep(self, state: RunState) -> None:
        """Where it stands. Raises TuningError if that cannot be written: what was kept before stays."""
        write_state(self.folder / STATE, state)
        self.state = state

    def tell(self, row: Mapping[str, Any]) -> None:
        """A line of metrics. Raises TuningError if it cannot be written."""
        with self._writing("measuring"):
            self.metrics.append(row)

    def close(self) -> None:
        """Let go of it. Raises nothing; may be called twice."""
        self._lock.release()

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise TuningError(
                f"{what} the run {self.name}: {problem}. Expected a folder that can be written, with room: "
                f"{self.folder}. Make room; then `ouvert tune resume {self.name}` goes on from what was kept."
            ) from problem

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_over(standing: Standing, course: Course) -> bool:
    """Whether all steps are done, or enough of them, and the held-out loss behind the last was measured."""
    measured = standing.held_out is None or standing.measured == standing.step
    return measured and (standing.stopped or standing.step == course.steps)


def lock_of(place: Path) -> FileLock:
    return FileLock(place / LOCK, mode=0o600, thread_local=False)


def facts_of(place: Path) -> Mapping[str, Any]:
    try:
        facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
        if facts["run"] != FORM:
            raise ValueError(f"it is of another form than {FORM}")
        Course(**facts["course"]), facts["pairs"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise TuningError(
            f"reading {place / FACTS}: {problem!s:.200}. Expected what this version of Ouvert writes. Take the version "
            f"that wrote it, or remove the run: `ouvert tune remove {place.name}`."
        ) from problem
    read: Mapping[str, Any] = facts
    return read


def taken(name: str) -> TuningError:
    return TuningError(
        f"beginning the run {name}: there is an unfinished one of that name, expected none. `ouvert tune resume "
        f"{name}` goes on with it, `ouvert tune remove {name}` gives it up; or choose another --name."
    )
