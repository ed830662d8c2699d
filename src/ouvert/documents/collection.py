"""A collection: some of the owner's documents, in one folder of its own, of which all or nothing is opened."""

import hashlib
import hmac
import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ouvert.documents import boxed, index, keys
from ouvert.documents.boxed import Run
from ouvert.documents.database import Database
from ouvert.documents.error import DocumentError, UnreadableFile
from ouvert.documents.found import Document, Found
from ouvert.documents.passages import Laid, laid_out
from ouvert.documents.place import Place
from ouvert.documents.reader.shape import Reading, plain
from ouvert.documents.words import language_of
from ouvert.store import write_whole

ID_LENGTH, SHORT_ID = 16, 8  # hexadecimal digits of a digest: of an id, and that are enough of one to name it
LONGEST_QUESTION, LONGEST_NAME = 2000, 255  # characters
TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # classes of characters that turn a line around
LOCK, PATIENCE = "lock", 60  # the file, and seconds until somebody else has changed the collection


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What an `update` did: names of files, and what is wrong with those that could not be read."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, list[str]]:
        """As JSON. Raises nothing."""
        return {name: list(getattr(self, name)) for name in self.__slots__}


class Collection:
    """One that is open. `Collections.open` makes it. It belongs to the thread that opened it; close it, or use `with`.

    Its methods and properties raise DocumentError for what SQLite finds wrong, beside what they say.
    """

    def __init__(self, folder: Path, name: str, key: bytes | None, run: Run) -> None:
        """`run` starts a program in a box. Raises WrongKey, DocumentError."""
        self.folder, self.name, self.encrypted = folder, name, key is not None
        self._key, self._run = key, run
        self._database = Database(folder / "index.sqlite", key)
        index.prepare(self._database)

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Raises nothing."""
        self._database.close()

    # --- what is in it ------------------------------------------------------------------------------------------------

    @property
    def documents(self) -> tuple[Document, ...]:
        """All, by name."""
        return index.documents(self._database)

    @property
    def characters(self) -> int:
        """Of all texts together."""
        return int(self._database.rows("SELECT coalesce(sum(characters), 0) FROM documents")[0][0])

    def document(self, named: str) -> Document:
        """The one with this id, or name. Raises DocumentError where there is none, or several have the name."""
        found = [
            each
            for each in self.documents
            if named in (each.id, each.name) or (len(named) >= SHORT_ID and each.id.startswith(named))
        ]
        if len(found) != 1:
            many = f"{len(found)} documents are called so: name one by its id ({', '.join(each.id for each in found)})"
            none = f"there is none. `ouvert documents show {self.name}` lists those there are"
            raise DocumentError(f"looking for {named!r:.100} in {self.name}: {many if found else none}.")
        return found[0]

    def text(self, document: str, start: int = 0, stop: int | None = None) -> str:
        """The text of a document, or a span of it. `document`: its id."""
        found = self._database.rows("SELECT text FROM documents WHERE id = ?", (document,))
        if not found:
            raise DocumentError(f"reading {document!r:.40} of {self.name}: it was removed. List what is there.")
        return str(found[0][0])[start:stop]

    def pages(self, document: str) -> list[tuple[int, int, int, bool]]:
        """(number, start, stop, scan) of each page. `document`: its id."""
        statement = (
            "SELECT page, start, stop, scan FROM pages WHERE document = (SELECT number FROM documents WHERE id = ?) "
            "ORDER BY page"
        )
        return [
            (page, start, stop, bool(scan)) for page, start, stop, scan in self._database.rows(statement, (document,))
        ]

    def page_of(self, document: str, place: int) -> int:
        """The number of the page on which a character of the text stands."""
        return next((page for page, _, stop, _ in self.pages(document) if place <= stop), 1)

    def search(self, question: str, most: int = 10) -> tuple[Found, ...]:
        """The passages that fit best, over all documents: one ranking. None where no word is found.

        Raises DocumentError for a question that is too long.
        """
        if len(question) > LONGEST_QUESTION:
            raise DocumentError(
                f"searching {self.name}: the question has {len(question)} characters, expected {LONGEST_QUESTION} at "
                "most. Ask for what is to be found in it."
            )
        with self._database.reading():
            return index.passages(self._database, self.name, list(index.ranked(self._database, question, most)))

    def whole(self) -> tuple[Found, ...]:
        """Every passage, in order."""
        with self._database.reading():
            rows = [(row, None) for row in index.all_passages(self._database)]
            return index.passages(self._database, self.name, rows)

    def place(self, document: str, start: int, stop: int) -> Place:
        """Where characters of a text stand, with the page around them. Raises DocumentError for a document that is not
        there, and for characters that its text does not have."""
        known = self.document(document)
        if not 0 <= start <= stop <= known.characters:
            raise DocumentError(
                f"looking for characters {start} to {stop} of {known.name}: it has {known.characters}. Name a place "
                "within it; the document may have been replaced since it was cited."
            )
        pages = self.pages(known.id)
        at = next((n for n, (_, _, end, _) in enumerate(pages) if start <= end), 0)
        return Place(self.name, known, pages, at, start, stop, self.text(known.id))

    def picture(self, document: str, page: int, words: str = "", nth: int = 0) -> bytes:
        """A page of a PDF as PNG, with `words` marked where they stand for the `nth` time, from 0. Raises
        UnreadableFile for what has no pictures, and what is raised where there is no box."""
        known = self.document(document)
        if words:
            words = " ".join(words.split())
        return boxed.picture(known.name, self.original(known), page, words, self._run, nth)

    def original(self, document: Document) -> bytes:
        """The file as it was added. Raises DocumentError where it is gone."""
        try:
            data = self._place(document.digest).read_bytes()
        except OSError as problem:
            raise DocumentError(
                f"reading the kept {document.name}: {problem.strerror}. Remove the document, and add it again."
            ) from problem
        return data if self._key is None else keys.opened(data, self._key)

    # --- what changes it ----------------------------------------------------------------------------------------------

    def add(self, name: str, data: bytes, source: Path | None = None) -> Document:
        """Read a file, and keep it. One that is here already stays. One from the same source is replaced, and one of
        the same name that does not stand elsewhere on the disk. Raises UnreadableFile, and what is raised where there
        is no box."""
        refuse_what_cannot_be_written(name, source)
        name = in_one_line(name)
        digest = hashlib.sha256(data).hexdigest()
        changed = None if source is None else changed_at(source)
        with self._alone():
            if (same := self._same(digest, name, source, changed)) is not None:
                return same
        reading = boxed.read(name, data, self._run)
        laid = laid_out(reading)
        document = Document(
            id=digest[:ID_LENGTH], digest=digest, name=name, title=title_of(reading) or Path(name).stem,
            kind=reading.kind,
            size=len(data), added=index.now(), pages=len(laid.pages), characters=len(laid.text),
            unread=tuple(page.number for page in laid.pages if page.scan), language=language_of(laid.text),
            paged=reading.paged, source=None if source is None else str(source),
        )  # fmt: skip
        with self._alone():  # somebody else may have added the same file while it was read
            return self._same(digest, name, source, changed) or self._put(document, laid, changed, data)

    def _same(self, digest: str, name: str, source: Path | None, changed: int | None) -> Document | None:
        """The document that is this file already; it is that of the source from now on if its own is gone."""
        same = next((each for each in self.documents if each.digest == digest), None)
        if same is None or source is None or (same.source not in (None, str(source)) and is_there(str(same.source))):
            return same
        statement = "UPDATE documents SET source = ?, changed = ?, name = ? WHERE id = ?"
        self._database.rows(statement, (str(source), changed, name, same.id))
        return replace(same, source=str(source), name=name)

    def _put(self, document: Document, laid: Laid, changed: int | None, data: bytes) -> Document:
        """Keep it, in place of what it replaces."""
        old = [each for each in self.documents if replaces(document, each)]
        try:
            write_whole(self._place(document.digest), [data if self._key is None else keys.sealed(data, self._key)])
            with self._database.changing():
                for each in old:
                    index.take_out(self._database, each.id)
                index.put(self._database, document, laid, changed)
        except BaseException as problem:
            self._place(document.digest).unlink(missing_ok=True)  # nothing of it is known, so nothing of it is kept
            if isinstance(problem, OSError):
                raise DocumentError(
                    f"keeping {document.name} in {self.name}: {problem.strerror}. Is its disk full, or the collection "
                    "removed? Try again."
                ) from problem
            raise
        for each in old:
            self._place(each.digest).unlink(missing_ok=True)
        if old:
            index.scrub(self._database)
        return document

    def add_path(self, path: Path) -> Changes:
        """Add a file, or every file of a folder that is of a kind that is read. Raises DocumentError where it cannot be
        read, UnreadableFile for a file that was named."""
        path = path.expanduser().resolve()
        if path.is_dir():
            refuse_what_cannot_be_written(path.name, path)
            self._database.rows("INSERT OR IGNORE INTO folders VALUES (?)", (str(path),))
            return self._taken(files_of(path))
        document = self.add(path.name, contents(path), path)
        return Changes(added=(document.name,))

    def update(self) -> Changes:
        """Read again what has changed, by size and time and then by digest; and read what is new in the folders that
        were added. What is gone from the disk stays here, and is named."""
        sources = [Path(each.source) for each in self.documents if each.source is not None]
        folders = [Path(row[0]) for row in self._database.rows("SELECT path FROM folders")]
        new = [file for folder in folders for file in files_of(folder) if file not in sources]
        return self._taken([*sources, *new])

    def remove(self, document: Document) -> dict[str, Any]:
        """Remove a document for good: its text, pages, passages, index and kept file. What was removed, for the
        deletion receipt. Its source outside the collection is not touched."""
        with self._alone():
            self.document(document.id)  # still there
            with self._database.changing():
                removed = index.take_out(self._database, document.id)
            place = self._place(document.digest)
            size = place.stat().st_size if place.exists() else 0
            place.unlink(missing_ok=True)
            index.scrub(self._database)
        return {"document": document.id, "digest": f"sha256:{document.digest}", **removed, "kept_file_bytes": size}

    def _taken(self, files: Iterable[Path]) -> Changes:
        stated = self._database.rows("SELECT source, size, changed, digest FROM documents WHERE source IS NOT NULL")
        known = {source: (size, changed, digest) for source, size, changed, digest in stated}
        lists: dict[str, list[str]] = {name: [] for name in Changes.__slots__}
        for file in files:
            try:
                what = self._taken_one(file, known.get(str(file)))
            except DocumentError as problem:
                what, file = "refused", Path(str(problem))
            lists[what].append(str(file) if what == "refused" else file.name)
        return Changes(**{name: tuple(each) for name, each in lists.items()})

    def _taken_one(self, file: Path, known: tuple[int, int, str] | None) -> str:
        if not file.exists():
            return "missing"
        facts = file.stat()
        if known is not None and known[:2] == (facts.st_size, facts.st_mtime_ns):
            return "unchanged"
        data = contents(file)
        digest = hashlib.sha256(data).hexdigest()
        same = digest == known[2] if known is not None else self._stands_elsewhere(digest, file)
        self.add(file.name, data, file)
        return "unchanged" if same else "added" if known is None else "changed"

    def _stands_elsewhere(self, digest: str, file: Path) -> bool:
        """Whether the same bytes are here from another file that is still on the disk."""
        sources = [each.source for each in self.documents if each.digest == digest]
        return any(source is not None and source != str(file) and is_there(source) for source in sources)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process changes a collection at a time. What one that was killed left is away before: kept files of which
        nothing is known, and deleted words that were not overwritten yet. Raises DocumentError."""
        with changing_alone(self.folder):
            if not (self.folder / "originals").is_dir():
                raise DocumentError(f"changing {self.name}: the collection was removed. Add the files again.")
            self._sweep()
            yield

    def _sweep(self) -> None:
        known = {self._place(each.digest).name for each in self.documents}
        left = [each for each in (self.folder / "originals").iterdir() if each.name not in known]
        for each in left:
            each.unlink(missing_ok=True)
        if left:
            index.scrub(self._database)

    def _place(self, digest: str) -> Path:
        """Where the kept file is: its name says nothing of what is in it where the collection is encrypted."""
        named = digest if self._key is None else hmac.new(self._key, digest.encode(), "sha256").hexdigest()
        return self.folder / "originals" / named


@contextmanager
def changing_alone(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Raises DocumentError where another program does not let go of the collection."""
    try:
        with FileLock(folder / LOCK, patience, mode=0o600):
            yield
    except Timeout:
        raise DocumentError(
            f"changing {folder.name}: another program has been changing it for {patience:g} s. Wait for it, try again."
        ) from None


def replaces(new: Document, old: Document) -> bool:
    """Two files of one name in two places of the disk are two documents."""
    if new.source is not None and new.source == old.source:
        return True
    return new.name == old.name and (new.source is None or old.source is None or not is_there(old.source))


def is_there(source: str) -> bool:
    return os.path.exists(source)  # unlike Path's it raises nothing


def changed_at(source: Path) -> int:
    """In ns. Raises DocumentError where the file is gone."""
    try:
        return source.stat().st_mtime_ns
    except OSError as problem:
        raise DocumentError(f"reading {source}: {problem.strerror}. Name a file or folder that is here.") from problem


def refuse_what_cannot_be_written(name: str, source: Path | None) -> None:
    """Raises UnreadableFile for a name that is no text: it can be neither shown nor kept."""
    try:
        f"{name}{source or ''}".encode()
    except UnicodeEncodeError:
        shown = ascii(name if source is None else str(source))
        raise UnreadableFile(f"reading {shown}: its name is not in UTF-8. Rename it, and add it again.") from None


def title_of(reading: Reading) -> str | None:
    """What the file states, or its first heading of the highest level."""
    headings = (block.text for page in reading.pages[:1] for block in page.blocks if block.level == 1)
    return in_one_line(reading.title or next(headings, "")) or None


def in_one_line(name: str) -> str:
    """As names and titles stand before a model and on a screen: one line, which nothing in it ends, hides or turns
    around; so none of them reads like the next source."""
    line = "".join(each for each in " ".join(plain(name).split()) if unicodedata.bidirectional(each) not in TURNS)
    return line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 50]}…{line[-49:]}"


def files_of(folder: Path) -> list[Path]:
    """The files below it that are of a kind that is read, without hidden ones; links are not followed."""
    return [each for each in plain_files_of(folder) if each.suffix.lower() in boxed.ENDINGS]


def other_files_of(folder: Path) -> list[Path]:
    """The files below it that `add_path` passes over, as they are of other kinds; without hidden ones and links.
    Raises nothing."""
    return [each for each in plain_files_of(folder) if each.suffix.lower() not in boxed.ENDINGS]


def plain_files_of(folder: Path) -> list[Path]:
    return [
        each
        for each in sorted(folder.rglob("*"))
        if each.is_file()
        and not each.is_symlink()
        and not any(p.startswith(".") for p in each.relative_to(folder).parts)
    ]


def contents(path: Path) -> bytes:
    """Raises DocumentError where it cannot be read, UnreadableFile for what is never read."""
    try:
        boxed.refuse_what_is_never_read(path.name, path.stat().st_size)
        return path.read_bytes()
    except OSError as problem:
        raise DocumentError(f"reading {path}: {problem.strerror}. Name a file or folder that is here.") from problem
