"""Files that clients send as forms (multipart/form-data): written to the disk as they come, within bounds."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request

from ouvert.serving.body import Bounds
from ouvert.serving.errors import Refusal
from ouvert.store import ArrivingFile

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartParser

MOST_PARTS = 32
MOST_FIELD = 4096  # bytes of a field that is no file
LONGEST_NAME = 255  # characters of a file's name
FORM_BYTES = 64 << 10  # what a form may have besides the file: boundaries, headers, fields
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")


@dataclass
class Form:
    """A form as far as it has come. `name` is the file's, a text that nothing here takes for a path."""

    arriving: ArrivingFile
    fields: dict[str, str] = field(default_factory=dict)
    name: str | None = None


async def read_form(request: Request, arriving: ArrivingFile, bounds: Bounds) -> Form:
    """The form of a request; its part `file` is written into `arriving`. `bounds`: bytes of the file.

    Raises Refusal: 400 for what is no such form, 408 where it is slow, 413 for too much of it; and OSError.
    """
    form = Form(arriving)
    parser, ended = parser_of(request.headers.get("content-type", ""), Parts(form, bounds.bytes))
    size, began = 0, time.monotonic()
    stream = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(max(began + bounds.seconds_for(size) - time.monotonic(), 0.001)):
                piece = await anext(stream)
        except StopAsyncIteration:
            break
        except TimeoutError:
            sentence = f"Of the form {size} bytes had come after {bounds.seconds_for(size):g} s. Send it faster."
            raise Refusal(408, sentence, code="timeout") from None
        size += len(piece)
        if size > bounds.bytes + FORM_BYTES:
            raise file_too_large(bounds.bytes)
        if piece:
            await asyncio.to_thread(parse, parser, piece)
    if not ended():
        raise no_form("it ends in the middle")
    return form


def file_too_large(limit: int) -> Refusal:
    return Refusal(
        413,
        f"The file is larger than {limit} bytes, which is the most this server takes. Split it.",
        code="file_too_large",
        param="file",
    )


def no_form(fault: str) -> Refusal:
    return Refusal(
        400,
        f"The body is no form with a file: {fault}. Send multipart/form-data with the parts `file` and `purpose`.",
        code="invalid_form",
    )


def parser_of(content_type: str, parts: "Parts") -> "tuple[MultipartParser, Callable[[], bool]]":
    """A parser that tells `parts`, and whether it has seen the form's end. Raises Refusal."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise no_form(f"its Content-Type is {content_type!r:.100}")
    ends: list[bool] = []
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_part_data": parts.data,
                "on_part_end": parts.end,
                "on_header_field": parts.header_name,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_headers_finished": parts.headers_end,
                "on_end": lambda: ends.append(True),
            },
        )
    except FormParserError as problem:
        raise no_form(str(problem)[:200]) from None
    return parser, lambda: bool(ends)


def parse(parser: "MultipartParser", piece: bytes) -> None:
    from python_multipart.exceptions import FormParserError

    try:
        parser.write(piece)
    except FormParserError as problem:
        raise no_form(str(problem)[:200]) from None


class Parts:
    """What the parser tells of a form's parts, put where it belongs."""

    def __init__(self, form: Form, most: int) -> None:
        """`most`: bytes of the file."""
        self._form, self._most = form, most
        self._count = 0
        self._header = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._name, self._is_file = "", False
        self._value = bytearray()

    def begin(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            raise no_form(f"it has more than {MOST_PARTS} parts")
        self._headers, self._header, self._value = {}, [b"", b""], bytearray()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def header_end(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def headers_end(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._name == "file" and b"filename" in options
        if self._is_file and self._form.name is not None:
            raise no_form("it has two files")
        if self._is_file:
            stated = options[b"filename"].decode("utf-8", "replace")
            self._form.name = UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", stated)[:LONGEST_NAME] or "unnamed"

    def data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if not self._is_file:
            self._value += piece
            if len(self._value) > MOST_FIELD:
                raise no_form(f"its field {self._name!r:.80} has more than {MOST_FIELD} bytes")
        elif self._form.arriving.size + len(piece) > self._most:
            raise file_too_large(self._most)
        else:
            self._form.arriving.write(piece)

    def end(self) -> None:
        if not self._is_file:
            self._form.fields[self._name] = self._value.decode("utf-8", "replace")
