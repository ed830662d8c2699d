"""What the store knows of one model: docs/formats/store.md has the file's format."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from ouvert.store.error import StoreError
from ouvert.store.selection import is_companion
from ouvert.weights import NotRegularError, read_regular

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file of a model. `digest` is "sha256:<hex>"."""

    name: str
    size: int
    digest: str
    modified: int | None = None  # a linked file's time of modification (ns), so that a change is noticed


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    name: str
    source: str
    revision: str | None
    licence: str | None
    fetched_at: str  # ISO 8601, UTC
    files: tuple[StoredFile, ...]
    fetched_from: str | None = None  # the mirror that gave it, where it was not `source`
    linked: str | None = None  # the folder or file that stays where it is, instead of blobs

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def weights(self) -> tuple[StoredFile, ...]:
        return tuple(file for file in self.files if not is_companion(file.name))

    @property
    def digest(self) -> str:
        """Of the weights: of the one file, or of the several as weights.combined_digest says."""
        from ouvert.weights import combined_digest  # imported here so that names can be completed at once

        return combined_digest({file.name: file.digest for file in self.weights})

    @property
    def fingerprint(self) -> str:
        """Changes with any file's name or content: names the folder of links."""
        listing = sorted((file.name, file.digest) for file in self.files)
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, stated: dict[str, Any]) -> Self:
        facts = dict(stated)
        if (version := facts.pop("format")) != FORMAT:
            raise ValueError(f"format {version}, expected {FORMAT}")
        return cls(**{**facts, "files": tuple(StoredFile(**file) for file in facts["files"])})


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`. Raises FileNotFoundError, or StoreError for one that cannot be understood."""
    try:
        return Manifest.from_json(json.loads(read_regular(path, follow=True)))
    except (NotRegularError, ValueError, TypeError, KeyError, AttributeError) as problem:
        raise StoreError(
            f"{path} cannot be understood as the record of a model ({problem}). Another version of ouvert may have "
            "written it; delete that file and pull the model again (its weights are kept and not fetched twice)."
        ) from problem


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write it beside `path`, then rename: a reader sees the old one or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(manifest.as_json(), file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    keep_renames(path.parent)


def keep_renames(folder: Path) -> None:
    """Renames in `folder` survive a power cut from here on (where the system lets a folder be synchronised)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
