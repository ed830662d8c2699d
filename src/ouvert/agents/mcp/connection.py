"""One MCP server, spoken to from a thread of its own, since the SDK is asynchronous and tools are not."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from typing import Any

from mcp import Client

from ouvert.agents.error import AgentError, ToolError
from ouvert.agents.mcp.pins import MOST_TOOLS
from ouvert.agents.mcp.transport import boxed_transport, http_transport
from ouvert.sandbox import Running

CONNECTING = 90.0  # seconds; a server's first start compiles and imports


class Connection:
    """Made when it is connected. Close it. `where`: a program in a box, or an address."""

    def __init__(self, name: str, where: "Running | str", seconds: float) -> None:
        """Raises AgentError where nobody answers."""
        self.name, self._seconds = name, seconds
        self._where = where
        self._loop = asyncio.new_event_loop()
        self._ready: Future[Client] = Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name=f"ouvert-mcp-{name}", daemon=True)
        self._thread.start()
        try:
            self._client = self._ready.result(CONNECTING)
        except Exception as problem:
            self.close()
            said = str(problem) or type(problem).__name__
            raise AgentError(
                f"connecting to the MCP server {name}: {said:.300}, expected one that answers within {CONNECTING:g} s. "
                "Try its command by itself."
            ) from problem

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._hold())
        except BaseException as problem:  # handed to whoever waits for the connection
            if not self._ready.done():
                self._ready.set_exception(problem if isinstance(problem, Exception) else RuntimeError(str(problem)))
        finally:
            self._loop.close()

    async def _hold(self) -> None:
        """The connection, for as long as it is wanted."""
        where = self._where
        server = http_transport(where) if isinstance(where, str) else boxed_transport(where)
        async with Client(server, read_timeout_seconds=self._seconds) as client:
            self._ready.set_result(client)
            await self._over.wait()

    def _ask(self, work: "Coroutine[Any, Any, Any]") -> Any:
        """Raises ToolError where it takes too long, or the server is gone."""
        if not self._thread.is_alive():
            work.close()
            raise ToolError(f"the server {self.name} is gone")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(self._seconds + 1.0)
        except TimeoutError:
            future.cancel()
            raise ToolError(f"the server {self.name} did not answer within {self._seconds:g} seconds") from None
        except Exception as problem:
            raise ToolError(
                f"the server {self.name} could not: {str(problem) or type(problem).__name__:.300}"
            ) from None

    def definitions(self) -> list[dict[str, Any]]:
        """Of all its tools, as they are now. Raises ToolError."""
        found: list[dict[str, Any]] = []
        cursor = None
        while True:
            listed = self._ask(self._client.list_tools(cursor=cursor, cache_mode="bypass"))
            found += [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in listed.tools]
            cursor = listed.next_cursor
            if len(found) > MOST_TOOLS or (cursor is not None and not listed.tools):
                raise ToolError(f"the server {self.name} lists more than {MOST_TOOLS} tools, or pages without any")
            if cursor is None:
                return found

    def call(self, tool: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        """What a call gives, as text, and whether it went well. Raises ToolError."""
        result = self._ask(self._client.call_tool(tool, dict(arguments)))
        texts = [each.text for each in result.content if getattr(each, "text", None) is not None]
        others = sum(getattr(each, "text", None) is None for each in result.content)
        if others:
            texts.append(f"[{others} parts that are no text were left out]")
        return "\n".join(texts), not result.is_error

    def close(self) -> None:
        """Safe to call twice. Raises nothing."""
        if self._thread.is_alive() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(10)
        if isinstance(self._where, Running):
            self._where.kill()
