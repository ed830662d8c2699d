"""Answers of the server as they go out: JSON, and streams of events that end when their reader does."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ouvert.serving.errors import Refusal, refusal_of

PING = b": ping\n\n"
# JSON may hold these as they are, and clients that split lines as Python's str.splitlines does cut there. The other
# characters at which that function cuts are control characters, which JSON escapes in any case.
LINE_ENDS = re.compile("[\x85\u2028\u2029]")
Value = TypeVar("Value")


def json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def as_json(value: Any) -> bytes:
    """JSON that is one line for every reader: what some of them take for the end of a line is escaped."""
    text = json_text(value)
    if not text.isascii():
        text = LINE_ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode("utf-8", "replace")


class JSONAnswer(Response):
    """JSON as `as_json` writes it."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return as_json(content)


def sse(data: Any, event: str | None = None) -> bytes:
    """One server-sent event: one write."""
    named = b"" if event is None else f"event: {event}\n".encode()
    return named + b"data: " + as_json(data) + b"\n\n"


class ClientGone(Exception):  # noqa: N818 - it says what is the case
    """The client disconnected, or has stopped reading."""


async def unless_gone(request: Request, work: Awaitable[Value]) -> Value:
    """The result of `work`. If the client disconnects first, `work` is cancelled and ClientGone is raised."""
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(disconnected(request.receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def saying_what_goes_wrong(
    pieces: AsyncIterator[bytes], said: Callable[[Refusal], bytes]
) -> AsyncIterator[bytes]:
    """The pieces; a known error that ends them is said as the last piece. An unforeseen error is raised."""
    try:
        async for piece in pieces:
            yield piece
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            raise
        yield said(refusal)


async def next_of(pieces: AsyncIterator[bytes]) -> bytes | None:
    async for piece in pieces:
        return piece
    return None


class Streamed(Response):
    """Pieces as they come, each in one write, with `ping` where nothing has come for a while.

    Whatever happens, `close` is awaited at the end. A client that disconnects ends the stream; one that does not read
    is disconnected by the server (`server.TimeLimitedProtocol`).
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        close: Callable[[], Awaitable[None]],
        *,
        ping: bytes | None = PING,
        ping_seconds: float = 10.0,
        headers: Mapping[str, str] | None = None,
        media_type: str = "text/event-stream",
    ) -> None:
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no", **(headers or {})})
        self._pieces, self._close, self._ping = pieces, close, ping
        self._ping_seconds = ping_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.ensure_future(disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._send_pieces(send, watch)
            await write(send, b"", more=False)
        except ClientGone:
            pass
        finally:
            watch.cancel()
            await self._close()

    async def _send_pieces(self, send: Send, watch: "asyncio.Future[None]") -> None:
        iterator = aiter(self._pieces)
        following: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                if following is None:
                    following = asyncio.ensure_future(next_of(iterator))
                waited: set[asyncio.Future[Any]] = {following, watch}
                await asyncio.wait(waited, timeout=self._ping_seconds, return_when=asyncio.FIRST_COMPLETED)
                if watch.done():
                    raise ClientGone
                if not following.done():
                    if self._ping is not None:
                        await write(send, self._ping)
                    continue
                piece = following.result()
                if piece is None:
                    return
                following = None
                await write(send, piece)
        finally:
            if following is not None:
                following.cancel()


async def write(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
