"""The owner's prompts, from a file of JSON lines or a table (CSV). A fault is named with its line."""

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Languages

FIELDS = ("prompt", "id", "language", "cluster", "expected", "regex", "choices", "schema", "max_tokens")
MOST_BYTES = 64 * 1024 * 1024
MOST_CHOICES = 26  # letters
USUAL_TOKENS, MOST_TOKENS = 512, 32768
MOST_ID = 100  # characters
CHOICE_MARK = "|"  # between the choices of a table's cell


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPrompt:
    """One prompt. `expected`: the answer, or one of `choices`, or of a `schema` the value; None: for votes only, unless
    there is a `regex`."""

    line: int
    id: str
    prompt: str
    language: Languages
    cluster: str
    expected: Any
    regex: str
    choices: tuple[str, ...]
    schema: Mapping[str, Any] | None
    max_tokens: int


class _LineError(Exception):
    """What is wrong with one line, without its place."""


def read_prompts(path: Path, usual_language: str = "") -> tuple[tuple[OwnPrompt, ...], str]:
    """The prompts in the file's order, and the file's digest (`sha256:…`).

    `.csv` and `.tsv` are tables whose first line names the columns; everything else is JSON lines.

    Raises EvaluationError for a file that cannot be read, holds no prompt, or has a faulty line, which it names.
    """
    content = _content(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        raise _fault(path, line, "these bytes are not UTF-8; save the file as UTF-8") from None
    rows = _table(path, text) if path.suffix.lower() in (".csv", ".tsv") else _json_lines(path, text)
    prompts: list[OwnPrompt] = []
    lines: dict[str, int] = {}
    for line, row in rows:
        try:
            prompt = _prompt(line, row, usual_language)
        except _LineError as problem:
            raise _fault(path, line, str(problem)) from None
        if prompt.id in lines:
            raise _fault(
                path, line, f"line {lines[prompt.id]} has the same id or prompt, {prompt.id!r}; each needs its own `id`"
            )
        lines[prompt.id] = line
        prompts.append(prompt)
    if not prompts:
        raise EvaluationError(f"reading prompts from {path}: there is none in it; each line needs at least a prompt.")
    return tuple(prompts), "sha256:" + sha256(content).hexdigest()


def _fault(path: Path, line: int, what: str) -> EvaluationError:
    return EvaluationError(f"reading prompts from {path}, line {line}: {what}.")


def _content(path: Path) -> bytes:
    """Of a regular file of a bearable size: a pipe would wait for ever."""
    try:
        if not path.is_file():
            raise EvaluationError(f"reading prompts from {path}: there is no such file.")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise EvaluationError(
                f"reading prompts from {path}: it has {size} bytes, at most {MOST_BYTES} are read. Divide it."
            )
        return path.read_bytes()
    except (OSError, ValueError) as problem:
        raise EvaluationError(f"reading prompts from {path}: {problem}. Name a file that can be read.") from problem


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        try:
            row = json.loads(written, parse_constant=_no_constant, parse_float=_finite)
        except (ValueError, RecursionError) as problem:
            raise _fault(path, line, f'no JSON ({problem}); expected an object like {{"prompt": "…"}}') from None
        if not isinstance(row, dict):
            raise _fault(path, line, 'expected an object like {"prompt": "…"}')
        yield line, row


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(written: str) -> float:
    number = float(written)
    if not math.isfinite(number):
        raise ValueError(f"{written:.20} is larger than any number here")
    return number


def _table(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Columns parted by what stands in the first line: a tab, a semicolon (as French spreadsheets write) or a comma."""
    first = text.partition("\n")[0]
    delimiter = max("\t;,", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        columns = [name.strip() for name in next(reader, [])]
        if "prompt" not in columns or len(set(columns)) < len(columns):
            raise _fault(path, 1, f"the columns are {columns}; expected prompt, and each name once")
        for cells in reader:
            line, begun = reader.line_num, line + 1
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                raise _fault(path, begun, f"{len(cells)} cells; the first line names {len(columns)} columns")
            yield begun, _row_of(path, begun, dict(zip(columns, cells, strict=True)))
    except csv.Error as problem:
        raise _fault(path, line + 1, f"no table ({problem}); is a quotation mark missing?") from None


def _row_of(path: Path, line: int, cells: Mapping[str, str]) -> Mapping[str, Any]:
    """A table's cells as the values that a JSON line would have: empty cells are absent."""
    row: dict[str, Any] = {name: cell for name, cell in cells.items() if cell.strip()}
    if "choices" in row:
        row["choices"] = [choice.strip() for choice in row["choices"].split(CHOICE_MARK)]
    for name in ("schema", "max_tokens", *(("expected",) if "schema" in row else ())):
        if name in row:
            try:
                row[name] = json.loads(row[name], parse_constant=_no_constant, parse_float=_finite)
            except (ValueError, RecursionError) as problem:
                raise _fault(path, line, f"`{name}` is no JSON ({problem})") from None
    return row


def _prompt(line: int, row: Mapping[str, Any], usual_language: str) -> OwnPrompt:
    """Raises _LineError for what such a line cannot be."""
    if unknown := sorted(set(row) - set(FIELDS)):
        raise _LineError(f"unknown {', '.join(unknown)}; there are {', '.join(FIELDS)}")
    prompt = _text(row, "prompt")
    if not prompt.strip():
        raise _LineError("`prompt` is missing or empty")
    language = _text(row, "language", usual_language)
    if language not in get_args(Languages):
        raise _LineError(f"`language` is {language!r}; expected en, fr, or nothing")
    ident = _text(row, "id") or sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    if len(ident) > MOST_ID or not ident.isprintable():
        raise _LineError(f"`id` is {ident[:20]!r}…; expected at most {MOST_ID} characters that can be printed")
    choices, schema, tokens = row.get("choices"), row.get("schema"), row.get("max_tokens", USUAL_TOKENS)
    if type(tokens) is not int or not 1 <= tokens <= MOST_TOKENS:
        raise _LineError(f"`max_tokens` is {tokens!r}; expected 1 to {MOST_TOKENS}")
    own = OwnPrompt(
        line=line,
        id=ident,
        prompt=prompt,
        language=language,  # type: ignore[arg-type]  # checked above
        cluster=_text(row, "cluster") or ident,
        expected=row.get("expected"),
        regex=_regex(row),
        choices=_choices(choices),
        schema=_schema(schema),
        max_tokens=tokens,
    )
    _check_together(own)
    return own


def _text(row: Mapping[str, Any], name: str, usual: str = "") -> str:
    value = row.get(name, usual)
    if not isinstance(value, str):
        raise _LineError(f"`{name}` is {value!r}; expected a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _LineError(f"`{name}` holds half a character (a lone surrogate)") from None
    return value


def _regex(row: Mapping[str, Any]) -> str:
    pattern = _text(row, "regex")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as problem:
        raise _LineError(f"`regex` is no regular expression of Python ({problem})") from None
    return pattern


def _choices(choices: Any) -> tuple[str, ...]:
    if choices is None:
        return ()
    if not isinstance(choices, list) or not all(isinstance(each, str) and each.strip() for each in choices):
        raise _LineError("`choices` has to be a list of texts, none of them empty")
    stripped = tuple(each.strip() for each in choices)
    if not 2 <= len(set(stripped)) == len(stripped) <= MOST_CHOICES:
        raise _LineError(f"`choices` has to hold 2 to {MOST_CHOICES} texts, each once")
    return stripped


def _schema(schema: Any) -> Mapping[str, Any] | None:
    if schema is not None and not isinstance(schema, dict):
        raise _LineError("`schema` has to be a JSON Schema: an object")
    return schema


def _check_together(own: OwnPrompt) -> None:
    """Raises _LineError where the ways to judge an answer contradict each other."""
    ways: Sequence[tuple[str, bool]] = (
        ("regex", bool(own.regex)),
        ("choices", bool(own.choices)),
        ("schema", own.schema is not None),
    )
    if len(named := [name for name, used in ways if used]) > 1:
        raise _LineError(f"both {' and '.join(named)}; an answer is judged in one way")
    if own.regex and own.expected is not None:
        raise _LineError("both regex and expected; an answer is judged in one way")
    if own.choices and (not isinstance(own.expected, str) or own.expected.strip() not in own.choices):
        raise _LineError(f"`expected` is {own.expected!r}; expected the text of one of the choices")
    simple = isinstance(own.expected, str | int | float) and not isinstance(own.expected, bool)
    if own.schema is None and own.expected is not None and not simple:
        raise _LineError(f"`expected` is {own.expected!r}; expected a text or a number (with `schema`, any value)")
    if isinstance(own.expected, str) and own.schema is None and not own.expected.strip():
        raise _LineError("`expected` is empty; leave it out for prompts that people only vote on")
