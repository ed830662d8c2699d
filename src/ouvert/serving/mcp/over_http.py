"""/mcp: streamable HTTP. Who asks, from which page, and how much is read, is decided as for every other address; the
SDK speaks the protocol behind that."""

import asyncio
import importlib
import logging
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from ouvert.serving.body import Bounds, read
from ouvert.serving.callers import Caller
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.service import Service

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

LOG = logging.getLogger("ouvert.serving")

PATH = "/mcp"
CALLER = "ouvert.caller"  # where the scope of a request says who asks
MOST_SESSIONS = 1000
IDLE_SECONDS = 1800.0
NOT_HERE = (
    "MCP needs the library mcp, which is not installed beside this server. Its owner installs the extra `mcp` "
    "(`pip install -e '.[mcp]'`, in the folder that Ouvert was installed from) and starts it again."
)


class OverHTTP:
    """The MCP server of one application. Nothing is imported before the first client comes. Belongs to one loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._held: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._over = asyncio.Event()

    async def manager(self) -> "StreamableHTTPSessionManager":
        """What answers requests. Raises Refusal 501 where the library is not here."""
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._held = asyncio.create_task(self._hold(self._ready))
        try:
            return await asyncio.shield(self._ready)
        except ImportError as problem:
            self._ready = None
            raise Refusal(501, NOT_HERE, code="mcp_not_installed") from problem

    async def _hold(self, ready: "asyncio.Future[StreamableHTTPSessionManager]") -> None:
        """One task from beginning to end, as the SDK's task group demands."""
        try:
            manager = await asyncio.to_thread(self._made)
        except BaseException as problem:
            ready.set_exception(problem)
            return
        async with manager.run():
            ready.set_result(manager)
            await self._over.wait()

    def _made(self) -> "StreamableHTTPSessionManager":
        """Raises ImportError."""
        manager = importlib.import_module("mcp.server.streamable_http_manager")
        protocol = importlib.import_module("ouvert.serving.mcp.protocol")
        made: StreamableHTTPSessionManager = manager.StreamableHTTPSessionManager(
            protocol.made_server(self._service, caller_of),
            max_sessions=MOST_SESSIONS,
            session_idle_timeout=IDLE_SECONDS,
            max_request_body_size=self._service.settings.body_bytes,
        )
        return made

    async def close(self) -> None:
        """End what goes on. Raises nothing."""
        self._over.set()
        if self._held is not None:
            await asyncio.gather(self._held, return_exceptions=True)


def caller_of(context: Any) -> Caller:
    """Who asked, of a request that came through `exchange`."""
    caller: Caller = context.request.scope[CALLER]
    return caller


class HandedOver(Response):
    """The answer that the SDK writes to a request whose body has been read."""

    def __init__(self, manager: "StreamableHTTPSessionManager", body: bytes, caller: Caller, seconds: float) -> None:
        """`seconds` that the client may leave a piece unread."""
        super().__init__()
        self._manager, self._body, self._caller, self._seconds = manager, body, caller, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
        from mcp.server.auth.provider import AccessToken

        unread = [self._body]

        async def receive_again() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        async def send_in_time(message: Message) -> None:
            await asyncio.wait_for(send(message), self._seconds)

        # A session is used by whoever began it, and by nobody else: the SDK compares these names.
        token = AccessToken(token="", client_id=f"whose:{self._caller.whose}", scopes=[])
        inner = {**scope, CALLER: self._caller, "user": AuthenticatedUser(token)}
        try:
            await self._manager.handle_request(inner, receive_again, send_in_time)
        except TimeoutError:
            LOG.info("a client of /mcp stopped reading")


async def exchange(call: Call) -> Response:
    over: OverHTTP = call.request.app.state.mcp
    manager, settings = await over.manager(), call.service.settings
    bounds = Bounds(bytes=settings.body_bytes, values=settings.body_values, seconds=settings.read_seconds)
    body = await read(call.request, bounds, counted=True)
    return HandedOver(manager, body, call.caller, settings.write_seconds)


def endpoint(method: str, summary: str) -> Endpoint:
    return Endpoint(
        method=method, path=PATH, handler=exchange, summary=summary, private=True, versioned=False, both_ways=False
    )


ENDPOINTS = (
    endpoint("POST", "A message of the Model Context Protocol"),
    endpoint("DELETE", "End a session of the Model Context Protocol"),
)
