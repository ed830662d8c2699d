"""MCP servers as tools: in a box, pinned as their owner saw them. Needs the extra `mcp`, imported when it is used."""

from ouvert.agents.mcp.opening import open_mcp

__all__ = ["open_mcp"]
