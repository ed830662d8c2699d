"""The tools of the MCP servers that an agent's file names: started in a box, looked through, held to their pins."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.agents.agent_file import Agent, Server
from ouvert.agents.error import AgentError, ToolError
from ouvert.agents.mcp.pins import faults_of, pin_of
from ouvert.agents.tools import AgentTool, Outcome
from ouvert.sandbox import Box, BoxError

if TYPE_CHECKING:
    from ouvert.agents.mcp.connection import Connection

MEMORY = 1 << 30


def open_mcp(agent: Agent, files: Path, stack: ExitStack) -> Sequence[AgentTool]:
    """Raises AgentError for a server that cannot be used as its owner saw it: what it says, and what to do."""
    tools: list[AgentTool] = []
    for name, server in agent.header.mcp.items():
        connection = connected(name, server, files.parent / "mcp" / name, stack)
        others = [f"{other}_{tool}" for other, each in agent.header.mcp.items() if other != name for tool in each.tools]
        others += [tool for other, each in agent.header.mcp.items() if other != name for tool in each.tools]
        tools += tools_of(name, server, connection, others)
    return tools


def connected(name: str, server: Server, folder: Path, stack: ExitStack) -> "Connection":
    """Raises AgentError."""
    try:
        from ouvert.agents.mcp.connection import Connection
    except ImportError as problem:
        raise AgentError(
            f"opening the MCP server {name}: the library mcp is not here ({problem}), expected the extra `mcp`. "
            "Install Ouvert with it."
        ) from problem
    if bool(server.command) == (server.url is not None):
        raise AgentError(f"opening the MCP server {name}: expected one of command and url. Name one.")
    where: Any = server.url
    if server.url is None:
        try:
            box = stack.enter_context(Box(folder, read_only=server.shows, memory=MEMORY))
            command = [box.python if server.command[0] == "python" else server.command[0], *server.command[1:]]
            where = stack.enter_context(box.start(command))
        except BoxError as problem:
            raise AgentError(f"opening the MCP server {name}: {problem}") from problem
    connection = Connection(name, where, server.seconds)
    stack.callback(connection.close)
    return connection


def tools_of(name: str, server: Server, connection: "Connection", others: Sequence[str]) -> list[AgentTool]:
    """Raises AgentError for definitions with a fault, and for others than the pinned ones."""
    try:
        definitions = wanted(name, server, connection)
    except ToolError as problem:
        raise AgentError(f"opening the MCP server {name}: {problem}. Take it out, or repair it.") from None
    faults = [fault for each in definitions for fault in faults_of(each, others)]
    if faults:
        raise AgentError(
            f"opening the MCP server {name}: {'; '.join(faults[:3])}. A definition that hides something, or "
            "speaks of other tools, is not shown to a model. Take the tool out of the agent's file."
        )
    pin = pin_of(definitions)
    if server.pin is None:
        shown = "\n".join(f"  {each['name']}: {each.get('description', '')}" for each in definitions)
        raise AgentError(
            f"opening the MCP server {name}: its tools are not pinned, expected the digest of what you have read. It "
            f"says of them:\n{shown}\nIf that is what you want, write into the agent's file: pin: {pin}"
        )
    if pin != server.pin:
        raise AgentError(
            f"opening the MCP server {name}: what it says of its tools is not what you saw ({pin}), expected "
            f"{server.pin}. Take the pin out to see it, and decide again."
        )
    return [tool_of_server(name, server, each, connection) for each in definitions]


def wanted(name: str, server: Server, connection: "Connection") -> list[dict[str, Any]]:
    """The definitions of the tools that the file names, and of no other. Raises ToolError where one is missing."""
    found = {each["name"]: each for each in connection.definitions()}
    missing = [each for each in server.tools if each not in found]
    if missing:
        raise ToolError(f"it has no tool {missing[0]!r}; it has {', '.join(found) or 'none'}")
    return [found[each] for each in server.tools]


def tool_of_server(name: str, server: Server, definition: Mapping[str, Any], connection: "Connection") -> AgentTool:
    own = str(definition["name"])

    def call(arguments: Mapping[str, Any]) -> Outcome:
        if pin_of(wanted(name, server, connection)) != server.pin:
            raise ToolError(f"the server {name} says something else of its tools than before, so they are not used")
        text, ok = connection.call(own, arguments)
        return Outcome(text=text, ok=ok)

    parameters = dict(definition.get("inputSchema") or {"type": "object", "properties": {}})
    return AgentTool(
        name=f"{name}_{own}".replace("-", "_").replace(".", "_"),
        description=str(definition.get("description") or ""),
        parameters=parameters,
        effect="read" if own in server.read_only else "send",
        targets=tuple(server.targets.get(own, ())),
        foreign=True,
        call=call,
    )
