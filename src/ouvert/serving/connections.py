"""Connections: how long a client may take with each part of a request, and who makes room when there are too many."""

import asyncio
import time
from collections import Counter
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ouvert.serving.errors import Refusal, dialect_of
from ouvert.serving.peers import Connection
from ouvert.serving.streams import as_json

LONGEST_ADDRESS = 4096
TURNED_AWAY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class TimeLimitedProtocol(H11Protocol):
    """uvicorn's, with limits for clients that are slow.

    Every request's headers, also on a connection that was used before, have `header_seconds` from their first byte on
    (a new connection: from its beginning). What is left of a body when its answer is complete has as long again; while
    a body is read, `body.read_body` counts. What a client was sent it may leave unread for `write_seconds`.

    Where there are `most_connections` already, one on which nothing is being answered is closed for a new one: of the
    address with the most connections, the one that has been quiet for longest. If all of them are being answered, the
    new one is turned away.
    """

    header_seconds = 30.0
    write_seconds = 60.0
    most_connections = 1024
    _stalled: asyncio.TimerHandle | None = None
    _patience: asyncio.TimerHandle | None = None
    quiet_since = 0.0  # when its last answer was complete, or it came

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # h11_impl hands `app_state` to each of the connection's requests, as `state` in its scope.
        self.app_state = {**self.app_state, "connection": Connection(transport.get_extra_info("socket"))}
        self.quiet_since = time.monotonic()
        self._lose_patience_later()
        if len(self.connections) > self.most_connections and not self._make_room():
            transport.write(TURNED_AWAY)
            transport.close()

    def data_received(self, data: bytes) -> None:
        if not self.answering:  # the beginning of a head, or more of it: its time runs from the first byte
            self._lose_patience_later()
        super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        if self.answering:
            self._be_patient()

    def on_response_complete(self) -> None:
        self.quiet_since = time.monotonic()
        super().on_response_complete()
        if not self.answering and (self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]):
            self._lose_patience_later()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, or has endless headers, in the dialect of its address where that is known."""
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

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_patient()
        self._read_again()
        super().connection_lost(exc)

    @property
    def answering(self) -> bool:
        """Whether a request's headers are here, and its answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def asks_whole(self) -> bool:
        """Whether the request that is being answered has arrived completely, with its body."""
        return self.answering and not self.cycle.more_body

    def give_way(self) -> None:
        """Close at once, so that another connection can take this place."""
        self.transport.abort()
        self.connections.discard(self)

    def _make_room(self) -> bool:
        others = [each for each in self.connections if each is not self]
        waiting = [each for each in others if isinstance(each, TimeLimitedProtocol) and not each.asks_whole]
        if not waiting:
            return False
        held = Counter(each.peer for each in others if isinstance(each, TimeLimitedProtocol))
        # Half a body is more than half a head: those who have begun to ask for something go last.
        min(waiting, key=lambda each: (each.answering, -held[each.peer], each.quiet_since)).give_way()
        return True

    @property
    def peer(self) -> str:
        return self.client[0] if self.client else ""

    def _lose_patience_later(self) -> None:
        if self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(self.header_seconds, self._give_up)

    def _be_patient(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _read_again(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _give_up(self) -> None:
        self._patience = None
        if not self.answering and not self.transport.is_closing():
            self.transport.close()
