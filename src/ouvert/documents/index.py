"""The tables of a collection: what is put into them, what is found in them, what is taken out for good."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from ouvert.documents.database import Database
from ouvert.documents.found import Document, Found
from ouvert.documents.passages import Laid
from ouvert.documents.words import UNKNOWN, language_of, run_query, runs_of, short_runs, stemmed, word_query

VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS documents (
  number INTEGER PRIMARY KEY, id TEXT UNIQUE, digest TEXT, name TEXT, title TEXT, kind TEXT, size INTEGER, added TEXT,
  characters INTEGER, language TEXT, paged INTEGER, source TEXT, changed INTEGER, text TEXT);
CREATE TABLE IF NOT EXISTS pages (document INTEGER, page INTEGER, start INTEGER, stop INTEGER, scan INTEGER,
  PRIMARY KEY (document, page)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passages (
  id INTEGER PRIMARY KEY, document INTEGER, page INTEGER, start INTEGER, stop INTEGER, path TEXT, language TEXT);
CREATE INDEX IF NOT EXISTS passages_of ON passages (document);
CREATE TABLE IF NOT EXISTS folders (path TEXT PRIMARY KEY);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(heading, body, tokenize = "unicode61 remove_diacritics 2");
CREATE VIRTUAL TABLE IF NOT EXISTS runs USING fts5(body, tokenize = "trigram");
"""
SEPARATOR = "\x1f"  # between headings of a path
HEADING_WEIGHT, BODY_WEIGHT = 0.6, 1.0  # of a word in the headings, beside one in the text
DEPTH = 60  # places that are looked at of each table's ranking
FUSED = 60  # of reciprocal ranks: the usual constant
COLUMNS = (
    "d.id, d.digest, d.name, d.title, d.kind, d.size, d.added, d.characters, d.language, d.paged, d.source, d.number"
)


def prepare(database: Database) -> None:
    """Make the tables where there are none. One that has them is only read, so that it opens while somebody else
    changes it, and where its disk is full. Raises DocumentError."""
    overwrites = database.overwrites
    if prepared(database, overwrites=overwrites):
        return
    with database.changing():
        for statement in SCHEMA.split(";\n"):
            if statement.strip():
                database.rows(statement)
        if overwrites:
            for table in ("words", "runs"):
                database.rows(f"INSERT INTO {table}({table}, rank) VALUES ('secure-delete', 1)")  # noqa: S608 - names of ours
            database.rows("INSERT OR IGNORE INTO facts VALUES ('overwrites', 'words, runs')")
        database.rows("INSERT OR IGNORE INTO facts VALUES ('version', ?)", (str(VERSION),))


def prepared(database: Database, *, overwrites: bool) -> bool:
    if not database.rows("SELECT 1 FROM sqlite_master WHERE name = 'facts'"):
        return False
    facts = {row[0] for row in database.rows("SELECT name FROM facts")}
    return "version" in facts and (not overwrites or "overwrites" in facts)


def put(database: Database, document: Document, laid: Laid, changed: int | None) -> None:
    """Within `Database.changing`. `changed`: when its source was, in ns."""
    database.rows(
        "INSERT INTO documents (id, digest, name, title, kind, size, added, characters, language, paged, source, "
        "changed, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (document.id, document.digest, document.name, document.title, document.kind, document.size, document.added,
         document.characters, document.language, document.paged, document.source, changed, laid.text),
    )  # fmt: skip
    number = database.rows("SELECT number FROM documents WHERE id = ?", (document.id,))[0][0]
    for page in laid.pages:
        database.rows(
            "INSERT INTO pages VALUES (?, ?, ?, ?, ?)", (number, page.number, page.start, page.stop, page.scan)
        )
    for passage in laid.passages:
        text = laid.text[passage.start : passage.stop]
        language = language_of(text) or document.language
        heading = " ".join([document.title, *passage.path])
        place = (number, passage.page, passage.start, passage.stop, SEPARATOR.join(passage.path), language)
        database.rows(
            "INSERT INTO passages (document, page, start, stop, path, language) VALUES (?, ?, ?, ?, ?, ?)", place
        )
        row = database.rows("SELECT last_insert_rowid()")[0][0]
        stems = (row, stemmed(heading, language), stemmed(text, language))
        database.rows("INSERT INTO words (rowid, heading, body) VALUES (?, ?, ?)", stems)
        if runs := runs_of(f"{heading} {text}"):
            database.rows("INSERT INTO runs (rowid, body) VALUES (?, ?)", (row, "\n".join(runs)))


def take_out(database: Database, document: str) -> dict[str, int]:
    """Within `Database.changing`: remove everything that is of a document; how many rows of what there were."""
    number = database.rows("SELECT number FROM documents WHERE id = ?", (document,))[0][0]
    rows = [row[0] for row in database.rows("SELECT id FROM passages WHERE document = ?", (number,))]
    for row in rows:
        database.rows("DELETE FROM words WHERE rowid = ?", (row,))
        database.rows("DELETE FROM runs WHERE rowid = ?", (row,))
    database.rows("DELETE FROM passages WHERE document = ?", (number,))
    pages = database.rows("SELECT count(*) FROM pages WHERE document = ?", (number,))[0][0]
    database.rows("DELETE FROM pages WHERE document = ?", (number,))
    database.rows("DELETE FROM documents WHERE number = ?", (number,))
    return {"pages": pages, "passages": len(rows)}


def scrub(database: Database) -> None:
    """After rows were deleted: where this SQLite leaves deleted words in an index, write everything anew.

    Outside `Database.changing`. Raises DocumentError."""
    if not database.overwrites:
        for table in ("words", "runs"):
            database.rows(f"INSERT INTO {table}({table}) VALUES ('optimize')")  # noqa: S608 - names of ours
    database.rows("VACUUM")


def documents(database: Database) -> tuple[Document, ...]:
    """All, by name. Raises DocumentError."""
    pages: dict[int, list[tuple[int, bool]]] = {}
    for number, page, scan in database.rows("SELECT document, page, scan FROM pages ORDER BY document, page"):
        pages.setdefault(number, []).append((page, bool(scan)))
    found = []
    for row in database.rows(f"SELECT {COLUMNS} FROM documents d ORDER BY d.name, d.id"):  # noqa: S608 - names of ours
        *facts, number = row
        own = pages.get(number, [])
        names = ("id", "digest", "name", "title", "kind", "size", "added", "characters", "language", "paged", "source")
        stated = dict(zip(names, facts, strict=True))
        unread = tuple(page for page, scan in own if scan)
        found.append(Document(**{**stated, "paged": bool(stated["paged"])}, pages=len(own), unread=unread))
    return tuple(found)


def ranked(database: Database, question: str, most: int) -> list[tuple[int, float]]:
    """(passage, score) of the best, over all documents at once. The tables' rankings are joined by reciprocal ranks
    where the question has something for both. Raises DocumentError."""
    languages = [row[0] for row in database.rows("SELECT DISTINCT language FROM passages")]
    rankings = []
    if query := word_query(question, languages or [UNKNOWN]):
        rankings.append(
            database.rows(
                "SELECT rowid, -bm25(words, ?, ?) AS score FROM words WHERE words MATCH ? ORDER BY score DESC, rowid "
                "LIMIT ?",
                (HEADING_WEIGHT, BODY_WEIGHT, query, DEPTH),
            )
        )
    if query := run_query(question):
        statement = "SELECT rowid, -bm25(runs) AS score FROM runs WHERE runs MATCH ? ORDER BY score DESC, rowid LIMIT ?"
        rankings.append(database.rows(statement, (query, DEPTH)))
    for run in short_runs(question):
        pattern = "%" + run + "%"
        rankings.append(database.rows("SELECT rowid, 0.0 FROM runs WHERE body LIKE ? LIMIT ?", (pattern, DEPTH)))
    rankings = [each for each in rankings if each]
    if len(rankings) == 1:
        return [(int(row), float(score)) for row, score in rankings[0][:most]]
    joined: dict[int, float] = {}
    for ranking in rankings:
        for place, (row, _) in enumerate(ranking):
            joined[row] = joined.get(row, 0.0) + 1 / (FUSED + place)
    return sorted(joined.items(), key=lambda each: (-each[1], each[0]))[:most]


def passages(database: Database, collection: str, wanted: Sequence[tuple[int, float | None]]) -> tuple[Found, ...]:
    """These, in this order. Raises DocumentError."""
    return tuple(passage(database, collection, row, score) for row, score in wanted)


def passage(database: Database, collection: str, row: int, score: float | None) -> Found:
    statement = (
        "SELECT d.id, d.name, d.title, d.paged, p.page, p.start, p.stop, p.path, substr(d.text, p.start + 1, p.stop - "
        "p.start) FROM passages p JOIN documents d ON d.number = p.document WHERE p.id = ?"
    )
    document, name, title, paged, page, start, stop, path, text = database.rows(statement, (row,))[0]
    return Found(
        collection=collection, document=document, name=name, title=title, page=page, paged=bool(paged), start=start,
        stop=stop, path=tuple(path.split(SEPARATOR)) if path else (), text=text, score=score,
    )  # fmt: skip


def all_passages(database: Database) -> Iterable[int]:
    """Every passage, in the order of documents and of their texts. Raises DocumentError."""
    statement = "SELECT p.id FROM passages p JOIN documents d ON d.number = p.document ORDER BY d.name, d.id, p.start"
    return [row[0] for row in database.rows(statement)]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
