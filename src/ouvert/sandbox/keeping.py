"""How a file leaves a box: when somebody keeps it, as plain bytes under a name of this machine's choosing."""

import os
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

from ouvert.sandbox.error import BoxError

PLACE = getattr(os, "O_PATH", 0) | getattr(os, "O_DIRECTORY", 0)  # a folder, to look below it
PLAIN = 0o600  # what is kept is its owner's to read, and nobody's to run


def keep(folder: Path, name: str, target: Path, most: int) -> Path:
    """Copy the file `name` of the box's folder to `target`, which must not be there yet. No link is followed, and the
    copy is never executable.

    Raises BoxError for what is no plain file within the folder, or larger than `most` bytes.
    """
    if sys.platform == "win32":
        raise refused(name, "Windows cannot open a file below a folder without following links; copy it by hand")
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
        raise refused(name, "it is no path within the box's folder")
    place = os.open(folder, PLACE)
    try:
        for part in parts[:-1]:
            above, place = place, os.open(part, PLACE | os.O_NOFOLLOW, dir_fd=place)
            os.close(above)
        source = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    except OSError as problem:
        raise refused(name, f"{problem.strerror} (links are not followed)") from problem
    finally:
        os.close(place)
    with os.fdopen(source, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise refused(name, "it is no plain file")
        if facts.st_size > most:
            raise refused(name, f"it has {facts.st_size:,} bytes, more than a box keeps ({most:,})")
        return copied(file.fileno(), target, name)


def copied(source: int, target: Path, name: str) -> Path:
    """Written beside and linked into place, so that what is there is never replaced."""
    descriptor, beside = tempfile.mkstemp(prefix=".keeping-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file, os.fdopen(os.dup(source), "rb") as original:
            shutil.copyfileobj(original, file)
        os.chmod(beside, PLAIN)
        os.link(beside, target)
    except FileExistsError as problem:
        raise refused(name, f"{target} is there already; nothing is replaced") from problem
    finally:
        with suppress(OSError):
            os.unlink(beside)
    return target


def refused(name: str, why: str) -> BoxError:
    return BoxError(
        f"keeping {name!r} from a box: {why}. Expected a plain file within the box's folder, and a name that is free."
    )
