"""What can be seen in a box: which folders of this machine, and where."""

import os
import stat
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ouvert.sandbox.found import Level

DATA = "/mnt/data"  # the box's folder, where namespaces give it a place of its own
INSIDE = Path(__file__).parent / "inside"
BOX = "/box"  # where `inside` is found in a namespace
SCRATCH = 64 << 20  # bytes of /tmp and of /dev/shm each: they are memory
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
# What programs read of /etc to start at all. Nothing in it is anybody's.
SETTINGS = tuple(
    f"/etc/{name}"
    for name in (
        "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "fonts", "localtime", "mime.types", "magic",
        "nsswitch.conf", "matplotlibrc",
    )
)  # fmt: skip
# What they read of the machine; where /proc is the box's own, all of it is there.
MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu", "/dev/urandom", "/dev/random")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full")


@dataclass(frozen=True, slots=True)
class Bind:
    """A folder or file of this machine, where it is in the box."""

    source: str
    place: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """Everything a box shows: `folder` to write in, `shown` to read."""

    folder: Path
    shown: tuple[Path, ...]
    python: Path

    def data(self, level: Level) -> str:
        """The folder's path inside. Raises nothing."""
        return str(self.folder) if level is Level.LANDLOCK else DATA

    def scratch(self, level: Level) -> str:
        """Where programs put files of the moment. Raises nothing."""
        return "/tmp" if level is Level.NAMESPACES else str(self.folder / ".tmp")  # noqa: S108 - the box's own

    def readable(self) -> list[str]:
        """For Landlock alone: what may be read, by its path on this machine. Raises nothing."""
        found = [*SYSTEM, *SETTINGS, *MACHINE, *self.prefixes(), str(INSIDE), *map(str, self.shown)]
        return [each for each in found if Path(each).exists()]

    def prefixes(self) -> list[str]:
        """The folders of the Python that runs inside. Raises nothing."""
        own = [str(self.python.parent.parent), str(self.python.resolve().parent.parent)]
        if self.python == Path(sys.executable):
            own += [sys.prefix, sys.base_prefix]
        return [each for each in dict.fromkeys(own) if not each.startswith("/usr") or each.startswith("/usr/local")]

    def packages(self) -> list[str]:
        """Where the packages of that Python are, for a cell that starts without looking. Raises nothing."""
        if self.python != Path(sys.executable):
            return []
        return list(dict.fromkeys(sysconfig.get_paths()[each] for each in ("purelib", "platlib")))

    def binds(self) -> Iterator[Bind]:
        """For namespaces: what is put where, beside the system's own. Raises nothing."""
        for each in [*self.prefixes(), *map(str, self.shown)]:
            yield Bind(each, each)
        yield Bind(str(INSIDE), BOX)
        yield Bind(str(self.folder), DATA, writable=True)


def bwrap_words(bwrap: str, binds: Iterable[Bind]) -> list[str]:
    """The command that makes the namespaces, up to the program. Raises nothing."""
    words = [bwrap, *beginning()]
    for each in SYSTEM:
        if os.path.islink(each):
            words += ["--symlink", os.readlink(each), each]
        elif os.path.exists(each):
            words += ["--ro-bind", each, each]
    for each in SETTINGS:
        words += ["--ro-bind-try", each, each]
    words += ["--proc", "/proc", "--dev", "/dev"]
    words += ["--ro-bind-try", "/sys/devices/system/cpu", "/sys/devices/system/cpu"]
    for each in ("/tmp", "/dev/shm"):  # noqa: S108 - the box's own
        words += ["--size", str(SCRATCH), "--perms", "1777", "--tmpfs", each]
    for bind in binds:
        for above in reversed(Path(bind.place).parents[:-1]):
            words += ["--dir", str(above)]  # otherwise it is as closed as the folder above the source
        words += ["--bind" if bind.writable else "--ro-bind", bind.source, bind.place]
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", DATA, "--"]


# Nothing of this machine's processes, network, users or names.
BEGINNING = (
    "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try", "--new-session",
    "--as-pid-1", "--hostname", "box", "--cap-drop", "ALL",
)  # fmt: skip
AS_USER = ("--unshare-user", "--disable-userns")
# Root's namespaces belong to root. What runs in the box is made nobody's by enter.py, which needs these to do it, to
# measure the folder and to end what is nobody's; what runs in the box has none of them.
AS_ROOT = tuple(
    word
    for each in ("SETUID", "SETGID", "KILL", "DAC_READ_SEARCH", "SYS_PTRACE")
    for word in ("--cap-add", f"CAP_{each}")
)


def beginning() -> tuple[str, ...]:
    """How every command that makes namespaces begins, behind the program. Raises nothing."""
    return (*BEGINNING, *(AS_ROOT if os.geteuid() == 0 else AS_USER))


def open_to_everybody(path: str) -> bool:
    """Whether a user without rights of its own can get to that path and read it. Raises nothing."""
    place = Path(path).resolve()
    try:
        through = all(each.stat().st_mode & stat.S_IXOTH for each in place.parents)
        mode = place.stat().st_mode
    except OSError:
        return False
    return bool(through and mode & stat.S_IROTH and (mode & stat.S_IXOTH or not stat.S_ISDIR(mode)))
