"""The input file of a batch, OpenAI's: one request a line, each with an id of its own. It is checked before the start.

https://platform.openai.com/docs/api-reference/batch/request-input
"""

import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ouvert.serving.body import TOKEN_VALUES, Count, json_value
from ouvert.serving.errors import Refusal
from ouvert.store import open_regular

LONGEST_ID = 512  # characters of a custom_id
MOST_FAULTS = 100  # that are named
FIELDS = ("custom_id", "method", "url", "body")


@dataclass(frozen=True, slots=True)
class Line:
    """A request: where it stands in the file, and what is known of it without its body. `number` counts from 1."""

    number: int
    start: int
    length: int
    custom_id: str
    url: str
    model: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a line; of the whole file where there is no line. `code` is for programs."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As OpenAI's batch lists its errors. Raises nothing."""
        return {"code": self.code, "message": self.message, "line": self.line, "param": self.param}

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


class LinesRefused(Exception):  # noqa: N818, it says what is the case
    """A file that is no batch. `faults`: the first of them, at least one."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a file may hold. `urls`: where its requests may go; `model`: the one that answers all of them, whatever they
    say; `check_model` raises Refusal for one that cannot."""

    urls: Sequence[str]
    items: int
    line_bytes: int
    model: str | None
    check_model: Callable[[str], object]


def read_lines(path: Path, bounds: Bounds) -> list[Line]:
    """Every request of the file, in its order. Empty lines are passed over.

    Raises LinesRefused, and OSError for a file that cannot be read.
    """
    lines: list[Line] = []
    faults: list[Fault] = []
    checking = Checking(bounds)
    for number, start, raw in raw_lines(path, bounds.line_bytes):
        if not raw.strip():
            continue
        if len(lines) + len(faults) >= bounds.items:
            faults.append(Fault("too_many_requests", f"the file has more than {bounds.items} requests. Split it."))
            break
        found = checking.line(number, start, raw)
        if isinstance(found, Line):
            lines.append(found)
        else:
            faults.append(found)
            if len(faults) == MOST_FAULTS:
                faults.append(Fault("more_errors", "There may be more errors; the first are named."))
                break
    if not lines and not faults:
        faults.append(Fault("empty_file", "the file has no request, expected one JSON object a line."))
    if faults:
        raise LinesRefused(faults)
    return lines


def raw_lines(path: Path, most: int) -> Iterator[tuple[int, int, bytes]]:
    """(number, first byte, bytes) of each line; of one that is longer than `most` bytes, more than `most` of them."""
    with open(open_regular(path, follow=True), "rb") as file:
        start, number = 0, 0
        while raw := file.readline(most + 2):
            number += 1
            yield number, start, raw
            start += len(raw) + (rest_of_line(file) if not raw.endswith(b"\n") else 0)


def rest_of_line(file: BinaryIO) -> int:
    """Read on to the next line; how many bytes that was."""
    size = 0
    while piece := file.readline(1 << 20):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


class Checking:
    """The check of one file, line by line: it knows which ids there were."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._seen: dict[str, int] = {}  # custom_id -> its line
        self._models: dict[str, str] = {}  # each once in memory

    def line(self, number: int, start: int, raw: bytes) -> Line | Fault:
        """Raises nothing."""

        def fault(code: str, message: str, param: str | None = None) -> Fault:
            return Fault(code, message, number, param)

        if len(raw.rstrip(b"\r\n")) > self._bounds.line_bytes:
            return fault("line_too_long", f"it has more than {self._bounds.line_bytes} bytes, the most of a request.")
        try:
            stated = value_of(raw)
        except ValueError as problem:
            return fault("invalid_json_line", f"it is not JSON ({problem!s:.200}), expected one object on one line.")
        except Refusal as refusal:
            return fault(refusal.code or "invalid_value", refusal.message)
        if not isinstance(stated, dict):
            return fault("invalid_json_line", "it is no JSON object.")
        wrong = next(self._wrong(stated), None)
        if wrong is not None:
            return fault(*wrong)
        custom_id, model = stated["custom_id"], self._bounds.model or stated["body"]["model"]
        if custom_id in self._seen:
            sentence = f"custom_id {custom_id!r:.100} was on line {self._seen[custom_id]} already; each is used once."
            return fault("duplicate_custom_id", sentence, "custom_id")
        try:
            self._bounds.check_model(model)
        except Refusal as refusal:
            return fault(refusal.code or "invalid_value", refusal.message, "body.model")
        self._seen[custom_id] = number
        return Line(number, start, len(raw), custom_id, stated["url"], self._models.setdefault(model, model))

    def _wrong(self, stated: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """(code, sentence, field) of what is wrong with the fields of a line."""
        for name in FIELDS:
            if name not in stated:
                yield "missing_required_parameter", f"{name} is missing.", name
        for name in stated:
            if name not in FIELDS:
                yield "unknown_parameter", f"{name!r:.80} is not known, expected {', '.join(FIELDS)}.", name[:80]
        custom_id, body = stated["custom_id"], stated["body"]
        if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= LONGEST_ID:
            yield "invalid_value", f"custom_id is no text of 1 to {LONGEST_ID} characters.", "custom_id"
        if stated["method"] != "POST":
            yield "invalid_method", f"method is {stated['method']!r:.40}, expected POST.", "method"
        if stated["url"] not in self._bounds.urls:
            yield "invalid_url", f"url is {stated['url']!r:.100}, expected {' or '.join(self._bounds.urls)}.", "url"
        if not isinstance(body, dict):
            yield "invalid_value", "body is no JSON object.", "body"
        model = body.get("model")
        if self._bounds.model is None and not (isinstance(model, str) and model):
            yield "missing_required_parameter", "body.model is missing: it names the model that answers.", "body.model"


def value_of(raw: bytes) -> Any:
    """What a line says. Raises ValueError for what is no JSON, and Refusal for too much of it."""
    raw = raw.removeprefix(codecs.BOM_UTF8)
    Count(TOKEN_VALUES).add(raw)
    try:
        return json_value(raw.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_body(path: Path, line: Line) -> dict[str, Any]:
    """The body of that line's request. Raises OSError."""
    with open(open_regular(path, follow=True), "rb") as file:
        file.seek(line.start)
        body: dict[str, Any] = value_of(file.read(line.length))["body"]
    return body
