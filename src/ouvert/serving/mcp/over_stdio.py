"""MCP over standard input and output, for a program that started this one: it is the owner's, and asks as the owner."""

import asyncio

from ouvert.serving.callers import OWNER, Caller
from ouvert.serving.service import Service

OURSELVES = Caller(OWNER, None, True)


async def speak_stdio(service: Service) -> None:
    """Answer until the other end closes. Raises ImportError where the library mcp is not here."""
    from mcp.server.stdio import stdio_server

    from ouvert.serving.mcp.protocol import made_server

    server = made_server(service, lambda context: OURSELVES)
    watch = asyncio.create_task(service.loaded_models.watch())
    try:
        async with stdio_server() as (heard, said):
            await server.run(heard, said, server.create_initialization_options())
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
