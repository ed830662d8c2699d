"""Weights in layouts made for speed, by the digest of the weights they were made from."""

import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from ouvert.store.error import StoreError

LAYOUT = re.compile(r"[a-z0-9][a-z0-9_.-]*")
ROUNDED = re.compile(r".*-(\d+)bit-\d+")  # the layout of weights that were rounded to so many bits
ABANDONED_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A model's weights in a layout made for speed: derived, so it may go at any time."""

    digest: str  # of the weights it was made from
    layout: str
    path: Path
    size: int

    @property
    def precision(self) -> str:
        """To how many bits its large matrices were rounded; "stored" where none was. Raises nothing."""
        rounded = ROUNDED.fullmatch(self.layout)
        return rounded[1] if rounded else "stored"


class PackedFiles:
    """The folder of packed models: packed/sha256-<hex>/<layout>.safetensors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, source_digest: str, layout: str) -> Path:
        """Where the packed form of the weights with this digest is, or is to be written; its folder exists afterwards.

        Raises StoreError for what is no digest or no name of a layout.
        """
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", source_digest) or not LAYOUT.fullmatch(layout):
            raise StoreError(
                f"no packed model can be called {source_digest}/{layout}: expected sha256:<64 hex digits> and a "
                "layout in small letters, digits, '.', '_' and '-'."
            )
        folder = self.folder / source_digest.replace(":", "-")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{layout}.safetensors"

    def all(self) -> tuple[Packed, ...]:
        """All packed models, also those of weights that are not in the store."""
        return tuple(
            Packed(
                digest=path.parent.name.replace("-", ":", 1),
                layout=path.name.removesuffix(".safetensors"),
                path=path,
                size=path.stat().st_size,
            )
            for path in sorted(self.folder.glob("*/*.safetensors"))
        )

    def of(self, digest: str) -> tuple[Packed, ...]:
        """The packed forms of the weights with this digest."""
        return tuple(each for each in self.all() if each.digest == digest)

    def unneeded(self, digests: Collection[str]) -> Iterator[Path]:
        """Packed forms of other weights than these, and halves that were given up.

        Packing is not under the store's locks: a half that was written to lately may still be in work.
        """
        yield from (each.path for each in self.all() if each.digest not in digests)
        for path in self.folder.glob("*/*.partial"):
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                yield path
