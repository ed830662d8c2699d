"""The directions on this machine: files called NAME.direction in one folder. What is in them is inspection's to say."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from ouvert.store.error import StoreError

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
SUFFIX = ".direction"


class Directions:
    """The directions below the store's folder. Making one raises nothing, and creates nothing."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "directions"

    def names(self) -> tuple[str, ...]:
        """Their names, sorted. Raises nothing."""
        return tuple(sorted(path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"[!.]*{SUFFIX}")))

    def path(self, name: str) -> Path:
        """The file of the direction called `name`. Raises StoreError if there is none."""
        path = self._place(name)
        if not path.is_file():
            known = ", ".join(self.names()) or "none yet"
            raise StoreError(
                f"there is no direction {name!r} on this machine (there are: {known}). `ouvert direction make {name}` "
                f"makes one, `ouvert direction import FILE --name {name}` brings one."
            )
        return path

    def check_new(self, name: str) -> None:
        """Raises StoreError for a name that cannot be one, or is taken."""
        if self._place(name).exists():
            raise StoreError(
                f"there is a direction {name!r} on this machine already. Choose another name, or remove it first: "
                f"`ouvert direction remove {name}`."
            )

    def put(self, name: str, write: Callable[[Path], None], *, replace: bool = False) -> Path:
        """Keep what `write(path)` writes under `name`, whole or not at all. Returns the file.

        Raises StoreError for a name that cannot be one or, without `replace`, is taken; what `write` raises, and
        OSError if the folder cannot be written.
        """
        path = self._place(name)
        if not replace:
            self.check_new(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{name}.{uuid4().hex}{SUFFIX}")  # hidden, so no name of a direction
        try:
            write(partial)
            if replace:
                os.replace(partial, path)
            else:
                self._claim(partial, path, name)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def remove(self, name: str) -> int:
        """Delete it. Returns the bytes that it took. Raises StoreError if there is none."""
        path = self.path(name)
        size = path.stat().st_size
        path.unlink()
        return size

    def _claim(self, partial: Path, path: Path, name: str) -> None:
        """Give a new file its name, of two that are put at once to one only."""
        try:
            os.link(partial, path)
        except FileExistsError:
            raise StoreError(
                f"another process has just put a direction {name!r} here. Choose another name, or look at that one."
            ) from None

    def _place(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise StoreError(
                f"a direction cannot be called {name!r:.80}: expected small letters, digits, '.', '_' and '-', 64 at "
                "most, beginning with a letter or digit."
            )
        return self.folder / f"{name}{SUFFIX}"
