"""A box: a folder, what else it may read, what it may take, and what runs in it."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ouvert.sandbox.cell import IDLE_SECONDS, Cell
from ouvert.sandbox.error import BoxError
from ouvert.sandbox.found import Found, Level
from ouvert.sandbox.keeping import keep
from ouvert.sandbox.mounts import View
from ouvert.sandbox.probe import probe
from ouvert.sandbox.running import Finished, Running, run
from ouvert.sandbox.starting import NOBODY, Limits, Place, start


class Box:
    """Programs that run in it see the system's own programs, this Python, what `read_only` names, and one folder that
    they can write in. No network, no other file, no other process, no variable of this process's environment.

    Nothing runs until `run`, `cell` or `start` is called. Closing it (or leaving its context) ends its cells; programs
    from `start` end with their own context. Everything ends when this process does, however it ends.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        read_only: Sequence[str | os.PathLike[str]] = (),
        memory: int = 1 << 30,
        processes: int = 64,
        disk: int = 256 << 20,
        python: str | os.PathLike[str] = sys.executable,
        found: Found | None = None,
    ) -> None:
        """`folder` is made if it is not there; inside it is `data`. `read_only` paths are inside where they are here.

        `memory`: bytes of all processes together. `processes`: at once, threads included. `disk`: bytes in the folder,
        and in one file. `found`: what `probe()` gave. As root the folder becomes nobody's, as whom everything runs.
        At level `wasm` cells alone run in it, `python` and `processes` do not count, and `read_only` names folders.
        Raises BoxRefusedError where this machine has no way to isolate a program; BoxError for a folder that is none.
        """
        found = found or probe()
        level = found.require()
        shown = tuple(Path(each).absolute() for each in read_only)
        for each in shown:
            if not each.exists():
                raise BoxError(f"opening a box: {each} is to be read in it, expected a file or folder that is there.")
        self.folder = own_folder(Path(folder), level)
        self.limits = Limits(memory, processes, disk)
        view = View(self.folder, shown, Path(python).absolute())
        self._found = found
        self._place = Place(level, found.bwrap, found.landlock, view, self.limits, found.component)
        self._cells: list[Cell] = []

    def __enter__(self) -> "Box":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def level(self) -> Level:
        """How it is closed: for receipts. Raises nothing."""
        return self._place.level

    @property
    def data(self) -> str:
        """The folder's path inside: /mnt/data, but its path here at level `landlock`. Raises nothing."""
        return self._place.view.data(self.level)

    @property
    def python(self) -> str:
        """The interpreter's path inside. Raises nothing."""
        return str(self._place.view.python)

    def cell(self, idle: float = IDLE_SECONDS) -> Cell:
        """Python that remembers, in a process of its own. It is started by its first `run`, and ends when there was
        none for `idle` seconds. Raises nothing."""
        self._cells.append(made := Cell(self._place, idle))
        return made

    def run(
        self,
        argv: Sequence[str],
        stdin: bytes = b"",
        seconds: float = 30.0,
        *,
        output: int = 16 << 20,
        env: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run a program to its end: within so many seconds, and at most `output` bytes of what it writes.

        `env` is added to the box's own variables. Raises BoxError where the program cannot be started, and
        BoxRefusedError at level `wasm`.
        """
        self._found.require_programs()
        return run(self._place, argv, stdin=stdin, seconds=seconds, output=output, env=env)

    def start(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> Running:
        """A long-lived program, with pipes to its stdin, stdout and stderr. Read both, or it may come to wait.

        Raises BoxError where it cannot be started, and BoxRefusedError at level `wasm`.
        """
        self._found.require_programs()
        return Running(start(self._place, argv, env=env), self.level)

    def keep(self, name: str, target: str | os.PathLike[str]) -> Path:
        """Copy a file out of the box's folder, to a name that is free: never executable, never a link.

        Raises BoxError for what is no plain file within the folder.
        """
        return keep(self.folder, name, Path(target), self.limits.disk)

    def close(self) -> None:
        """End its cells. Safe to call twice. Raises nothing."""
        while self._cells:
            self._cells.pop().close()


def own_folder(path: Path, level: Level) -> Path:
    """The folder, made if it is not there, closed to others; as root it becomes nobody's with all that is in it."""
    folder = path.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink() or not folder.is_dir():
        raise BoxError(f"opening a box on {folder}: it is a link or no folder, expected a folder of the box's own.")
    folder = folder.resolve()
    if folder in (Path("/"), Path.home().resolve()):
        raise BoxError(f"opening a box on {folder}: everything in it could be changed; give the box its own folder.")
    folder.chmod(0o700)
    scratch = folder / ".tmp"  # for a box without a /tmp of its own
    if level is Level.LANDLOCK and not scratch.is_symlink():
        scratch.mkdir(exist_ok=True)
    if sys.platform != "win32" and os.geteuid() == 0:
        for place, folders, files in os.walk(folder):
            for name in [".", *folders, *files]:
                os.lchown(os.path.join(place, name), NOBODY, NOBODY)
    return folder
