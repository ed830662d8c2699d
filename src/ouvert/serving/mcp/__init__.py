"""Ouvert as an MCP server: its models, documents and agents as tools of other programs, over HTTP and stdio.

The table of tools knows nothing of the protocol; `protocol` and what it imports need the extra `mcp`, and are imported
when the first client comes.
"""

from ouvert.serving.mcp.over_http import ENDPOINTS, OverHTTP
from ouvert.serving.mcp.over_stdio import speak_stdio

__all__ = ["ENDPOINTS", "OverHTTP", "speak_stdio"]
