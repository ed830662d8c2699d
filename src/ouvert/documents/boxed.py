"""A file is read by a program of its own, in a box: one process a file. What it says is checked before it is used."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from ouvert.documents.error import DocumentError, UnreadableFile
from ouvert.documents.extra import remedy
from ouvert.documents.reader.shape import Reading, reading_from
from ouvert.safety import admit_boxes
from ouvert.sandbox import Box, BoxError, BoxRefusedError, box_commands, probe

PACKAGE = Path(__file__).parents[1]  # what the reader is a part of
READER = (sys.executable, "-m", "ouvert.documents.reader")
SECONDS = 30.0
MEMORY = 1 << 30  # bytes
PROCESSES = 4  # itself, and threads of the libraries it uses
MOST_WRITTEN = 128 << 20  # bytes of text
LARGEST = 200 << 20  # bytes of a file
ENDINGS = (
    *(".pdf", ".docx", ".pptx", ".xlsx", ".xls", ".ods", ".html", ".htm", ".xhtml", ".epub", ".md", ".markdown"),
    *(".txt", ".text", ".csv", ".tsv", ".eml"),
)
UNREADABLE, MISSING, NO_SUCH_PAGE = 3, 4, 5  # how the reader ends
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended. `status`: its own, or None where the box ended it, and `said` why."""

    status: int | None
    out: bytes
    said: str


Run = Callable[[Sequence[str], bytes], Ran]


def read(name: str, data: bytes, run: Run) -> Reading:
    """The file's text. Raises UnreadableFile, and what `run` raises where there is no box."""
    ending = PurePath(name).suffix.lower()
    refuse_what_is_never_read(name, len(data))
    out = ran(name, run([*READER, "read", ending], data))
    try:
        return reading_from(out)
    except ValueError as problem:
        raise UnreadableFile(f"reading {name}: what the reader wrote is not as it should be ({problem}).") from None


def picture(name: str, data: bytes, page: int, words: str, run: Run, nth: int = 0) -> bytes:
    """A page of a PDF as PNG, with these words marked where they stand for the nth time, from 0.

    Raises UnreadableFile, and what `run` raises."""
    if PurePath(name).suffix.lower() != ".pdf":
        raise UnreadableFile(f"showing a page of {name}: only PDF has pages that can be drawn. Open the text instead.")
    out = ran(name, run([*READER, "picture", str(page), words, str(nth)], data))
    if not out.startswith(PNG):
        raise UnreadableFile(f"showing page {page} of {name}: the reader wrote no picture. Add the file again.")
    return out


def refuse_what_is_never_read(name: str, size: int) -> None:
    """Raises UnreadableFile for a kind of file that is not read, and one that is too large or empty."""
    ending = PurePath(name).suffix.lower()
    if ending not in ENDINGS:
        raise UnreadableFile(
            f"reading {name}: files ending in {ending or 'nothing'!r} are not read, but {' '.join(ENDINGS)} are."
        )
    if size > LARGEST:
        raise UnreadableFile(f"reading {name}: it has {size >> 20} MB, {LARGEST >> 20} at most are read. Divide it.")
    if not size:
        raise UnreadableFile(f"reading {name}: it is empty.")


def ran(name: str, ended: Ran) -> bytes:
    if ended.status == MISSING:
        raise DocumentError(f"reading {name}: {remedy(ended.said.strip().partition('.')[0])}")
    if ended.status == NO_SUCH_PAGE:
        raise UnreadableFile(f"showing a page of {name}: {ended.said.strip()}.")
    if ended.status == UNREADABLE:
        raise UnreadableFile(f"reading {name}: {ended.said.strip()}. Save it again with the program that made it.")
    if ended.status != 0:
        why = ended.said.strip()[-300:] or "it ended without a word"
        raise UnreadableFile(
            f"reading {name}: the reader was ended ({why}). It may take {SECONDS:g} s and {MEMORY >> 20} MB: "
            "divide the file."
        )
    return ended.out


def in_a_box() -> Run:
    """What runs the reader in a box of its own, made for one file and gone after it.

    Raises nothing; what it gives raises DocumentError, with the sandbox's reason, where this machine has no box.
    """
    found = None

    def run(argv: Sequence[str], data: bytes) -> Ran:
        nonlocal found
        admit_boxes(box_commands())
        try:
            found = found or probe()
            with tempfile.TemporaryDirectory(prefix="ouvert-reading-") as folder:
                place = Path(folder) / "box"
                with Box(place, read_only=[PACKAGE], memory=MEMORY, processes=PROCESSES, found=found) as box:
                    ended = box.run([box.python, *argv[1:]], data, SECONDS, output=MOST_WRITTEN)
        except BoxRefusedError as problem:
            raise DocumentError(f"reading a file, which is done in a box: {problem}") from problem
        except BoxError as problem:
            raise DocumentError(f"reading a file in a box: {problem}") from problem
        said = ended.stderr.decode("utf-8", "replace")
        return Ran(None if ended.ended else ended.code, ended.stdout, ended.ended or said)

    return run
