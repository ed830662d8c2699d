"""What agents use to speak to MCP servers, as the conformance suite starts a client: `our_client.py ADDRESS`."""

import os
import sys

from ouvert.agents.mcp.connection import Connection

connection = Connection("suite", sys.argv[1], 60.0)
try:
    definitions = connection.definitions()
    if os.environ["MCP_CONFORMANCE_SCENARIO"] == "tools_call":
        text, ok = connection.call(definitions[0]["name"], {"a": 5, "b": 3})
        if not ok or "8" not in text:
            sys.exit(f"the call gave {text!r}")
finally:
    connection.close()
