"""The application behind a socket: uvicorn, with limits for clients that are slow or send too much."""

import asyncio
import logging
import math
import socket
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from ouvert.serving.errors import Refusal, dialect_of
from ouvert.serving.house import House
from ouvert.serving.settings import Settings
from ouvert.serving.streams import as_json

LOG = logging.getLogger("ouvert.serving")

KEEP_ALIVE_SECONDS = 75
LONGEST_ADDRESS = 4096
LAST_WORDS = 5  # seconds in which answers that were ended say so


def make_server(app: Starlette, settings: Settings) -> uvicorn.Server:
    """`server.serve(sockets)` in an event loop, or `server.run(sockets)`. Nothing of requests is logged."""

    class Protocol(ImpatientProtocol):
        header_seconds = settings.read_seconds
        write_seconds = settings.write_seconds
        most_connections = settings.most_connections

    stop = None if settings.stop_seconds is None else math.ceil(settings.stop_seconds) + LAST_WORDS
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=stop,
        h11_max_incomplete_event_size=2 * settings.header_bytes,  # the guard refuses them with a sentence before
    )
    return PatientServer(config, app, settings.stop_seconds)


def bound_socket(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(2048)
    listening.setblocking(False)
    return listening


class PatientServer(uvicorn.Server):
    """uvicorn's, but answers that are not over when the time to stop has passed end as a limit would end them: their
    clients get the last events, and their receipts are kept."""

    def __init__(self, config: uvicorn.Config, app: Starlette, stop_seconds: float | None) -> None:
        super().__init__(config)
        self._app, self._stop_seconds = app, stop_seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        house: House = self._app.state.house
        if house.in_flight:
            time = "until they end" if self._stop_seconds is None else f"{self._stop_seconds:g} s"
            LOG.warning("Stopping: %d answers are being written, and have %s.", house.in_flight, time)
        ending = (
            None
            if self._stop_seconds is None
            else asyncio.get_running_loop().call_later(self._stop_seconds, house.end_answers)
        )
        try:
            await super().shutdown(sockets)
        finally:
            if ending is not None:
                ending.cancel()


class ImpatientProtocol(H11Protocol):
    """uvicorn's, but a connection has `header_seconds` for the headers of its first request, may leave what it was sent
    unread for `write_seconds`, and there are only so many connections."""

    header_seconds = 30.0
    write_seconds = 60.0
    most_connections = 1024
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._patience = asyncio.get_running_loop().call_later(self.header_seconds, self._give_up)
        if len(self.connections) > self.most_connections:
            transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            transport.close()

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None:
            self._patience.cancel()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or has headers without end, is refused in the dialect of its address, if that is known."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is on its way already
            self.transport.close()
            return
        line = self.conn.trailing_data[0][:LONGEST_ADDRESS].split(b" ")
        path = line[1].decode("latin-1").partition("?")[0] if len(line) > 1 else "/"
        sentence = "The request is no HTTP that this server reads, or its headers are too long. Send a shorter one."
        body = as_json(dialect_of(path)(Refusal(400, sentence, code="invalid_http")))
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = asyncio.get_running_loop().call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._read_again()
        super().resume_writing()

    def _read_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        self._read_again()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
