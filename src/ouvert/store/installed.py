"""A model that is on this machine, as it is opened."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ouvert.store.manifest import StoredFile
from ouvert.store.packed_files import Packed
from ouvert.store.selection import is_companion
from ouvert.store.source import HUB


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A model that can be opened now. `path` is what weights.open_checkpoint takes: a file or a folder.

    A file or folder that was never put into the store has no `digest`, `files`, `revision`, `licence` or `fetched_at`.
    """

    name: str
    path: Path
    source: str
    size: int
    revision: str | None = None
    licence: str | None = None
    fetched_at: str | None = None
    fetched_from: str | None = None  # the mirror that gave it, where `source` did not
    files: tuple[StoredFile, ...] = ()
    digest: str | None = None  # of the weights as a whole: keys packed models
    linked: bool = False
    packed: tuple[Packed, ...] = ()
    precision: str | None = None  # that its name asks for: names.split_precision
    adapters: tuple[str, ...] = ()  # those that its name asks for: names.split_adapters

    @property
    def repository(self) -> str | None:
        """The hub's repository that it came from, org/name; None where it came from elsewhere. Raises nothing."""
        found = HUB.fullmatch(self.source.removeprefix("hf:")) if self.source.startswith("hf:") else None
        return None if found is None else found["repository"]

    @property
    def called(self) -> str:
        """Its name, with the precision and the adapters that it was asked for. Raises nothing."""
        precision = "" if self.precision is None else f"@{self.precision}"
        return "+".join((f"{self.name}{precision}", *self.adapters))

    @property
    def address(self) -> str:
        """By which the store finds it again, from any folder, with the precision that it was asked for. Raises
        nothing."""
        name = self.name if self.digest is not None else str(self.path.absolute())
        return name if self.precision is None else f"{name}@{self.precision}"

    @property
    def base(self) -> Self:
        """The same, without adapters. Raises nothing."""
        return replace(self, adapters=())

    @property
    def digests(self) -> Mapping[str, str]:
        """File name -> "sha256:<hex>". Raises nothing."""
        return {file.name: file.digest for file in self.files}


def weight_files(installed: Installed) -> tuple[Path, ...]:
    """The files with the weights of a model. Those that the store knows are not parsed for that."""
    if installed.files:
        folder = installed.path if installed.path.is_dir() else installed.path.parent
        return tuple(folder / file.name for file in installed.files if not is_companion(file.name))
    from ouvert.weights import open_checkpoint

    with open_checkpoint(installed.path) as checkpoint:
        return checkpoint.files
