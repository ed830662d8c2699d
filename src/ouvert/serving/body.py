"""A request's body: read in a bounded time, counted while it comes, and only then parsed.

Parsing JSON and checking it against a model hold up everything else, and a few megabytes of empty objects would do so
for many seconds. So the values of a body are counted as its pieces come in, and the first one too many ends it.
"""

import asyncio
import json
import math
import re
import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from ouvert.serving.content_encoding import codings_of, unpacked
from ouvert.serving.errors import Refusal

PIECE = 1 << 16  # bytes that are looked at at once
TOKEN_VALUES = 1_000_000  # where a body may hold token ids

DEEPEST = 200  # levels of objects and arrays
# Bytes a second of a body at least, once `read_seconds` are over; and how many times as long it may take in all.
SLOWEST = 64_000
LONGEST = 10
ENOUGH = 4  # bytes of a JSON text that show how it is encoded
CHARSET = re.compile(r'charset\s*=\s*"?([\w.:-]+)', re.IGNORECASE)
# Of one byte a character, and the more usual ones of several: others are not worth their attack surface.
CHARSETS = frozenset({"iso-8859-1", "latin1", "us-ascii", "windows-1252", "iso-8859-15", "gbk", "gb18030", "shift_jis"})
BRACKETS = re.compile(rb"[\[{]+|[\]}]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits of one body. `values`: its objects and arrays, and all their members and elements together."""

    bytes: int
    values: int
    seconds: float

    def seconds_for(self, size: int) -> float:
        """The seconds in which so many bytes have to arrive."""
        return min(self.seconds + size / SLOWEST, self.seconds * LONGEST)


async def read_json(request: Request, bounds: Bounds) -> Any:
    """The body's value, unpacked where it came compressed; an empty one is an empty object.

    Raises Refusal: 408 where it is slow, 413 where it is too much, 400 for what is no JSON.
    """
    codings = codings_of(request.headers.get("content-encoding", ""))
    raw = await read(request, bounds, counted=not codings)
    if codings and raw:
        plain = await asyncio.to_thread(unpacked, raw, codings, bounds.bytes)
        if plain is None:
            raise too_large(bounds.bytes)
        raw = plain
    try:
        encoding = encoding_of(raw, request.headers.get("content-type", ""))
        if encoding != "utf-8":
            raw = await asyncio.to_thread(in_utf8, raw, encoding)
        if codings or encoding != "utf-8":
            await asyncio.to_thread(Count(bounds.values).add, raw)
        return json_value(raw or b"{}")
    except UnicodeDecodeError as problem:
        raise Refusal(
            400,
            f"The body is no text in {problem.encoding}: its byte {problem.start} is "
            f"{problem.object[problem.start]:#x}. Send JSON in UTF-8, or name its charset in Content-Type.",
            code="invalid_json",
        ) from None
    except (ValueError, RecursionError) as problem:
        fault = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
        raise Refusal(400, f"The body is not JSON: {fault:.300}. Send a JSON object.", code="invalid_json") from None


def json_value(text: bytes | str) -> Any:
    """What a JSON text says. Raises ValueError for what is none, and RecursionError."""
    return json.loads(text, parse_constant=refuse_constant, parse_float=finite)


def in_utf8(raw: bytes, encoding: str) -> bytes:
    errors = "surrogatepass" if encoding.startswith("utf") else "strict"
    return raw.decode(encoding, errors).encode("utf-8", "surrogatepass")


def encoding_of(raw: bytes, content_type: str) -> str:
    """The encoding of a JSON text: UTF-8, 16 or 32 where its first bytes show it, else the one that its sender names.

    Raises UnicodeDecodeError where nobody names one."""
    shown = json.detect_encoding(raw)
    if shown != "utf-8":
        return shown
    try:
        raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        stated = CHARSET.search(content_type)
        if stated is None or stated[1].lower() not in CHARSETS:
            raise
        return stated[1].lower()
    return shown


async def read(request: Request, bounds: Bounds, *, counted: bool) -> bytes:
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and (len(stated) > 15 or int(stated) > bounds.bytes):
        raise too_large(bounds.bytes)
    pieces: list[bytes] = []
    size, count = 0, Count(bounds.values)
    counts: bool | None = None if counted else False  # None: it has to be seen first whether it is UTF-8
    began = time.monotonic()
    stream = aiter(request.stream())
    while True:
        left = began + bounds.seconds_for(size) - time.monotonic()
        try:
            async with asyncio.timeout(max(left, 0.001)):
                piece = await anext(stream)
        except StopAsyncIteration:
            return b"".join(pieces)
        except TimeoutError:
            raise Refusal(
                408,
                f"Of the body {size} bytes had come after {bounds.seconds_for(size):g} s. Send it faster, or in a "
                "smaller request.",
                code="timeout",
            ) from None
        size += len(piece)
        if size > bounds.bytes:
            raise too_large(bounds.bytes)
        pieces.append(piece)
        if counts is None and size >= ENOUGH:
            piece = b"".join(pieces)
            counts = json.detect_encoding(piece).startswith("utf-8")
        if counts:
            count.add(piece)


class Count:
    """How many values a JSON text has, and how deep they lie, from its pieces; strings are jumped over."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._within = False  # a string
        self._rest = b""  # backslashes at the end of a piece
        self._depth = 0
        self.values = 0

    def add(self, piece: bytes) -> None:
        """Raises Refusal as soon as there are too many, or one lies too deep. Whether it is JSON is not checked."""
        for start in range(0, len(piece), PIECE):
            self._add(piece[start : start + PIECE])

    def _add(self, piece: bytes) -> None:
        piece = self._rest + piece
        ending = len(piece) - len(piece.rstrip(b"\\"))
        self._rest = b"\\" if ending % 2 else b""
        piece = piece[: len(piece) - ending].replace(rb"\\", b"").replace(rb"\"", b"")
        parts = piece.split(b'"')
        outside = b"".join(parts[1 if self._within else 0 :: 2])
        self._within ^= len(parts) % 2 == 0
        self.values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if self.values > self._most:
            raise Refusal(
                413,
                f"The body holds more than {self._most} values (members and elements of its objects and arrays), "
                "which is the most this server reads here. Send less at once.",
                code="too_many_values",
            )
        for run in BRACKETS.findall(outside):
            self._depth += len(run) if run[0] in b"[{" else -len(run)
            if self._depth > DEEPEST:
                raise Refusal(
                    400,
                    f"The body is nested deeper than {DEEPEST} levels of objects and arrays. Send it with fewer.",
                    code="nested_too_deeply",
                )


def too_large(limit: int) -> Refusal:
    return Refusal(
        413,
        f"The body is larger than {limit} bytes, which is the most this server reads. Send less at once.",
        code="body_too_large",
    )


def refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text:.40} is too large")
    return value
