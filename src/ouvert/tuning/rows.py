"""The rows of a file of data, each with the line it stands on: JSON Lines, a JSON array, CSV, Parquet."""

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.tuning.error import TuningError

LONGEST_LINE = 16_000_000  # bytes: more than any sequence that can be trained
KINDS = {
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".json": "JSON",
    ".csv": "CSV",
    ".parquet": "Parquet",
}
OTHER_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
WHITE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Row:
    """`line` counts from 1 on: lines, or rows (`unit`) of a JSON array, which may stand in one line, and of Parquet."""

    line: int
    values: Mapping[str, Any]
    unit: str = "line"


def read_rows(path: Path) -> list[Row]:
    """Raises TuningError, with the line, for a file that is not what its name says, and for one without rows."""
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise TuningError(
            f"reading {path}: its name ends in {path.suffix!r}, expected one of {', '.join(KINDS)}. "
            "Name it by what is in it; what is on a hub is fetched first."
        )
    read = {"JSON Lines": json_lines, "JSON": json_array, "CSV": csv_rows, "Parquet": parquet_rows}[kind]
    rows = list(read(path))
    if not rows:
        raise TuningError(f"reading {path}: it has no rows, expected at least one. Put the examples into it.")
    return rows


def json_lines(path: Path) -> Iterator[Row]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
                text = line_text(path, number, line)
                if text.strip(WHITE):
                    yield Row(number, as_object(path, number, text))
    except OSError as problem:
        raise unreadable(path, problem) from problem


def line_text(path: Path, number: int, line: bytes) -> str:
    if len(line) > LONGEST_LINE:
        raise TuningError(
            f"{path}, line {number}: longer than {LONGEST_LINE} bytes, expected one example a line. Is it JSON Lines? "
            "A JSON array belongs into a file named .json."
        )
    if number == 1:
        line = without_mark(path, line)
    try:
        return line.decode()
    except UnicodeDecodeError as problem:
        raise not_utf8(path, number, problem) from None


def without_mark(path: Path, start: bytes) -> bytes:
    for mark, name in OTHER_ENCODINGS.items():
        if start.startswith(mark):
            raise TuningError(f"{path}: it is {name}, expected UTF-8. Save it as UTF-8.")
    return start.removeprefix(codecs.BOM_UTF8)


def as_object(path: Path, number: int, text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text, parse_constant=no_number, object_pairs_hook=no_key_twice)
    except (ValueError, RecursionError) as problem:
        what = problem.msg if isinstance(problem, json.JSONDecodeError) else problem
        where = f" at character {problem.pos + 1}" if isinstance(problem, json.JSONDecodeError) else ""
        raise TuningError(
            f"{path}, line {number}: no JSON ({what}{where}), expected one object. It begins {text[:60]!r}. Mend the "
            "line, or remove it."
        ) from None
    return checked_object(path, number, value)


def checked_object(path: Path, number: int, value: Any, unit: str = "line") -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise TuningError(
        f"{path}, {unit} {number}: {type(value).__name__} ({value!r:.60}), expected an object such as "
        '{"messages": [...]}. docs/formats/tuning-data.md lists the shapes.'
    )


def no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.60} stands there twice")
    return found


def json_array(path: Path) -> Iterator[Row]:
    """An array's objects, counted. A file that is JSON Lines after all is read as that."""
    text = whole_text(path)
    at = past_white(text, 0)
    if text[at : at + 1] != "[":
        yield from json_lines(path)
        return
    decoder = json.JSONDecoder(parse_constant=no_number, object_pairs_hook=no_key_twice)
    at, row = past_white(text, at + 1), 0
    while text[at : at + 1] != "]":
        row += 1
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as problem:
            if isinstance(problem, json.JSONDecodeError):
                raise damaged(path, row, text, problem.pos, problem.msg) from None
            raise damaged(path, row, text, at, str(problem)) from None
        yield Row(row, checked_object(path, row, value, "row"), "row")
        at = past_white(text, at)
        if text[at : at + 1] == ",":
            at = past_white(text, at + 1)
        elif text[at : at + 1] != "]":
            raise damaged(path, row, text, at, "a comma or the end of the array is missing")
    at = past_white(text, at + 1)
    if text[at:]:
        raise damaged(path, row, text, at, "something stands behind the array")


def damaged(path: Path, row: int, text: str, at: int, what: str) -> TuningError:
    line, before = 1 + text.count("\n", 0, at), text.rfind("\n", 0, at)
    return TuningError(
        f"{path}, row {row} (line {line}, character {at - before}): no JSON ({what}), expected an array of objects. "
        "Mend the file."
    )


def past_white(text: str, at: int) -> int:
    while at < len(text) and text[at] in WHITE:
        at += 1
    return at


def whole_text(path: Path) -> str:
    try:
        content = without_mark(path, path.read_bytes())
    except OSError as problem:
        raise unreadable(path, problem) from problem
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        raise not_utf8(path, 1 + content.count(b"\n", 0, problem.start), problem) from None


def csv_rows(path: Path) -> Iterator[Row]:
    """Columns by the names in the first line; an empty field is a key that is not there."""
    reader = csv.reader(io.StringIO(whole_text(path), newline=""), strict=True)
    csv.field_size_limit(LONGEST_LINE)
    try:
        names = next(reader, [])
        if len(set(names)) < len(names) or not all(names):
            raise TuningError(
                f"{path}, line 1: the columns {names!r:.200}, expected names, each once. Is the first line the header?"
            )
        before = reader.line_num
        for fields in reader:
            line, before = before + 1, reader.line_num
            if not fields:
                continue
            if len(fields) != len(names):
                raise TuningError(
                    f"{path}, line {line}: {len(fields)} fields, expected {len(names)} as in the first line. Put "
                    "fields with commas or line breaks into double quotes."
                )
            yield Row(line, {name: field for name, field in zip(names, fields, strict=True) if field})
    except csv.Error as problem:
        raise TuningError(f"{path}, line {reader.line_num}: no CSV ({problem}). Mend the line.") from None


def parquet_rows(path: Path) -> Iterator[Row]:
    try:
        import pyarrow  # type: ignore[import-not-found]
        import pyarrow.parquet  # type: ignore[import-not-found]
    except ImportError:
        raise TuningError(
            f"reading {path}: Parquet, which needs the package pyarrow, and it is not installed. Install it (pip "
            "install pyarrow), or save the data as JSON Lines."
        ) from None
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as problem:
        raise TuningError(f"reading {path}: no Parquet ({problem}). Fetch the file again.") from None
    for number, values in enumerate(table.to_pylist(), 1):
        yield Row(number, without_nothing(values), "row")


def without_nothing(value: Any) -> Any:
    """Parquet gives every struct all of its fields: those that are null were not there."""
    if isinstance(value, dict):
        return {name: without_nothing(each) for name, each in value.items() if each is not None}
    return [without_nothing(each) for each in value] if isinstance(value, list) else value


def unreadable(path: Path, problem: OSError) -> TuningError:
    return TuningError(f"reading {path}: {problem.strerror}. Name a file that you may read.")


def not_utf8(path: Path, line: int, problem: UnicodeDecodeError) -> TuningError:
    byte = problem.object[problem.start]
    return TuningError(
        f"{path}, line {line}: the byte 0x{byte:02x} is no UTF-8, expected UTF-8. Save the file as UTF-8."
    )
