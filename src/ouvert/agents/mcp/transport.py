"""The way to an MCP server, in no more bytes than a message may have: a program in a box, or an address."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Any

import anyio
import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from ouvert.sandbox import Running

TIMEOUT = httpx2.Timeout(30.0, read=300.0)  # as the SDK's own; a call has a time-out beside it
LONGEST_LINE = 8 << 20  # bytes of one message; a server that writes more is not listened to any more


class Bounded(httpx2.AsyncHTTPTransport):
    """HTTP in which no answer is longer than LONGEST_LINE. What is passed on raises httpx2.ReadError beyond that."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        response.stream = Counted(response.stream)
        return response


class Counted(httpx2.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = LONGEST_LINE
        async for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise httpx2.ReadError(f"an answer has more than {LONGEST_LINE >> 20} MB, and is not read further")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def http_transport(address: str) -> AsyncIterator[tuple[Any, Any]]:
    """Streams to and from a server at an address. No proxy of the environment is asked."""
    async with (
        httpx2.AsyncClient(transport=Bounded(), timeout=TIMEOUT) as client,
        streamable_http_client(address, http_client=client) as streams,
    ):
        yield streams


@asynccontextmanager
async def boxed_transport(running: Running) -> AsyncIterator[tuple[Any, Any]]:
    """Streams to and from a program in a box. Leaving ends it."""
    to_session, from_server = anyio.create_memory_object_stream[Any](0)
    from_session, to_server = anyio.create_memory_object_stream[Any](0)[::-1]
    loop = asyncio.get_running_loop()
    drained = threading.Thread(target=drain, args=(running.stderr,), daemon=True)
    if running.stderr is not running.stdout:
        drained.start()

    async def reading() -> None:
        async with to_session:
            while line := await loop.run_in_executor(None, line_of, running.stdout):
                try:
                    message: Any = SessionMessage(jsonrpc_message_adapter.validate_json(line))
                except ValueError as problem:
                    message = problem
                try:
                    await to_session.send(message)
                except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                    return

    async def writing() -> None:
        async with from_session:
            async for sent in from_session:
                data = sent.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
                try:
                    await loop.run_in_executor(None, write, running.stdin, data)
                except OSError:
                    return

    tasks = [asyncio.create_task(reading()), asyncio.create_task(writing())]
    try:
        yield from_server, to_server
    finally:
        running.kill()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in (from_server, to_server, to_session, from_session):
            await stream.aclose()


def line_of(pipe: IO[bytes]) -> bytes:
    """The next line that is not empty; nothing at the end, or where a line is too long or the pipe is closed."""
    try:
        while (line := pipe.readline(LONGEST_LINE)).strip() == b"" and line:
            pass
    except (OSError, ValueError):
        return b""
    return line if line.endswith(b"\n") else b""


def write(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(data)
    pipe.flush()


def drain(pipe: IO[bytes]) -> None:
    """What a server says beside the protocol is not kept."""
    try:
        while pipe.read(65536):
            pass
    except (OSError, ValueError):
        return
