"""The application behind a socket: uvicorn, with limits for clients that are slow or send too much."""

import asyncio
import logging
import math
import socket
import sys
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from ouvert.serving.connections import TimeLimitedProtocol
from ouvert.serving.job_runner import runner_of
from ouvert.serving.service import Service
from ouvert.serving.settings import Settings

LOG = logging.getLogger("ouvert.serving")

KEEP_ALIVE_SECONDS = 75
OTHER_FILES = 128  # that this process has open beside connections: models, pages, the ledger
MANY = 65536
LAST_WORDS = 5  # seconds in which answers that were ended say so
PUT_AWAY = 15  # seconds after that in which what is kept is written and models are closed


def make_server(
    app: Starlette, settings: Settings, leave_within: Callable[[float], None] | None = None
) -> uvicorn.Server:
    """`server.serve(sockets)` in an event loop, or `server.run(sockets)`. Nothing of requests is logged.

    `leave_within` is told, when the server stops, after how many seconds the process is to end whatever it still does:
    work in threads that nobody waits for cannot be ended otherwise.

    Raises nothing.
    """

    class Protocol(TimeLimitedProtocol):
        header_seconds = settings.read_seconds
        write_seconds = settings.write_seconds
        most_connections = min(settings.most_connections, connections_that_fit())

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
    return GracefulServer(config, app, settings.stop_seconds, leave_within)


def connections_that_fit() -> int:
    """How many connections the system's limit of open files leaves room for. One more could not be accepted, and so
    could not be told why."""
    if sys.platform == "win32":
        return MANY
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MANY if soft == resource.RLIM_INFINITY else max(16, soft - OTHER_FILES)


def allow_more_files() -> None:
    """Raise this process's limit of open files as far as the system lets it: many begin with 1024."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY if hard == resource.RLIM_INFINITY else min(hard, MANY)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def bound_socket(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises OSError for an address that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(2048)
    listening.setblocking(False)
    return listening


class GracefulServer(uvicorn.Server):
    """uvicorn's, but answers that are not over when the time to stop has passed end as a limit would end them: their
    clients get the last events, and their receipts are kept."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: Starlette,
        stop_seconds: float | None,
        leave_within: Callable[[float], None] | None,
    ) -> None:
        super().__init__(config)
        self._app, self._stop_seconds, self._leave_within = app, stop_seconds, leave_within

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        service: Service = self._app.state.service
        await runner_of(self._app).pause()  # before answers are ended: an item is recorded whole or not at all
        if service.answers.in_flight:
            time = "until they end" if self._stop_seconds is None else f"{self._stop_seconds:g} s"
            LOG.warning("Stopping: %d answers are being written, and have %s.", service.answers.in_flight, time)
        if self._leave_within is not None and self._stop_seconds is not None:
            self._leave_within(self._stop_seconds + LAST_WORDS + PUT_AWAY)
        ending = (
            None
            if self._stop_seconds is None
            else asyncio.get_running_loop().call_later(self._stop_seconds, service.answers.end)
        )
        try:
            await super().shutdown(sockets)
        finally:
            if ending is not None:
                ending.cancel()
            if self._leave_within is not None and self._stop_seconds is None:
                self._leave_within(PUT_AWAY)
