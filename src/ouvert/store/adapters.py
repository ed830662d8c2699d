"""The adapters on this machine: a folder each, with its record. docs/formats/adapter.md says what is in them."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from uuid import uuid4

from ouvert.store.error import StoreError

# Of adapters and releases alike: not checked; checked, and no regression found; checked, with a regression; let through
# by the release gate. Whatever is not the last is shown as *not gated* besides.
State = Literal["unchecked", "checked", "regression", "gated"]
STATES: tuple[State, ...] = get_args(State)

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
RECORD = "ouvert.json"
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
    def state(self) -> State:
        """Raises nothing."""
        state: State = self.facts["state"]
        return state


class Adapters:
    """The adapters below the store's folder. Making one raises nothing, and creates nothing."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "adapters"

    def names(self) -> tuple[str, ...]:
        """Their names, sorted. Raises nothing."""
        return tuple(sorted(path.parent.name for path in self.folder.glob(f"[!.]*/{RECORD}")))

    def record(self, name: str) -> AdapterRecord:
        """Raises StoreError if there is none of that name, and for a record that cannot be understood."""
        path = self._place(name)
        try:
            facts = json.loads((path / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            known = ", ".join(self.names()) or "none yet"
            raise StoreError(
                f"there is no adapter {name!r} on this machine (there are: {known}). `ouvert tune MODEL DATA --name "
                f"{name}` makes one, `ouvert adapter import PATH --name {name}` brings one."
            ) from None
        except (OSError, ValueError) as problem:
            raise StoreError(
                f"the record of the adapter {name!r}, {path / RECORD}, cannot be read: {problem}. Remove the adapter, "
                "and make or import it again."
            ) from problem
        usable = isinstance(facts, dict) and facts.get("adapter") == FORMAT and facts.get("state") in STATES
        if not usable or not isinstance(facts.get("digest"), str) or not isinstance(facts.get("base"), dict):
            raise StoreError(
                f"the record of the adapter {name!r}, {path / RECORD}, is of another form than {FORMAT}, or damaged. "
                "Take the version of Ouvert that wrote it, or import the adapter again."
            )
        return AdapterRecord(name, path, facts)

    def put(self, name: str, write: Callable[[Path], None], *, replace: bool = False) -> Path:
        """Keep the folder that `write(folder)` fills under `name`, whole or not at all. Returns it.

        Raises StoreError for a name that cannot be one or, without `replace`, is taken; what `write` raises, and
        OSError if the disk takes no more.
        """
        path = self._place(name)
        if path.exists() and not replace:
            raise StoreError(
                f"there is an adapter {name!r} on this machine already. Choose another name, or remove it first: "
                f"`ouvert adapter remove {name}`."
            )
        partial = self.folder / f".{name}.{uuid4().hex}"
        partial.mkdir(parents=True, mode=0o700)
        try:
            write(partial)
            if replace and path.exists():
                shutil.rmtree(self._aside(path))
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return path

    def remove(self, name: str) -> int:
        """Delete it. Returns the bytes that it took. Raises StoreError if there is none."""
        path = self.record(name).path
        size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
        shutil.rmtree(self._aside(path))
        return size

    def _aside(self, path: Path) -> Path:
        return path.rename(path.with_name(f".{path.name}.{uuid4().hex}"))

    def _place(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise StoreError(
                f"an adapter cannot be called {name!r:.80}: expected small letters, digits, '.', '_' and '-', 64 at "
                "most, beginning with a letter or digit."
            )
        return self.folder / name
